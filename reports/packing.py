"""Results as they lie in a page: gzip, with the samples of a long run as numbers of nanoseconds instead of as text.

Text of 200,000 samples takes 1.2 MB of a page, their bytes 0.7 MB. What is packed is taken out again byte for byte, by
``unpacked`` here and by ``download.js`` in the page; a list of samples for which that would not hold stays text.

The tight form, before gzip: a line of JSON with the lists' lengths, units and least values; the distances from these in
nanoseconds, all lowest bytes first, then all second ones, to the fourth; then the file, a NUL where each list was.
"""

import base64
import gzip
import json
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

PLAIN_BYTES = 500_000  # of the file; a smaller one is plain gzip, which a browser without scripts can save too
_BYTES = 4  # of a distance
_SAMPLES = re.compile(rb'(?<="samples_s": \[)[^\]]+(?=\])')
_SEPARATOR = ", "
_GAP = b"\0"  # JSON has no such byte

Unit = Literal["divided", "times"]  # ns / 1e9, or ns * 1e-9 as timers once wrote it: now and then another double


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A file as base64 of gzip."""

    content: str
    tight: bool  # in the form above; otherwise the gzip is of the file itself


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """One list of samples, as whole nanoseconds."""

    unit: Unit
    ns: Sequence[int]

    @property
    def text(self) -> bytes:
        """As JSON has it."""
        return _SEPARATOR.join(map(repr, _seconds(self.ns, self.unit))).encode()


def packed(content: bytes) -> Packed:
    """The tight form, if the file is long."""
    tight = len(content) > PLAIN_BYTES and _GAP not in content
    return Packed(content=_base64(_tight(content) if tight else content), tight=tight)


def packed_rows(rows: Sequence[object], written: Callable[[object], str]) -> str:
    """All rows of a long table, as ``pages.js`` takes them: a list of the HTML that the template writes of each."""
    return _base64(json.dumps([str(written(row)) for row in rows], ensure_ascii=False).encode(errors="replace"))


def unpacked(found: Packed) -> bytes:
    """The file, byte for byte."""
    content = gzip.decompress(base64.b64decode(found.content))
    if not found.tight:
        return content
    head, _, body = content.partition(b"\n")
    lists = json.loads(head)
    number = sum(lists["counts"])
    together = bytearray(_BYTES * number)
    for plane in range(_BYTES):
        together[plane::_BYTES] = body[plane * number : (plane + 1) * number]
    distances = struct.unpack(f"<{number}I", together)
    skeleton = body[_BYTES * number :].split(_GAP)
    texts, start = [], 0
    for count, unit, least in zip(lists["counts"], lists["units"], lists["least"], strict=True):
        texts.append(_Samples(unit=unit, ns=[least + one for one in distances[start : start + count]]).text)
        start += count
    return b"".join(part for pair in zip(skeleton, [*texts, b""], strict=True) for part in pair)


def _tight(content: bytes) -> bytes:
    found: list[_Samples] = []

    def take(match: re.Match[bytes]) -> bytes:
        samples = _samples(match[0])
        if samples is None:
            return match[0]
        found.append(samples)
        return _GAP

    skeleton = _SAMPLES.sub(take, content)
    least = [min(one.ns) for one in found]
    head = {"counts": [len(one.ns) for one in found], "units": [one.unit for one in found], "least": least}
    distances = [ns - start for one, start in zip(found, least, strict=True) for ns in one.ns]
    together = struct.pack(f"<{len(distances)}I", *distances)
    planes = (together[plane::_BYTES] for plane in range(_BYTES))
    return b"".join((json.dumps(head).encode(), b"\n", *planes, skeleton))


def _samples(text: bytes) -> _Samples | None:
    """A list of whole nanoseconds; None where its text would not come back from them."""
    try:
        ns = [round(float(word) * 1e9) for word in text.decode().split(_SEPARATOR)]
    except (ValueError, OverflowError):
        return None
    if min(ns) < 0 or max(ns) - min(ns) >= 1 << 8 * _BYTES or max(ns) >= 1 << 53:
        return None
    units: tuple[Unit, ...] = ("divided", "times")
    forms = (_Samples(unit=unit, ns=ns) for unit in units)
    return next((form for form in forms if form.text == text), None)


def _seconds(ns: Sequence[int], unit: Unit) -> list[float]:
    return [one / 1e9 for one in ns] if unit == "divided" else [one * 1e-9 for one in ns]


def _base64(content: bytes) -> str:
    return base64.b64encode(
        gzip.compress(content, compresslevel=6, mtime=0)
    ).decode()  # the same results give the same page
