"""What is known of the requirement being judged: examples run, margins, the example that failed.

The assertion helpers and the check's own decorator write it, whoever runs the check reads it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Evidence:
    """Collected while one requirement is judged for one candidate."""

    examples: int = 0  # configurations on which it was judged
    unsupported: int = 0  # configurations that the candidate declares out of reach
    unsupported_reason: str = ""
    assertions: int = 0  # within the current example
    worst_margin: float | None = None  # error / bound
    example: str = ""  # the example being run; at the end of a failure, the smallest that fails
    float32_inside: bool = False  # the candidate computes a step in float32 whatever it is given
    example_is_final: bool = False
    failed: set[str] = field(default_factory=set)  # the examples that failed
    shrinking_runs: int = 0  # examples run since the first failure
    notes: list[str] = field(default_factory=list)

    def begin(self, example: str) -> None:
        """An example begins."""
        self.example, self.example_is_final, self.assertions = example, False, 0
        _watcher.get()(example, self.examples)

    def forget(self) -> None:
        """Begin anew."""
        vars(self).update(vars(Evidence()))

    def compared(self, margin: float | None = None) -> None:
        """Count an assertion, and its margin where it compares by a bound."""
        self.assertions += 1
        if margin is not None:
            self.worst_margin = max(margin, self.worst_margin or 0.0)

    def ran(self, example: object) -> None:
        """Name the example as it is really run, where the candidate's limits changed what was drawn."""
        if not self.example_is_final:
            self.example, self.example_is_final = str(example), True
            _watcher.get()(self.example, self.examples)

    def note(self, text: str) -> None:
        """Remember something that a reader of the verdict should know."""
        if text not in self.notes:
            self.notes.append(text)


_current: ContextVar[Evidence] = ContextVar("vitbench_evidence")
_watcher: ContextVar[Callable[[str, int], None]] = ContextVar("vitbench_watcher", default=lambda _example, _ended: None)


def current_evidence() -> Evidence:
    """The evidence of the check that runs; outside of any check, evidence that nobody reads."""
    return _current.get(Evidence())


@contextmanager
def collecting() -> Iterator[Evidence]:
    """Collect the evidence of one check."""
    evidence = Evidence()
    token = _current.set(evidence)
    try:
        yield evidence
    finally:
        _current.reset(token)


@contextmanager
def watching(watcher: Callable[[str, int], None]) -> Iterator[None]:
    """Tell ``watcher`` each example before it is run, and how many ended before: it knows then which one never did."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
