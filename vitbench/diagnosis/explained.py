"""Which failures one deviation accounts for: those that the reference fails too once it deviates so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vitbench.candidate import Candidate
from vitbench.check import configured, is_slow, judge
from vitbench.deviations import DeviantAdapter
from vitbench.deviations.deviation import Rewriting
from vitbench.reference.config import ViTConfig
from vitbench.requirement import Status

Check = Callable[..., None]
_PRESET = "quick"


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Requirements that failed, by whether a deviation fails them too."""

    explained: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()  # neither list has what was not tried: slow, or the time was over


class Double(Candidate):
    """The reference with a deviation, asked for no more than the candidate can do."""

    def __init__(self, rewriting: Rewriting, original: Candidate) -> None:
        super().__init__(DeviantAdapter(rewriting, original.conventions))
        self._original = original

    def within_reach(self, config: ViTConfig) -> ViTConfig:
        """As the candidate's."""
        return self._original.within_reach(config)


def explained(
    rewriting: Rewriting, candidate: Candidate, checks: Mapping[str, Check], *, seed: int, late: Callable[[], bool]
) -> Explained:
    """Judge the deviation by the checks that the candidate failed.

    Args:
        checks: of the requirements that the candidate failed, by id.
        late: whether the time is over.
    """
    double, found = Double(rewriting, candidate), dict[bool, list[str]]({True: [], False: []})
    for id_, check in checks.items():
        if late():
            break
        if not is_slow(check, _PRESET):
            judgement = judge(configured(check, _PRESET, seed, shrink=False), double)
            found[judgement.status is Status.FAILED].append(id_)
    return Explained(explained=tuple(found[True]), unexplained=tuple(found[False]))
