"""What runs found, as tables for papers and pull requests: verdicts, throughput, attention kernels, memory, studies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vitbench import units
from vitbench.conditions.record import Validity
from vitbench.matrix import run_labels
from vitbench.records import MeasurementRecord, Outcome, StudyRecord, kind_of_node
from vitbench.results import Run
from vitbench.scaling import Figure
from vitbench.scorecard import Scorecard
from vitbench.study import Scalar
from vitbench.wording import plural

DOUBT = "interval: 95 % of the median; *: not converged, or INVALID by its evidence"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text, not yet escaped for any format."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int  # columns at the end, set to the right
    note: str = ""


def measured(runs: Sequence[Run]) -> tuple[Table, ...]:
    """A table for each kind of measurement that there is."""
    kinds = (
        Table(
            title="Throughput",
            head=("Model", "Task", "Implementation", "Version", "Batch", "Images/s", "Latency"),
            rows=tuple(_rows(runs, "measurements", _throughput)),
            numbers=3,
            note=f"{DOUBT}; {_machines(runs, 'measurements')}",
        ),
        Table(
            title="Attention kernels",
            head=("Shape", "Direction", "dtype", "Kernel", "Time", "Error", "Bound"),
            rows=tuple(_rows(runs, "attention", _attention)),
            numbers=3,
            note=f"{DOUBT}, or an error beyond its bound; errors are parts of the largest value; "
            f"{_machines(runs, 'attention')}",
        ),
        Table(
            title="Memory",
            head=("Model", "Task", "Implementation", "Version", "Batch", "Allocated", "Process"),
            rows=tuple(_rows(runs, "memory", _memory)),
            numbers=3,
            note=f"peaks after warm-up; {_machines(runs, 'memory')}",
        ),
        Table(
            title="Several workers",
            head=(
                "Model",
                "Strategy",
                "Implementation",
                "Version",
                "Batch",
                "Workers",
                "Images/s",
                "Efficiency",
                "Communication",
            ),
            rows=tuple(row for label, run in zip(run_labels(runs), runs, strict=True) for row in _scaling(label, run)),
            numbers=4,
            note=f"medians over rounds, interval: 95 %; *: not converged, or INVALID by its evidence; {_machines(runs, 'scaling')}",
        ),
        Table(
            title="Studies",
            head=("Study", "Figure", "Of", "Implementation", "Version", "Value"),
            rows=tuple(row for label, run in zip(run_labels(runs), runs, strict=True) for row in _studies(label, run)),
            numbers=1,
            note="; ".join([*_intervals(runs), _machines(runs, "studies")]),
        ),
    )
    return tuple(_with_runs(table, several=len(runs) > 1) for table in kinds if table.rows)


def verdicts(card: Scorecard) -> Table:
    """A row for each implementation: requirements passed of all there are, by level."""
    return Table(
        title="Conformance",
        head=("Implementation", "Verdict", "MUST", "SHOULD", "MAY"),
        rows=tuple(
            (one.title, str(one.said), *(f"{tally.passed}/{tally.total}" for _, tally in one.tallies))
            for one in card.standings
        ),
        numbers=3,
        note="requirements passed, of all that the specification has",
    )


def _with_runs(table: Table, *, several: bool) -> Table:
    """Rows begin with their run, which only a table of several has to say."""
    head, rows = table.head, table.rows
    return Table(
        title=table.title,
        head=("Run", *head) if several else head,
        rows=rows if several else tuple(row[1:] for row in rows),
        numbers=table.numbers,
        note=table.note,
    )


def _rows(
    runs: Sequence[Run], suite: str, cells: Callable[[MeasurementRecord], tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    for label, run in zip(run_labels(runs), runs, strict=True):
        latest = {record.cell: record for record in getattr(run, suite)}  # a resumed cell: its last word
        for record in sorted(latest.values(), key=_order):
            yield (label, *cells(record))


def _studies(label: str, run: Run) -> Iterator[tuple[str, ...]]:
    """Numbers of one name stand together, implementation by implementation; curves and arrays are in the report."""
    latest = {record.cell: record for record in run.studies}
    rows = [(label, *cells) for record in latest.values() for cells in _study(record)]
    places = {named: place for place, named in enumerate(dict.fromkeys(row[:4] for row in rows))}
    yield from sorted(rows, key=lambda row: places[row[:4]])


def _study(record: StudyRecord) -> Iterator[tuple[str, ...]]:
    title = ", ".join(filter(None, (record.suite, record.task, record.model)))
    who = (record.implementation, record.version)
    if record.outcome != Outcome.MEASURED or not record.scalars:
        said = "no number" if record.outcome == Outcome.MEASURED else str(record.outcome)
        yield (title, units.MISSING, units.MISSING, *who, said)
        return
    for scalar in record.scalars:
        yield (title, scalar.name, scalar.series or units.MISSING, *who, _value(scalar))


def _value(scalar: Scalar) -> str:
    known = scalar.low is not None and scalar.high is not None
    value = "not finite" if scalar.value is None else units.number(scalar.value)
    return " ".join(filter(None, (value, f"({units.interval(scalar.low, scalar.high)})" if known else "", scalar.unit)))


def _intervals(runs: Sequence[Run]) -> list[str]:
    """What the intervals of the studies are, where they have any."""
    scalars = (scalar for run in runs for record in run.studies for scalar in record.scalars)
    kinds = dict.fromkeys(scalar.interval for scalar in scalars if scalar.interval)
    return [f"interval: {' or '.join(kinds)}"] if kinds else []


def _machines(runs: Sequence[Run], suite: str) -> str:
    """On which devices, with how many threads and which torch: without these a figure says nothing."""
    places = dict.fromkeys(_machine(run, record) for run in runs for record in getattr(run, suite))
    return f"measured on {' and on '.join(places)}"


def _machine(run: Run, record: MeasurementRecord | StudyRecord) -> str:
    device = record.device if record.device_name in {"", record.device} else f"{record.device} ({record.device_name})"
    known = run.header.environment
    torch = [f"torch {known['torch']}"] if isinstance(known, Mapping) and known.get("torch") else []
    return ", ".join([device, plural(record.threads, "thread"), *torch])


def _order(record: MeasurementRecord) -> tuple[object, ...]:
    return (
        record.model, str(record.shape), record.task, record.dtype, record.mode, record.batch, record.kernel, record.implementation,
    )  # fmt: skip


def _named(record: MeasurementRecord) -> tuple[str, ...]:
    task = ", ".join([record.task, record.dtype, record.mode, *_nodes(record)])
    return (record.model, task, record.implementation, record.version, str(record.batch))


def _nodes(record: MeasurementRecord) -> tuple[str, ...]:
    """On which kind, where a run was spread over unlike nodes: rows of two kinds do not compare."""
    kind = kind_of_node(record.node)
    return (f"nodes {kind}",) if kind else ()


def _throughput(record: MeasurementRecord) -> tuple[str, ...]:
    if record.throughput_images_per_s is None:
        return (*_named(record), str(record.outcome), units.MISSING)
    return (*_named(record), f"{units.number(record.throughput_images_per_s)}{_mark(record)}", _time(record))


def _attention(record: MeasurementRecord) -> tuple[str, ...]:
    named = (
        str(record.shape or ""),
        ", ".join([record.direction, record.mode, *_nodes(record)]),
        record.dtype,
        record.kernel,
    )
    if record.latency_s is None:
        return (*named, str(record.outcome), units.MISSING, units.MISSING)
    error, bound = record.precision.worst if record.precision else (None, None)
    return (*named, f"{_time(record)}{_mark(record)}", units.number(error), units.number(bound))


def _memory(record: MeasurementRecord) -> tuple[str, ...]:
    if record.memory is None:
        return (*_named(record), str(record.outcome), units.MISSING)
    taken = (record.memory.allocated_bytes, record.memory.process_bytes)
    return (*_named(record), *map(units.data_size, taken))


def _scaling(label: str, run: Run) -> Iterator[tuple[str, ...]]:
    """A row for each number of workers, below the one that worked alone."""
    latest = {record.cell: record for record in run.scaling}
    for record in sorted(latest.values(), key=_order):
        named = (label, record.model, record.mode, record.implementation, record.version, str(record.batch))
        if record.scaling is None:
            yield (*named, str(record.outcome), *(units.MISSING,) * 3)
            continue
        alone = units.number(record.scaling.alone_images_per_s.value)
        yield (*named, "1 alone", f"{alone}{_mark(record)}", units.MISSING, units.MISSING)
        for point in record.scaling.points:
            reached = f"{units.number(point.images_per_s.value)}{_mark(record)}"
            yield (*named, str(point.workers), reached, *map(_part, (point.efficiency, point.communication_share)))


def _part(figure: Figure | None) -> str:
    if figure is None:
        return units.MISSING
    return f"{units.percent(figure.value)} ({units.percent_interval(figure.low, figure.high)})"


def _time(record: MeasurementRecord) -> str:
    return f"{units.seconds(record.latency_s)} ({units.seconds_interval(record.latency_low_s, record.latency_high_s)})"


def _mark(record: MeasurementRecord) -> str:
    """An asterisk where something speaks against the figure."""
    invalid = record.evidence is not None and record.evidence.verdict == Validity.INVALID
    wrong = record.precision is not None and not record.precision.within
    return "*" if invalid or wrong or record.converged is False else ""
