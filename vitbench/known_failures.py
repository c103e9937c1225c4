"""What a candidate's authors know to fail: a TOML file in their repository, so that only what is new fails their CI.

::

    [VIT-POS-RESIZE-SAME-COUNT]
    reason = "equal token counts are returned unchanged"
    link = "https://github.com/me/mine/issues/7"
    margin = 3.2e+09
    expires = 2027-01-31
    when = { version = ">=1.0,<2", preset = ["quick", "standard"] }

A reason must be given. Everything in ``when`` has to hold for the entry to speak: ``version`` of the package judged,
``torch`` and ``python`` as version specifiers, ``preset`` and ``device`` (cpu, cuda) as words. With ``not_offered = true``
an entry is about what the package does not offer, in place of what it gets wrong.
"""

import math
import platform
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from vitbench.errors import KnownFailuresUnusable
from vitbench.requirement import Status
from vitbench.specification import REQUIREMENTS, did_you_mean

WORSE_FACTOR = 10.0
"""Margins of one defect differ between seeds by some factor of two; another defect on top shows by orders."""

_VERSIONS = ("version", "torch", "python")
_WORDS = {"preset": ("quick", "standard", "full"), "device": ("cpu", "cuda")}
_KEYS = ("reason", "link", "margin", "not_offered", "expires", "when")


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What an entry's ``when`` may speak of."""

    version: str  # of the package judged
    preset: str
    device: str  # cpu, cuda
    torch: str
    python: str

    @classmethod
    def here(cls, *, version: str, preset: str, device: str) -> "Situation":
        """The present one."""
        return cls(
            version=version,
            preset=preset,
            device=device.partition(":")[0],
            torch=metadata.version("torch"),
            python=platform.python_version(),
        )


@dataclass(frozen=True, kw_only=True)
class KnownFailure:
    """One entry of the file."""

    id: str
    reason: str
    link: str = ""
    margin: float | None = None  # the worst that was seen: error / bound
    not_offered: bool = False  # it is known to be missing, not to be wrong
    expires: date | None = None  # the last day on which it is accepted
    when: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    def holds(self, situation: Situation) -> bool:
        """Whether it speaks of this situation.

        Raises:
            KnownFailuresUnusable: it asks for a version of a package that has none.
        """
        return all(self._meets(key, asked, str(getattr(situation, key))) for key, asked in self.when.items())

    def _meets(self, key: str, asked: str | Sequence[str], found: str) -> bool:
        if key not in _VERSIONS:
            return found in ([asked] if isinstance(asked, str) else asked)
        try:
            return SpecifierSet(str(asked)).contains(Version(found), prereleases=True)
        except InvalidVersion as error:
            raise KnownFailuresUnusable(
                f"known failure {self.id}: when.{key} is {asked!r}, but the candidate's version is {found!r}; "
                "give the adapter a version, or leave the condition out"
            ) from error


@dataclass(frozen=True, kw_only=True)
class KnownFailures:
    """The entries of a file that speak of one situation."""

    path: Path
    entries: Mapping[str, KnownFailure]  # by requirement id

    def among(self, situation: Situation) -> "KnownFailures":
        """Those whose conditions hold."""
        holding = {name: entry for name, entry in self.entries.items() if entry.holds(situation)}
        return KnownFailures(path=self.path, entries=holding)

    def judged(self, requirement: str, status: Status, reason: str, margin: float | None) -> tuple[Status, str]:
        """Status and reason of a requirement in the light of what is known of it."""
        entry = self.entries.get(requirement)
        if entry is None or entry.not_offered or status is not Status.FAILED:
            return status, reason
        if entry.margin is not None and _is_worse(margin, entry.margin):
            return Status.FAILED, f"worse than is known ({_worse(margin, entry.margin)}): {reason}"
        where = f"; {entry.link}" if entry.link else ""
        return Status.KNOWN_FAILURE, f"known ({entry.reason}{where}): {reason}"

    def accepts_absence(self, requirement: str) -> bool:
        """Whether a requirement is known not to be offered."""
        entry = self.entries.get(requirement)
        return entry is not None and entry.not_offered

    def outdated(self, requirement: str, status: Status) -> str:
        """Why the file has to be changed since a requirement came out better, or not at all; empty where it need not."""
        entry = self.entries.get(requirement)
        does = {Status.PASSED: "passes", Status.NOT_OFFERED: "is not offered"}.get(status)
        if entry is None or does is None or (entry.not_offered and status is Status.NOT_OFFERED):
            return ""
        listed = "not offered" if entry.not_offered else "a known failure"
        return f"{does}, but is listed in {self.path} as {listed}; remove the entry, or use --update-known"


NONE = KnownFailures(path=Path(), entries={})


class _Mistake(Exception):
    """Of an entry; file and entry are still to be named."""


def load(path: Path, *, today: date | None = None, for_update: bool = False) -> KnownFailures:
    """Read a file of known failures.

    Args:
        today: against which expiry is judged; else the present day, in UTC.
        for_update: let pass what a person has still to fill in, and what is not there yet.
    Raises:
        KnownFailuresUnusable: missing, not TOML, or an entry that cannot be meant; the text names file and entry.
    """
    if for_update and not path.exists():
        return KnownFailures(path=path, entries={})
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KnownFailuresUnusable(
            f"cannot read known failures {path}: {error.strerror or error}; --update-known writes the file"
        ) from error
    except ValueError as error:  # TOML, or UTF-8
        raise KnownFailuresUnusable(
            f"known failures {path}: not TOML: {' '.join(str(error).split())}; mend that place, or move the file away "
            "and write it anew with --update-known"
        ) from error
    entries, mistakes = {}, []
    for name, table in tables.items():
        try:
            entries[name] = _entry(name, table, today or datetime.now(UTC).date(), for_update=for_update)
        except _Mistake as error:
            mistakes.append(f"known failures {path}: [{name}] {error}")
    if mistakes:  # all at once, so that a file is mended in one go
        raise KnownFailuresUnusable("\n".join(mistakes))
    return KnownFailures(path=path, entries=entries)


def _entry(name: str, table: Any, today: date, *, for_update: bool) -> KnownFailure:
    if name not in REQUIREMENTS:
        raise _Mistake(f"is no requirement of this vitbench{did_you_mean(name)} (python -m vitbench.spec lists them)")
    if not isinstance(table, dict):
        raise _Mistake(f'is {table!r}, expected a table: a line [{name}], and below it reason = "…"')
    _require_known(table, _KEYS, "")
    reason, link, margin = table.get("reason", ""), table.get("link", ""), table.get("margin")
    if not (isinstance(reason, str) and (reason.strip() or for_update)):
        raise _Mistake('says no reason; write why it may fail, as reason = "…"')
    if not isinstance(link, str):
        raise _Mistake(f"link is {link!r}, expected a text")
    if margin is not None and (not isinstance(margin, int | float) or isinstance(margin, bool) or not margin >= 0):
        raise _Mistake(f"margin is {margin!r}, expected a number from 0 up")
    not_offered = table.get("not_offered", False)
    if not isinstance(not_offered, bool):
        raise _Mistake(f"not_offered is {not_offered!r}, expected true or false, without quotes")
    if not_offered and margin is not None:
        raise _Mistake("has a margin, and what is not_offered has none; remove one of the two")
    expires = table.get("expires")
    if expires is not None and (not isinstance(expires, date) or isinstance(expires, datetime)):
        raise _Mistake(f"expires is {expires!r}, expected a date such as 2027-01-31, without quotes")
    if expires is not None and expires < today and not for_update:
        raise _Mistake(f"expired on {expires}; mend the failure, or give a later date")
    return KnownFailure(
        id=name,
        reason=reason.strip(),
        link=link,
        margin=margin,
        not_offered=not_offered,
        expires=expires,
        when=_when(table.get("when", {})),
    )


def _when(table: Any) -> Mapping[str, str | Sequence[str]]:
    if not isinstance(table, dict):
        raise _Mistake(f'when is {table!r}, expected a table such as {{ version = ">=1.0,<2" }}')
    _require_known(table, (*_VERSIONS, *_WORDS), "when.")
    for key, asked in table.items():
        if key in _VERSIONS:
            _require_specifier(key, asked)
        else:
            words = asked if isinstance(asked, list) else [asked]
            strange = [word for word in words if word not in _WORDS[key]]
            if strange or not words:
                raise _Mistake(f"when.{key} is {asked!r}, expected of {', '.join(_WORDS[key])}, one or a list")
    return table


def _require_specifier(key: str, asked: Any) -> None:
    mistake = _Mistake(f'when.{key} is {asked!r}, expected versions such as ">=1.0,<2"')
    if not isinstance(asked, str) or not asked.strip():
        raise mistake
    try:
        SpecifierSet(asked)
    except InvalidSpecifier as error:
        raise mistake from error


def _require_known(table: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            raise _Mistake(f"has an unknown key {prefix}{key}; there are {', '.join(prefix + name for name in known)}")


def _is_worse(margin: float | None, known: float) -> bool:
    """A failure without any margin is of another kind: something raised, or had the wrong shape."""
    return margin is None or math.isnan(margin) or margin > WORSE_FACTOR * known


def _worse(margin: float | None, known: float) -> str:
    seen = "no margin, so it fails in another way" if margin is None else f"margin {margin:.3g}"
    return f"{seen}; {known:.3g} was seen before"
