"""The figures behind a study's chart as a table: a row for each place along its axis, a column for each line."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitbench import units
from vitbench.reports.series import Point, Series, SeriesChart

_MOST_ROWS = 40
_MOST_FIGURES = 32  # of a cell: heads of a block


@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """What every line has at one place; empty where it has nothing there."""

    x: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CurveTable:
    """A chart in figures."""

    title: str
    x: str  # what is measured along the axis
    y: str  # what the figures are
    columns: tuple[str, ...]
    rows: tuple[CurveRow, ...]
    places: int  # along the axis; of many, evenly spaced ones have a row, the first and the last among them


def curve_table(chart: SeriesChart) -> CurveTable:
    """Every point of the chart, or of very many those at evenly spaced places."""
    places = sorted({point.x for series in chart.series for point in series.points})
    by_place = [_by_place(series) for series in chart.series]
    return CurveTable(
        title=chart.title,
        x=chart.x.label.removesuffix(", log scale"),
        y=chart.y.label.removesuffix(", log scale"),
        columns=tuple(series.label for series in chart.series),
        rows=tuple(
            CurveRow(x=units.number(x), values=tuple(_text(points.get(x, [])) for points in by_place))
            for x in _evenly(places)
        ),
        places=len(places),
    )


def _by_place(series: Series) -> dict[float, list[Point]]:
    found: dict[float, list[Point]] = {}
    for point in series.points:
        found.setdefault(point.x, []).append(point)
    return found


def _evenly(places: Sequence[float]) -> list[float]:
    if len(places) <= _MOST_ROWS:
        return list(places)
    last = len(places) - 1
    return [places[round(row * last / (_MOST_ROWS - 1))] for row in range(_MOST_ROWS)]


def _text(points: Sequence[Point]) -> str:
    told = [_figure(point) for point in points[:_MOST_FIGURES]]
    further = len(points) - len(told)
    return ", ".join([*told, *([f"and {further} more"] if further > 0 else [])])


def _figure(point: Point) -> str:
    whole = point.low is not None and point.high is not None
    return units.number(point.y) + (f" ({units.interval(point.low, point.high)})" if whole else "")
