"""All that a report says, derived from results; the templates only lay it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from vitbench.errors import ResultsUnreadable
from vitbench.matrix import Matrix, columns, matrix, run_labels
from vitbench.reports.attention import KernelComparison, kernel_comparisons
from vitbench.reports.captions import captions
from vitbench.reports.cells import CellRow, count_rows, start_rows
from vitbench.reports.charts import Chart, Charts, charts
from vitbench.reports.differences import Differences, differences
from vitbench.reports.environment import Fact, environment, side_by_side
from vitbench.reports.latency import LatencyRow, latency_rows
from vitbench.reports.memory import MemorySection, memory_section
from vitbench.reports.runs import RunFacts, run_facts
from vitbench.reports.scaling import ScalingRow, scaling_rows
from vitbench.reports.searches import SearchRow, search_rows
from vitbench.reports.series import LABEL_CHARACTERS
from vitbench.reports.studies import Study, studies
from vitbench.reports.throughput import (
    Comparison,
    MeasuredCeilings,
    Measurement,
    comparisons,
    headline,
    measured_ceilings,
    shared_conditions,
)
from vitbench.reports.timers import TimerRow, timer_rows
from vitbench.reports.traces import Trace, traces
from vitbench.reports.verdicts import NO_VERDICT, NOT_JUDGED, Judgement, judgements
from vitbench.requirement import Verdict
from vitbench.results import Run
from vitbench.wording import abridged, plural

OUTCOMES: dict[str, str] = {
    Verdict.CONFORMS: "conforms",
    Verdict.DOES_NOT_CONFORM: "does not conform",
    Verdict.INCOMPLETE: "is judged incompletely",
    Verdict.ADAPTER_BROKEN: "could not be judged: its adapter is broken",
    Verdict.HARNESS_ERROR: "could not be judged: vitbench failed",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A results file as it was read, to be taken out of the report again."""

    name: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole report; quantities in SI, text as recorded."""

    title: str
    runs: tuple[RunFacts, ...]
    differences: Differences | None  # of several runs
    judgements: tuple[Judgement, ...]
    matrix: Matrix
    headline: Comparison | None
    comparisons: tuple[Comparison, ...]
    ceilings: tuple[MeasuredCeilings, ...]
    latencies: tuple[LatencyRow, ...]
    attention: tuple[KernelComparison, ...]
    charts: Charts
    captions: Mapping[str, tuple[str, ...]]  # of charts that are saved, by their ids
    memory: MemorySection
    traces: tuple[Trace, ...]
    searches: tuple[SearchRow, ...]
    starts: tuple[CellRow, ...]
    counts: tuple[CellRow, ...]
    timers: tuple[TimerRow, ...]
    scaling: tuple[ScalingRow, ...]
    studies: tuple[Study, ...]
    environment: tuple[Fact, ...]
    conventions: tuple[Fact, ...]  # a value for each of those that declare any
    sources: tuple[Source, ...]

    @property
    def complete(self) -> bool:
        """Whether every run came to its end."""
        return all(run.complete for run in self.runs)

    @property
    def of_studies_alone(self) -> bool:
        """Whether nothing was judged and no implementation timed by itself, so that those sections have nothing to say."""
        return bool(self.studies or self.scaling) and not self.judgements and not self.comparisons

    @property
    def drawn(self) -> tuple[Chart, ...]:
        """Every chart, in the order of the page."""
        return (*self.charts.all, *(chart for study in self.studies for chart in study.charts))

    @property
    def measured_implementations(self) -> tuple[str, ...]:
        """Whose figures the tables have, in the order of the tables."""
        timed = (row.implementation for group in self.comparisons for row in group.rows)
        weighed = (str(row.record.implementation) for row in self.memory.rows)
        scaled = (str(row.record.implementation) for row in self.scaling)
        return tuple(dict.fromkeys((*timed, *weighed, *scaled)))

    @property
    def measured_kernels(self) -> tuple[str, ...]:
        """The kernels that the tables of attention have."""
        return tuple(dict.fromkeys(str(row.record.kernel) for group in self.attention for row in group.rows))

    @property
    def declaring(self) -> tuple[Judgement, ...]:
        """The judgements that come with declared conventions."""
        return tuple(judgement for judgement in self.judgements if judgement.conventions)

    @cached_property
    def measurements(self) -> tuple[tuple[Measurement, bool], ...]:
        """The rows of all comparisons, each with whether a comparison starts with it."""
        return tuple((row, row is group.rows[0]) for group in self.comparisons for row in group.rows)

    @cached_property
    def limits_known(self) -> bool:
        """Whether any figure can be set against a limit."""
        return any(row.record.roofline is not None for group in self.comparisons for row in group.rows)

    @cached_property
    def shared_conditions(self) -> tuple[str, ...]:
        """The conditions under which everything was measured, where there are several sets of them."""
        return shared_conditions([comparison.conditions for comparison in self.comparisons])

    @property
    def several_runs(self) -> bool:
        """Whether rows have to say from which run they are."""
        return len(self.runs) > 1


def build(runs: Sequence[Run]) -> Report:
    """Derive the report of one run, or of several side by side.

    Raises:
        ResultsUnreadable: a results file has gone since it was read.
    """
    names = run_labels(runs)
    table = matrix(runs, columns(runs, names))
    groups, kernels, memory = comparisons(runs, names), kernel_comparisons(runs, names), memory_section(runs, names)
    shown = headline(groups)
    differing = differences(runs)
    judged = judgements(runs, names, table, groups, shown)
    drawn, researched = charts(runs, names, groups, kernels, memory, differing), studies(runs, names)
    facts = tuple(run_facts(run, name) for run, name in zip(runs, names, strict=True))
    return Report(
        title=_title(
            judged,
            facts,
            kernels=len({record.kernel for run in runs for record in run.attention}),
            otherwise=_other_subject(runs),
        ),
        runs=facts,
        differences=differing,
        judgements=judged,
        matrix=table,
        headline=shown,
        comparisons=groups,
        ceilings=measured_ceilings(runs, names),
        latencies=latency_rows(groups),
        attention=kernels,
        charts=drawn,
        captions=captions(runs, names, drawn, researched),
        memory=memory,
        traces=traces(runs, names),
        searches=search_rows(runs, names),
        starts=start_rows(runs, names),
        counts=count_rows(runs, names),
        timers=timer_rows(runs, names),
        scaling=scaling_rows(runs, names),
        studies=researched,
        environment=environment(runs),
        conventions=side_by_side([dict(judgement.conventions) for judgement in judged if judgement.conventions]),
        sources=tuple(_source(run) for run in runs),
    )


def _title(judged: Sequence[Judgement], facts: Sequence[RunFacts], *, kernels: int, otherwise: str) -> str:
    """The outcome of the whole in one line."""
    with_verdict = [judgement for judgement in judged if judgement.verdict not in {NO_VERDICT, NOT_JUDGED}]
    if kernels and not judged:
        return f"{plural(kernels, 'attention kernel')} measured"
    if not with_verdict:
        measured = len({judgement.implementation for judgement in judged if judgement.measured})
        return f"{plural(measured, 'implementation')} measured, none judged" if measured else otherwise
    so_far = "" if all(run.complete for run in facts) else " so far"
    if len(with_verdict) == 1:
        (only,) = with_verdict
        outcome = OUTCOMES.get(only.verdict, "has a verdict that this version does not know")
        return f"{abridged(only.label, LABEL_CHARACTERS)} {outcome}"
    return f"{_how_many_conform(with_verdict, len(facts))}{so_far}"


def _other_subject(runs: Sequence[Run]) -> str:
    """What a report is about that judges and times no implementation."""
    if any(run.timers for run in runs):
        return "vitbench, measured by itself"
    if any(run.scaling for run in runs):
        return "Training by several workers"
    return "The paper in miniature" if any(run.studies for run in runs) else "Nothing was judged"


def _how_many_conform(judged: Sequence[Judgement], runs: int) -> str:
    conforming = sum(judgement.verdict == Verdict.CONFORMS for judgement in judged)
    verb = "conforms" if conforming == 1 else "conform"
    names = {judgement.implementation for judgement in judged}
    several_times = len(names) < len(judged)
    if runs > 1 and len(names) == 1:  # before and after
        often = "all" if conforming == len(judged) else conforming or "none"
        return f"{abridged(names.pop(), LABEL_CHARACTERS)} conforms in {often} of {plural(len(judged), 'run')}"
    if runs > 1 and several_times:
        return f"{conforming} of {plural(len(judged), 'candidate')} in {plural(runs, 'run')} {verb}"
    if conforming == len(judged):
        return f"All {plural(conforming, 'implementation')} conform"
    return f"{conforming or 'None'} of {plural(len(judged), 'implementation')} {verb}"


def _source(run: Run) -> Source:
    try:
        return Source(name=run.path.name, content=run.path.read_bytes())
    except OSError as error:
        raise ResultsUnreadable(f"cannot read results {run.path}: {error.strerror or error}") from error
