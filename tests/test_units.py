"""Quantities as text: one table a function."""

import math

import pytest

from vitbench import units


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"), (1, "1.00"), (12.34, "12.3"), (123.4, "123"), (1234.5, "1,234"), (1234567, "1,234,567"),
        (9.996, "10.0"), (99.96, "100"), (0.0123, "0.0123"), (0.00012345, "0.000123"), (1.2345e-9, "1.23·10⁻⁹"),
        (4.2e11, "4.20·10¹¹"), (-12.34, "−12.3"), (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "–"), (None, "–"),
    ],
)  # fmt: skip
def test_a_number_has_three_significant_digits(value: float | None, expected: str) -> None:
    assert units.number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0123, "12.3 ms"), (0.00000123, "1.23 µs"), (1.5e-8, "15.0 ns"), (2.5e-12, "0.00250 ns"), (1.0, "1.00 s"),
        (75.25, "75.2 s"), (0.99996, "1.00 s"), (0.0009999, "1.00 ms"), (0.0, "0 s"), (None, "–"), (math.nan, "–"),
    ],
)  # fmt: skip
def test_seconds_choose_the_unit_that_leaves_a_digit_before_the_point(value: float | None, expected: str) -> None:
    assert units.seconds(value) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0121, 0.0126, "12.1 – 12.6 ms"), (0.01231, 0.01234, "12.31 – 12.34 ms"), (0.0009, 0.0011, "0.900 – 1.10 ms"),
        (0.01, 0.01, "10.0 – 10.0 ms"), (None, 0.1, "–"), (0.1, None, "–"), (math.nan, 0.1, "–"),
    ],
)  # fmt: skip
def test_an_interval_has_one_unit_and_ends_that_differ(low: float | None, high: float | None, expected: str) -> None:
    assert units.seconds_interval(low, high) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1201.2, 1265.3, "1,201 – 1,265"), (118.1, 118.3, "118.1 – 118.3"), (2.0, 2.0, "2.00 – 2.00"), (None, None, "–")],
)
def test_an_interval_of_plain_numbers(low: float | None, high: float | None, expected: str) -> None:
    assert units.interval(low, high) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.25, "250 ms"), (42.04, "42.0 s"), (59.99, "60.0 s"), (60, "1 min 00 s"), (200.4, "3 min 20 s"),
        (7500, "2 h 05 min"), (4e6, "1,111 h 06 min"), (None, "–"),
    ],
)  # fmt: skip
def test_a_duration_is_said_as_people_say_it(value: float | None, expected: str) -> None:
    assert units.duration(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T15:38:02+00:00", "22 Nov 2026, 15:38 UTC"), ("2026-11-22T15:38:02Z", "22 Nov 2026, 15:38 UTC"),
        ("2026-11-22T15:38:02+05:30", "22 Nov 2026, 10:08 UTC"), ("2026-11-22T15:38:02", "22 Nov 2026, 15:38 UTC"),
        ("yesterday", "yesterday"), ("", "–"), (None, "–"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"), ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00"),
    ],
)  # fmt: skip
def test_a_moment_is_given_in_utc(text: str | None, expected: str) -> None:
    assert units.moment(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1234.5, "1,234 images/s"), (0.512, "0.512 images/s"), (0, "0 images/s"), (None, "–")],
)
def test_throughput_names_its_unit(value: float | None, expected: str) -> None:
    assert units.images_per_s(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 B"), (512, "512 B"), (1536, "1.50 KiB"), (1.5 * 2**30, "1.50 GiB"), (2**50, "1,024 TiB"), (None, "–")],
)
def test_memory_is_in_binary_units(value: float | None, expected: str) -> None:
    assert units.data_size(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(3.35e12, "3.35 TB/s"), (50, "50.0 B/s"), (None, "–")])
def test_bandwidth_is_in_decimal_units(value: float | None, expected: str) -> None:
    assert units.bytes_per_s(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(35.128e9, "35.1 GFLOP"), (12, "12.0 FLOP"), (0, "0 FLOP"), (None, "–")]
)
def test_flops_have_a_decimal_prefix(value: float | None, expected: str) -> None:
    assert units.flops(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(798e12, "798 TFLOP/s"), (1.2e15, "1.20 PFLOP/s"), (None, "–")])
def test_flops_a_second_have_a_decimal_prefix(value: float | None, expected: str) -> None:
    assert units.flops_per_s(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(17_563_800_000, "17.6"), (1.2e6, "0.00120"), (None, "–")])
def test_giga_leaves_the_unit_to_the_heading(value: float | None, expected: str) -> None:
    assert units.giga(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(86_567_656, "86,567,656"), (0, "0"), (None, "–"), (math.inf, "–"), (10**400, "–")]
)
def test_a_count_is_given_in_full(value: float | None, expected: str) -> None:
    assert units.count(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(1.25, "1.25×"), (123456.7, "123,457×"), (math.inf, "∞×"), (None, "–")]
)
def test_a_ratio_is_marked_as_one(value: float | None, expected: str) -> None:
    assert units.ratio(value) == expected


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.021, "2.1 %"), (0.5, "50 %"), (1.5, "150 %"), (0, "0 %"), (-0.034, "−3.4 %"), (None, "–"), (math.nan, "–")],
)
def test_a_percentage_is_made_from_a_fraction(fraction: float | None, expected: str) -> None:
    assert units.percent(fraction) == expected


def test_an_interval_of_parts_of_one_is_in_per_cent() -> None:
    assert units.percent_interval(0.9124, 0.94) == "91.2 – 94.0 %"
    assert units.percent_interval(None, 0.94) == units.percent_interval(0.9, float("nan")) == units.MISSING
