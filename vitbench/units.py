"""The one place that turns quantities into text. Everything is stored in SI; nothing is rounded before it is shown.

Three significant digits unless said otherwise; what is missing or not a number is an en dash.
"""

import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

MISSING = "–"

_MINUTE_S, _HOUR_S = 60, 3600
_LARGEST_FLOAT = sys.float_info.max
_ROUNDS_TO_ONE = 0.9995  # with three significant digits
_LEAST, _MOST = 1e-4, 1e9  # beyond them, powers of ten are easier to read
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Scale = Sequence[tuple[float, str]]  # (size of the unit, its symbol), largest first

_SECONDS: Scale = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_DECIMAL: Scale = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_BYTES: Scale = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))


def number(value: float | None, digits: int = 3) -> str:
    """A plain number: ``1,234``, ``12.3``, ``0.00123``; very small and very large ones as ``1.23·10⁻⁹``."""
    if value is None or _beyond_floats(value) or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    return _significant(value, digits).replace("-", "−")


def count(value: float | None) -> str:
    """A number of things, in full: ``86,567,656``."""
    return MISSING if not _finite(value) else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """A short time: ``12.3 ms``."""
    return _scaled(value, _SECONDS)


def seconds_interval(low: float | None, high: float | None) -> str:
    """An interval of short times in one unit, with as many digits as tell its ends apart: ``12.1 – 12.6 ms``."""
    if low is None or high is None or not (_finite(low) and _finite(high)):
        return MISSING
    size, symbol = _unit(max(abs(low), abs(high)), _SECONDS)
    return f"{interval(low / size, high / size)} {symbol}"


def interval(low: float | None, high: float | None) -> str:
    """Two plain numbers with as many digits as tell them apart: ``1,201 – 1,265``."""
    if low is None or high is None or not (_finite(low) and _finite(high)):
        return MISSING
    for digits in range(3, 7):
        ends = (number(low, digits), number(high, digits))
        if ends[0] != ends[1] or low == high:
            break
    return " – ".join(ends)


def duration(value: float | None) -> str:
    """How long something took, for people: ``2 h 05 min``, ``3 min 20 s``, ``4.2 s``."""
    if value is None or not _finite(value) or abs(value) < _MINUTE_S:
        return seconds(value)
    whole = round(value)
    hours, minutes, rest = whole // _HOUR_S, whole % _HOUR_S // _MINUTE_S, whole % _MINUTE_S
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(text: str | None) -> str:
    """A point in time as written in results, in UTC: ``22 Nov 2026, 15:38 UTC``; other text is left as it is."""
    if not text:
        return MISSING
    try:
        when = datetime.fromisoformat(text)
        when = when.astimezone(UTC) if when.tzinfo else when
    except (TypeError, ValueError, OverflowError):  # the last: a time zone that leads out of the calendar
        return str(text)
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # whatever the locale
    return f"{when.day} {months[when.month - 1]} {when.year}, {when:%H:%M} UTC"


def images_per_s(value: float | None) -> str:
    """A throughput: ``1,234 images/s``."""
    return _with_symbol(number(value), "images/s")


def data_size(value_bytes: float | None) -> str:
    """An amount of memory or of disk, in binary units: ``1.50 GiB``."""
    return _scaled(value_bytes, _BYTES)


def bytes_per_s(value: float | None) -> str:
    """A bandwidth, in decimal units as makers of hardware give it: ``3.35 TB/s``."""
    return _scaled(value, _DECIMAL, "B/s")


def flops(value: float | None) -> str:
    """Floating-point operations: ``35.1 GFLOP``."""
    return _scaled(value, _DECIMAL, "FLOP")


def flops_per_s(value: float | None) -> str:
    """Floating-point operations a second: ``798 TFLOP/s``."""
    return _scaled(value, _DECIMAL, "FLOP/s")


def giga(value: float | None) -> str:
    """A number in thousands of millions, for a column whose heading has the unit: ``17.6``."""
    return number(None if value is None else value / 1e9)


def tera(value: float | None) -> str:
    """A number in millions of millions, for a column whose heading has the unit: ``0.114``, ``798``."""
    return number(None if value is None else value / 1e12)


def ratio(value: float | None) -> str:
    """How many times: ``1.25×``."""
    text = number(value)
    return text if text == MISSING else f"{text}×"


def percent(fraction: float | None) -> str:
    """A part of one, or a relative change: ``2.1 %``."""
    if fraction is None or not _finite(fraction):
        return MISSING
    return f"{number(fraction * 100, 2 if abs(fraction) < _ROUNDS_TO_ONE else 3)} %"


def percent_interval(low: float | None, high: float | None) -> str:
    """An interval of parts of one: ``91.2 – 94.0 %``."""
    if low is None or high is None or not (_finite(low) and _finite(high)):
        return MISSING
    return f"{interval(low * 100, high * 100)} %"


def _finite(value: float | None) -> bool:
    return value is not None and not _beyond_floats(value) and math.isfinite(value)


def _beyond_floats(value: float) -> bool:
    """Whether it is an integer that no float comes near: JSON has any, and no quantity is so large."""
    return isinstance(value, int) and abs(value) > _LARGEST_FLOAT


def _scaled(value: float | None, scale: Scale, symbol: str = "") -> str:
    if value is None or not _finite(value):
        return _with_symbol(number(value), symbol or scale[-1][1])
    size, prefix = _unit(abs(value), scale)
    return _with_symbol(number(value / size), prefix + symbol)


def _unit(magnitude: float, scale: Scale) -> tuple[float, str]:
    """The largest unit of which there is at least one, after rounding; seconds for zero, not nanoseconds."""
    if magnitude == 0:
        return next((size, symbol) for size, symbol in scale if size == 1.0)
    return next(((size, symbol) for size, symbol in scale if magnitude / size >= _ROUNDS_TO_ONE), scale[-1])


def _with_symbol(text: str, symbol: str) -> str:
    return text if text == MISSING else f"{text} {symbol}".rstrip()


def _significant(value: float, digits: int) -> str:
    if not _LEAST <= abs(value) < _MOST:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    power = int(
        f"{value:.{digits - 1}e}".partition("e")[2]
    )  # of the rounded value: 9.996 has two digits before the point
    return f"{value:,.{max(0, digits - 1 - power)}f}"
