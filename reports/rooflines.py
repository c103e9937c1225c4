"""Cells on the roofline of their device: FLOP/s over FLOPs a byte, beneath what was measured to be possible."""

from collections.abc import Mapping, Sequence

from vitbench import units
from vitbench.limits.roofline import Ceilings, Roofline
from vitbench.reports.series import (
    DOUBTFUL,
    MOST_SERIES,
    Axis,
    Guide,
    Point,
    Series,
    SeriesChart,
    distinct_labels,
    drawable,
    log_axis,
    told,
)
from vitbench.reports.throughput import Comparison, Measurement
from vitbench.results import Run
from vitbench.wording import abridged, plural

MOST_ROOFLINES = 6  # charts
MOST_CELLS = 400  # of a chart; more than that are in the table only
_WORDS = 60  # characters of a model, a dtype or a device

Roofs = tuple[Mapping[str, float], float | None]
"""FLOP/s by arithmetic, and bytes/s."""


def rooflines(runs: Sequence[Run], labels: Sequence[str], groups: Sequence[Comparison]) -> tuple[SeriesChart, ...]:
    """A chart for each device of each run of which a roof is known: measured in that run, else stated by the maker."""
    by_label = dict(zip(labels, runs, strict=True))
    devices: dict[tuple[str, str, str, int], list[Measurement]] = {}
    for row in (row for group in groups for row in group.rows if _placed(row.record.roofline)):
        record = row.record
        devices.setdefault((row.run, record.device, record.device_name, record.threads), []).append(row)
    charts = (
        _chart(f"roofline-{number}", rows, by_label[rows[0].run].ceilings(rows[0].record), several_runs=len(runs) > 1)
        for number, rows in enumerate(devices.values(), 1)
    )
    return tuple(chart for chart in charts if chart is not None)[:MOST_ROOFLINES]


def guides_of(roofs: Roofs, lowest: float, highest: float) -> tuple[Guide, ...]:
    """The slope that memory allows, up to the highest ridge, and the level of each arithmetic from its own ridge on."""
    products, bytes_per_s = roofs
    ridges = {arithmetic: rate / bytes_per_s if bytes_per_s else lowest for arithmetic, rate in products.items()}
    levels = tuple(
        Guide(
            label=f"{abridged(arithmetic, _WORDS)} {units.flops_per_s(rate)}",
            points=((ridges[arithmetic], rate), (highest, rate)),
        )
        for arithmetic, rate in products.items()
    )
    if not bytes_per_s:
        return levels
    end = max(ridges.values(), default=highest)
    slope = ((lowest, lowest * bytes_per_s), (end, end * bytes_per_s))
    return (Guide(label=f"memory {units.bytes_per_s(bytes_per_s)}", points=slope), *levels)


def _chart(
    identity: str, rows: Sequence[Measurement], ceilings: Ceilings | None, *, several_runs: bool
) -> SeriesChart | None:
    series, left_out = _series(rows)
    points = [point for one in series for point in one.points]
    roofs, measured = _roofs([row.record.roofline for row in rows if row.record.roofline], ceilings)
    products, bytes_per_s = roofs
    if not products and not bytes_per_s:
        return None
    ridges = [rate / bytes_per_s for rate in products.values()] if bytes_per_s else []
    x = log_axis("FLOPs a byte, at most", [*(point.x for point in points), *ridges], units.number)
    guides = guides_of(roofs, x.low, x.high)
    record = rows[0].record
    words = (record.device_name or record.device, plural(record.threads, "thread"), *((rows[0].run,) * several_runs))
    return SeriesChart(
        id=identity,
        title=f"Roofline: {', '.join(abridged(word, _WORDS) for word in words)}",
        x=x,
        y=_rates(points, guides),
        series=series,
        joined=False,
        guides=guides,
        remarks=(
            f"Dashed: {'measured in this run' if measured else 'from the datasheet'}.",
            *((DOUBTFUL,) if any(point.note for point in points) else ()),
        ),
        left_out=told(left_out),
    )


def _rates(points: Sequence[Point], guides: Sequence[Guide]) -> Axis:
    ends = [y for guide in guides for _, y in guide.points]
    return log_axis("FLOP/s", [*(point.y for point in points), *ends], units.flops_per_s)


def _roofs(cells: Sequence[Roofline], ceilings: Ceilings | None) -> tuple[Roofs, bool]:
    """Of the arithmetic that the cells use; and whether they were measured."""
    used = dict.fromkeys(cell.arithmetic for cell in cells)
    if ceilings is not None:
        products = {name: rate for name in used if drawable(rate := ceilings.flops_per_s(name))}
        copy = ceilings.bytes_per_s
        if products or drawable(copy):
            return (products, copy if drawable(copy) else None), True
    stated = {cell.arithmetic: cell.peak_flops_per_s for cell in cells if drawable(cell.peak_flops_per_s)}
    rates = [cell.peak_bytes_per_s for cell in cells if drawable(cell.peak_bytes_per_s)]
    return (stated, rates[0] if rates else None), False


def _series(rows: Sequence[Measurement]) -> tuple[tuple[Series, ...], tuple[str, ...]]:
    groups: dict[str, list[Point]] = {}
    for row in rows[:MOST_CELLS]:
        if row.record.roofline is not None:
            groups.setdefault(row.implementation, []).append(_point(row, row.record.roofline))
    labels = distinct_labels(list(groups))
    series = [
        Series(label=label, points=tuple(points), subject=name)
        for label, (name, points) in zip(labels, groups.items(), strict=True)
    ]
    further = len(rows) - MOST_CELLS
    return tuple(series[:MOST_SERIES]), (
        *(f"{one.label}: in the table" for one in series[MOST_SERIES:]),
        *((f"{plural(further, 'further cell')}: in the table",) if further > 0 else ()),
    )


def _point(row: Measurement, cell: Roofline) -> Point:
    record, standing = row.record, row.standing
    words = (record.task, record.model, record.dtype, f"batch {record.batch}", record.mode)
    reached = f"{units.flops_per_s(cell.flops_per_s)} at {units.number(cell.intensity)} FLOPs a byte"
    share = "" if standing is None else f"\n{units.percent(standing.share)} of {standing.ceiling}"
    return Point(
        x=cell.intensity,
        y=cell.flops_per_s,
        text=f"{', '.join(abridged(word, _WORDS) for word in words)}\n{reached}{share}",
        note=", ".join(row.doubts),
        row=row.anchor,
    )


def _placed(cell: Roofline | None) -> bool:
    return cell is not None and drawable(cell.intensity) and drawable(cell.flops_per_s)
