"""How fast a device can be: the makers' table, the measured ceilings, and the roofline between."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sample_runs import header, measurement, write

from vitbench import progress
from vitbench.limits import ceilings as measured
from vitbench.limits.peaks import PEAKS, Peak, peak_of
from vitbench.limits.roofline import Ceilings, Copy, Product, roofline, standing
from vitbench.measurement import record
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.cost import Work
from vitbench.results import from_line, read, to_line
from vitbench.suites.limits import suite
from vitbench.timer import Effort

# SMs, FLOPs a cycle and SM of a dense half-precision product that accumulates in float32, boost clock of the matrix units
ARITHMETIC = {
    "NVIDIA H100 80GB HBM3": (132, 4096, 1.830e9),
    "NVIDIA H100 PCIe": (114, 4096, 1.620e9),
    "NVIDIA H100 NVL": (132, 4096, 1.545e9),
    "NVIDIA A100-SXM4-80GB": (108, 2048, 1.410e9),
    "NVIDIA A30": (56, 2048, 1.440e9),
    "NVIDIA A40": (84, 1024, 1.740e9),
    "NVIDIA A10": (72, 1024, 1.695e9),
    "NVIDIA A10G": (80, 512, 1.710e9),
    "NVIDIA L4": (58, 1024, 2.040e9),
    "NVIDIA L40S": (142, 1024, 2.520e9),
    "Tesla T4": (40, 1024, 1.590e9),
    "Tesla V100-SXM2-16GB": (80, 1024, 1.530e9),
    "Tesla V100-PCIE-16GB": (80, 1024, 1.380e9),
    "NVIDIA GeForce RTX 3090": (82, 512, 1.695e9),
    "NVIDIA GeForce RTX 4090": (128, 512, 2.520e9),
    "NVIDIA GeForce RTX 5090": (170, 512, 2.407e9),
}
BRIEF = Effort(relative_width=100.0, least_samples=3, least_s=0.0, most_s=0.0, most_warmup_s=0.0)
WORK = Work(flops=1000, least_bytes=10)  # 100 FLOPs a byte
PEAK = Peak(flops_per_s={"float32": 4000.0}, bytes_per_s=50.0, source="https://example.org")
CEILINGS = Ceilings(
    products=[
        Product(arithmetic="float32", flops_per_s=2000.0, size=64, samples_s=[0.1]),
        Product(arithmetic="float16", flops_per_s=None, reason="not implemented for 'Half'", samples_s=[]),
    ],
    copy=Copy(bytes_per_s=5.0, buffer_bytes=64, samples_s=[0.1]),
)


# --- the makers' table


@pytest.mark.parametrize("name", ARITHMETIC)
def test_stated_rates_are_dense_and_follow_from_units_and_clock(name: str) -> None:
    """A sparse figure would be twice as high; makers round, so 3 % may lie between."""
    units, flops_per_cycle, clock_hz = ARITHMETIC[name]
    assert PEAKS[name].flops_per_s["float16"] == pytest.approx(units * flops_per_cycle * clock_hz, rel=0.03)


@pytest.mark.parametrize("name", PEAKS)
def test_rates_keep_their_order_and_every_row_names_the_makers_document(name: str) -> None:
    rates = PEAKS[name].flops_per_s
    ordered = [rates[key] for key in ("float32", "tf32", "float16", "float8_e4m3fn") if key in rates]
    assert ordered == sorted(ordered)
    assert rates.get("bfloat16", rates["float16"]) == rates["float16"]
    assert 1e11 < PEAKS[name].bytes_per_s < 1e13
    assert PEAKS[name].source.startswith(("https://www.nvidia.com/", "https://images.nvidia.com/")) or any(
        host in PEAKS[name].source for host in ("resources.nvidia.com", "d1.awsstatic.com")
    )


def test_the_h100_that_has_hbm3_is_the_sxm_one() -> None:
    peak = peak_of("NVIDIA H100 80GB HBM3")
    assert peak is not None
    assert (peak.flops_per_s["bfloat16"], peak.bytes_per_s) == (989.4e12, 3350e9)


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA H100",
        "NVIDIA A100-SXM-64GB",
        "NVIDIA L40S-48Q",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "nvidia l4",
        "NVIDIA L4 ",
        "AMD Instinct MI300X",
        "Intel(R) Xeon(R) Processor @ 2.70GHz",
        "",
    ],
)
def test_a_name_that_is_not_in_the_table_whole_has_no_peak(name: str) -> None:
    assert peak_of(name) is None


def test_no_row_is_taken_for_one_whose_name_begins_alike() -> None:
    rates = {name: peak_of(name) for name in ("NVIDIA L4", "NVIDIA L40", "NVIDIA L40S", "NVIDIA A10", "NVIDIA A10G")}
    assert len({None if peak is None else peak.flops_per_s["float16"] for peak in rates.values()}) == 5


# --- the roofline


def test_a_roofline_follows_from_work_and_time() -> None:
    cell = roofline(arithmetic="float32", work=WORK, seconds=0.5, peak=PEAK)
    assert (cell.flops_per_s, cell.least_bytes_per_s, cell.intensity) == (2000.0, 20.0, 100.0)
    assert (cell.peak_flops_per_s, cell.peak_bytes_per_s, cell.share_of_peak) == (4000.0, 50.0, 0.5)
    assert (cell.bound, cell.peak_source) == ("compute", "https://example.org")


@pytest.mark.parametrize(("bytes_per_s", "bound"), [(39.0, "memory"), (41.0, "compute")])
def test_the_lower_roof_bounds(bytes_per_s: float, bound: str) -> None:
    """At 100 FLOPs a byte and 4000 FLOP/s the ridge is at 40 bytes/s."""
    assert (
        roofline(arithmetic="float32", work=WORK, seconds=1, peak=replace(PEAK, bytes_per_s=bytes_per_s)).bound == bound
    )


@pytest.mark.parametrize(("arithmetic", "peak"), [("float32", None), ("bfloat16", PEAK)])
def test_without_a_stated_rate_there_is_no_share_and_no_bound(arithmetic: str, peak: Peak | None) -> None:
    cell = roofline(arithmetic=arithmetic, work=WORK, seconds=1, peak=peak)
    assert (cell.share_of_peak, cell.peak_flops_per_s, cell.bound) == (None, None, "")


def test_a_cell_stands_against_what_was_measured_before_the_datasheet() -> None:
    cell = roofline(arithmetic="float32", work=WORK, seconds=4, peak=PEAK)  # 250 FLOP/s
    against_measured, against_stated = standing(cell, CEILINGS), standing(cell, None)
    assert against_measured is not None
    assert against_stated is not None
    assert (against_measured.share, against_measured.bound) == (0.5, "memory")  # 5 bytes/s allow 500 FLOP/s
    assert (against_stated.share, against_stated.bound) == (0.0625, "compute")
    assert (against_measured.ceiling, against_stated.ceiling) == ("copy", "datasheet FLOP/s")


def test_a_dtype_whose_product_was_not_measured_stands_against_the_datasheet_or_nothing() -> None:
    half = replace(PEAK, flops_per_s={"float16": 4000.0})
    stated = standing(roofline(arithmetic="float16", work=WORK, seconds=4, peak=half), CEILINGS)
    assert stated is not None
    assert not stated.measured
    assert standing(roofline(arithmetic="float16", work=WORK, seconds=4, peak=None), CEILINGS) is None


# --- measured ceilings


@pytest.mark.usefixtures("one_thread")
def test_products_and_copy_are_measured_and_what_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_SIZES", (64,))
    monkeypatch.setattr(measured, "_COPY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(measured, "ON_CPU", ("float32", "bfloat16", "nosuch"))
    before = torch.backends.cuda.matmul.fp32_precision
    found = measured.measure_ceilings("cpu", BRIEF)
    float32, _, nosuch = found.products
    assert found.copy is not None
    assert (float32.size, found.copy.buffer_bytes) == (64, 2**20)
    assert float32.flops_per_s == 2 * 64**3 / torch.tensor(float32.samples_s, dtype=torch.float64).median().item()
    assert found.flops_per_s("float32") == float32.flops_per_s
    assert found.flops_per_s("bfloat16")
    assert nosuch.flops_per_s is None
    assert "nosuch" in nosuch.reason
    assert torch.backends.cuda.matmul.fp32_precision == before


@pytest.mark.usefixtures("one_thread")
def test_the_product_grows_until_it_is_long_enough_to_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_SIZES", (64, 128, 256))
    monkeypatch.setattr(measured, "_LONG_ENOUGH_S", {"cpu": 0.0})
    assert measured._product("cpu", "float32", measured.clock_for("cpu"), BRIEF).size == 64
    monkeypatch.setattr(measured, "_LONG_ENOUGH_S", {"cpu": 1e9})
    assert measured._product("cpu", "float32", measured.clock_for("cpu"), BRIEF).size == 256


def test_the_lack_of_memory_is_the_cells_and_no_missing_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(measured, "_product", exhausted)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        measured.measure_ceilings("cpu", BRIEF)


LIMITS = Cell(suite="limits", implementation="torch", timed=True, threads=1)
FOUND = record(LIMITS, Outcome.MEASURED, ceilings=CEILINGS)


def test_the_suites_cell_writes_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "measure_ceilings", lambda device: CEILINGS)
    assert suite.run(LIMITS, tmp_path / "cell.jsonl") == 0
    (line,) = (tmp_path / "cell.jsonl").read_text().splitlines()
    written = from_line(line)
    assert isinstance(written, MeasurementRecord)
    assert written.evidence is not None
    assert (written.cell, written.ceilings, written.version) == (LIMITS.key, CEILINGS, str(torch.__version__))


def cell_of(threads: int = 1) -> MeasurementRecord:
    found = roofline(arithmetic="float32", work=WORK, seconds=1, peak=None)
    return measurement(cell=f"threads {threads}", threads=threads, roofline=found)


def test_a_run_sets_cells_against_its_own_ceilings_of_their_device_and_threads(tmp_path: Path) -> None:
    other = replace(FOUND, cell="of two threads", threads=2, ceilings=replace(CEILINGS, copy=None))
    run = read(
        write(
            [header(), cell_of(), FOUND, other, replace(cell_of(threads=3), cell="of three threads")],
            tmp_path / "run.jsonl",
        )
    )
    first, alone = run.measurements
    assert [to_line(one) for one in run.limits] == [to_line(FOUND), to_line(other)]
    assert run.ceilings(first) == CEILINGS
    assert run.ceilings(alone) is None
    found = run.standing(first)
    assert found is not None
    assert found.measured
    assert run.standing(alone) is None


def test_the_device_is_no_implementation_of_the_run(tmp_path: Path) -> None:
    run = read(write([header(), FOUND], tmp_path / "run.jsonl"))
    assert not run.measurements


def test_an_older_file_and_one_of_a_newer_writer_are_read() -> None:
    data = json.loads(to_line(cell_of()))
    assert from_line(json.dumps({name: value for name, value in data.items() if name != "roofline"})) is not None
    data["roofline"]["colour"] = "red"
    read_again = from_line(json.dumps(data))
    assert isinstance(read_again, MeasurementRecord)
    assert read_again.roofline == cell_of().roofline


@pytest.mark.parametrize("value", [{}, {"flops": 1}, "fast", [1]])
def test_a_roofline_that_is_none_damages_its_line(value: object) -> None:
    with pytest.raises(ValueError, match="measurement record"):
        from_line(json.dumps(json.loads(to_line(cell_of())) | {"roofline": value}))


def test_ceilings_are_told_on_one_line_without_what_could_not_be_had() -> None:
    assert progress.result_text(FOUND) == "float32 2.00 kFLOP/s, copy 5.00 B/s"
