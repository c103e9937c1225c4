"""What a chart says under its title where it stands alone, saved for a paper: on what its figures were measured."""

from collections.abc import Iterator, Mapping, Sequence

from vitbench.records import MeasurementRecord, Outcome, StudyRecord
from vitbench.reports.anchors import cell_anchor
from vitbench.reports.charts import Chart, Charts, IntervalChart
from vitbench.reports.ratios import TABLES, RatioChart
from vitbench.reports.series import SeriesChart
from vitbench.reports.studies import Study
from vitbench.reports.throughput import nodes
from vitbench.results import Run
from vitbench.wording import abridged, plural

MOST_VALUES = 6  # of one condition; of more, how many there are
_CHARACTERS = 80  # of one value
_INTERVALS = "With 95 % confidence intervals of the median."
_YELLOW = "Yellow: not converged, or conditions not VALID."  # where the chart on the page has a word beside each

Found = Sequence[tuple[Run, MeasurementRecord | StudyRecord]]


def captions(
    runs: Sequence[Run], labels: Sequence[str], charts: Charts, studies: Sequence[Study]
) -> Mapping[str, tuple[str, ...]]:
    """By the chart's id, in paragraphs. The page says all of it elsewhere, a saved picture has nothing else."""
    rows = dict(_rows(runs, labels))
    of_charts = {chart.id: (measured_on(_behind(chart, rows, runs[0])), *_read(chart)) for chart in charts.all}
    of_studies = {
        chart.id: (f"{study.text.title}. {measured_on(_of_study(runs, study))}",)
        for study in studies
        for chart in study.charts
    }
    return {**of_charts, **of_studies}


def measured_on(found: Found) -> str:
    """The conditions of several records in words; of each condition every value that any of them has."""
    conditions = [_words(run, record) for run, record in found]
    return "; ".join(filter(None, (_together(values) for values in zip(*conditions, strict=True))))


def _words(run: Run, record: MeasurementRecord | StudyRecord) -> tuple[str, ...]:
    device = record.device if record.device_name in {"", record.device} else f"{record.device} ({record.device_name})"
    known = run.header.environment
    torch = known.get("torch") if isinstance(known, Mapping) else None
    if isinstance(record, MeasurementRecord):
        subject, batch, mode = str(record.shape or ""), f"batch {record.batch}", str(record.mode)
    else:
        subject, batch, mode = str(record.data), "", ""
    return (
        str(record.task),
        str(record.model),
        subject,
        str(record.dtype),
        batch,
        mode,
        device,
        plural(record.threads, "thread"),
        ", ".join(nodes(record)),
        f"torch {torch}" if torch else "",
        f"vitbench {run.header.vitbench_version}",
    )


def _together(values: Sequence[str]) -> str:
    """``batch 1, 4, 16``."""
    different = [abridged(value, _CHARACTERS) for value in dict.fromkeys(values) if value]
    if len(different) > MOST_VALUES:
        return f"{different[0]} and {len(different) - 1:,} others"
    word = different[0].partition(" ")[0] if different else ""
    if word in {"batch", "torch", "vitbench"}:
        return f"{word} {', '.join(value.removeprefix(f'{word} ') for value in different)}"
    return ", ".join(different)


def _rows(runs: Sequence[Run], labels: Sequence[str]) -> Iterator[tuple[str, tuple[Run, MeasurementRecord]]]:
    for run, label in zip(runs, labels, strict=True):
        for record in run.of_implementations:
            yield cell_anchor(TABLES.get(record.suite, "cell"), label, record.cell), (run, record)


def _behind(chart: Chart, rows: Mapping[str, tuple[Run, MeasurementRecord]], first: Run) -> Found:
    """The records that the chart's figures are of."""
    found = [rows[anchor] for anchor in dict.fromkeys(_anchors(chart)) if anchor in rows]
    if not isinstance(chart, RatioChart):
        return found
    cells = {record.cell for _, record in found}
    return [*((first, record) for record in first.of_implementations if record.cell in cells), *found]


def _anchors(chart: Chart) -> Iterator[str]:
    if isinstance(chart, SeriesChart):
        for one in chart.series:
            yield from (point.row or one.row for point in one.points)
    elif isinstance(chart, IntervalChart):
        yield from (bar.row for bar in chart.bars)
    elif isinstance(chart, RatioChart):
        yield from (point.row for point in chart.points)
    else:
        yield from (stack.row for stack in chart.stacks)


def _read(chart: Chart) -> Iterator[str]:
    """What the page says above its charts, or beside its figures only."""
    if isinstance(chart, IntervalChart):
        ends, unsure = [bar.low for bar in chart.bars], not all(bar.sure for bar in chart.bars)
    elif isinstance(chart, SeriesChart):
        ends, unsure = [point.low for one in chart.series for point in one.points], False  # among its remarks
    elif isinstance(chart, RatioChart):
        ends, unsure = [], any(point.note for point in chart.points)  # its remark tells of intervals
    else:
        return
    if any(end is not None for end in ends):
        yield _INTERVALS
    if unsure:
        yield _YELLOW


def _of_study(runs: Sequence[Run], study: Study) -> Found:
    measured = ((run, record) for run in runs for record in run.studies if record.suite == study.suite)
    return [(run, record) for run, record in measured if record.outcome == Outcome.MEASURED]
