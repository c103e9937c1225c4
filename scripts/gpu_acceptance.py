"""The parts of scripts/gpu_acceptance.sh: tests, conformance, measurements, each in its share of the time; then the claims."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree as ET

from vitbench.conditions.record import Validity
from vitbench.errors import ResultsUnreadable
from vitbench.records import MeasurementRecord, Outcome
from vitbench.report import write_report
from vitbench.requirement import Verdict
from vitbench.results import Run, read

BUDGET_S = 530.0  # of nine minutes
SHARES = {"tests": 0.3, "conformance": 0.2}  # of the budget; what they leave is the measurements'
REPORT_S = 20.0
REHEARSED_S = 5.0  # for the report and for ending, where all is small
GRACE_S = 15.0  # between the request to end and the end
SUITES = ("limits", "self", "throughput", "memory", "attention")
REHEARSED = ("throughput", "memory")
TINY = ("--impl", "reference", "--model", "Ti/16@32,depth=1,width=48", "--batch", "1", "--task", "inference")

PASS, FAIL, NOT_RUN = "PASS", "FAIL", "NOT RUN"


@dataclass(frozen=True)
class Claim:
    """One thing that only a device can show, and what came of it."""

    name: str
    result: str
    why: str = ""


@dataclass(frozen=True)
class Part:
    """One command, and how long it may take."""

    name: str
    command: Sequence[str]
    limit_s: float


# --- claims that the runs' own records show

Records = Sequence[MeasurementRecord]


def of_cells(chosen: Callable[[MeasurementRecord], bool]) -> Callable[[Records], tuple[str, str]]:
    """PASS where a chosen cell was measured and none went wrong; what is not supported is a result, and no proof."""

    def judge(records: Records) -> tuple[str, str]:
        found = [record for record in records if chosen(record)]
        wrong = [r for r in found if r.outcome not in {Outcome.MEASURED, Outcome.NOT_SUPPORTED, Outcome.OUT_OF_MEMORY}]
        wrong += [record for record in found if record.precision is not None and not record.precision.within]
        if wrong:
            return FAIL, f"{wrong[0].cell}: {wrong[0].outcome} {wrong[0].reason}".strip()
        measured = sum(record.outcome == Outcome.MEASURED for record in found)
        told = "; ".join(dict.fromkeys(record.reason for record in found if record.reason))
        return (PASS, f"{measured} cells") if measured else (NOT_RUN, told or "no such cell was run")

    return judge


def seen(known: Callable[[MeasurementRecord], bool], missing: str) -> Callable[[Records], tuple[str, str]]:
    """PASS where every timed record on the device has it."""

    def judge(records: Records) -> tuple[str, str]:
        timed = [record for record in records if record.samples_s]
        without = [record.cell for record in timed if not known(record)]
        if not timed:
            return NOT_RUN, "nothing was timed"
        return (FAIL, f"{missing}: {without[0]}") if without else (PASS, f"{len(timed)} cells")

    return judge


def _throughput(**axes: str) -> Callable[[MeasurementRecord], bool]:
    return lambda r: r.suite == "throughput" and all(getattr(r, name).startswith(value) for name, value in axes.items())


def _energy(records: Records) -> tuple[str, str]:
    known = [r.evidence.joules_per_image for r in records if r.evidence and r.evidence.joules_per_image]
    timed = any(record.suite == "throughput" and record.samples_s for record in records)
    return (PASS, f"{len(known)} cells") if known else (FAIL if timed else NOT_RUN, "no cell has joules an image")


OF_RECORDS: Mapping[str, Callable[[Records], tuple[str, str]]] = {
    "throughput-training": of_cells(_throughput(task="training")),
    "throughput-autocast": of_cells(_throughput(dtype="autocast")),
    "throughput-tf32": of_cells(_throughput(dtype="tf32")),
    "throughput-channels-last": of_cells(_throughput(mode="channels-last")),
    "throughput-compile": of_cells(_throughput(mode="compile")),
    "limits-suite": of_cells(lambda record: record.suite == "limits"),
    "self-suite": of_cells(lambda record: record.suite == "self"),
    "memory-suite": of_cells(lambda record: record.suite == "memory"),
    "attention-efficient": of_cells(lambda record: record.kernel == "efficient"),
    "attention-cudnn": of_cells(lambda record: record.kernel == "cudnn"),
    "attention-flex": of_cells(lambda record: record.kernel == "flex"),
    "attention-packages": of_cells(lambda record: record.kernel in {"flash_attn", "xformers"}),
    "attention-l2-cold": of_cells(lambda record: record.mode == "L2 cold"),
    "attention-graph-replay": of_cells(lambda record: record.mode == "graph replay"),
    "evidence-in-every-record": seen(
        lambda r: r.evidence is not None and r.evidence.verdict != Validity.UNWATCHED, "not watched"
    ),
    "share-of-peak": seen(
        lambda r: r.roofline is None or r.roofline.share_of_peak is not None, "no share of the datasheet's FLOP/s"
    ),
    "joules-per-image": _energy,
}
OF_VERDICTS = ("conformance-reference", "conformance-packages")


def claims_of_runs(conformance: Run | None, measurements: Run | None) -> list[Claim]:
    """What both runs show of a CUDA device."""
    judged = conformance is not None and str(conformance.header.environment.get("device")).startswith("cuda")
    verdicts = {one.implementation: one for one in conformance.verdicts} if judged and conformance else {}
    reference = verdicts.get("reference")
    claims = [
        Claim("conformance-reference", NOT_RUN, "no verdict")
        if reference is None
        else Claim("conformance-reference", PASS if reference.verdict == Verdict.CONFORMS else FAIL, reference.verdict)
    ]
    told = "; ".join(f"{name} {one.verdict}" for name, one in verdicts.items())
    broken = {one.verdict for one in verdicts.values()} & {Verdict.HARNESS_ERROR, Verdict.ADAPTER_BROKEN}
    claims.append(Claim("conformance-packages", FAIL if broken else PASS if len(verdicts) > 1 else NOT_RUN, told))
    run = measurements
    everything = () if run is None else _measured(run)
    records = [record for record in everything if record.device.startswith("cuda")]
    return [*claims, *(Claim(name, *judge(records)) for name, judge in OF_RECORDS.items())]


def claims_of_tests(junit: Path) -> list[Claim]:
    """What the tests show, by JUnit's file; of several tests with one claim the worst counts."""
    found: dict[str, Claim] = {}
    cases: Iterable[ET.Element] = []
    with suppress(OSError, ET.ParseError):
        cases = ET.parse(junit).iter("testcase")  # noqa: S314  # pytest wrote it just now
    for case in cases:
        name = next((p.get("value", "") for p in case.iter("property") if p.get("name") == "claim"), "")
        ends = [(PASS, "")]
        for tag, result in (("skipped", NOT_RUN), ("error", FAIL), ("failure", FAIL)):
            ends += [(result, f"{case.get('name')}: {one.get('message', '')}") for one in case.iter(tag)]
        result, told = ends[-1]
        before = found.get(name)
        if name and (before is None or _WORSE.index(result) < _WORSE.index(before.result)):
            found[name] = Claim(name, result, told)
    return list(found.values())


_WORSE = (FAIL, NOT_RUN, PASS)


def declared_by_tests(tests: Path) -> list[str]:
    """The claims that tests carry, whether they were run or not."""
    return [
        name
        for file in gpu_tests(tests)
        for name in re.findall(r'^@claim\("([\w-]+)"\)', file.read_text(), re.MULTILINE)
    ]


def gpu_tests(tests: Path) -> list[Path]:
    """Files with tests that need a device; the others need not be imported."""
    return [file for file in sorted(tests.glob("test_*.py")) if "mark.gpu(" in file.read_text(encoding="utf-8")]


# --- parts


def run_part(part: Part, log: TextIO, environment: Mapping[str, str]) -> float:
    """Run its command, ask it to end when its time is over, and end it if it does not; seconds taken."""
    started = time.monotonic()
    told = f"\n=== {part.name}, at most {part.limit_s:.0f} s: {' '.join(part.command)}"
    print(told, flush=True)
    log.write(told + "\n")
    log.flush()
    process = subprocess.Popen(
        part.command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    try:
        process.wait(max(1.0, part.limit_s))
    except subprocess.TimeoutExpired:
        print(f"{part.name}: its time is over", flush=True)
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    taken_s = time.monotonic() - started
    print(f"{part.name}: exit code {process.returncode} after {taken_s:.0f} s", flush=True)
    return taken_s


def run_parts(options: argparse.Namespace, out: Path, log: TextIO) -> None:
    """Tests, conformance, measurements."""
    started, budget_s = time.monotonic(), options.budget
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if options.rehearse else {})}
    where = () if options.rehearse else ("--gpu", "0")
    preset = "quick" if options.rehearse else options.preset
    small = TINY if options.rehearse else ()
    vitbench = [sys.executable, "-m", "vitbench.run", *where, "--fresh"]
    tests = [str(file) for file in gpu_tests(Path("tests"))]
    pytest = [sys.executable, "-m", "pytest", *tests, "-m", "gpu", "-p", "no:cacheprovider", "-q", "-rs"]
    share_s = {name: share * budget_s for name, share in SHARES.items()}
    run_part(Part("tests", [*pytest, f"--junitxml={out / 'junit.xml'}"], share_s["tests"]), log, environment)
    judge = ["--suite", "conformance", "--max-seconds", f"{share_s['conformance']:.0f}", *small[:2]]
    conformance = [*vitbench, *judge, "--output", str(out / "conformance")]
    run_part(Part("conformance", conformance, share_s["conformance"] + GRACE_S), log, environment)
    kept_s = REHEARSED_S if options.rehearse else REPORT_S + GRACE_S
    left_s = max(1.0, budget_s - kept_s - (time.monotonic() - started))
    suites = [word for suite in (REHEARSED if options.rehearse else SUITES) for word in ("--suite", suite)]
    measure = [*vitbench, *suites, "--preset", preset, "--max-seconds", f"{left_s:.0f}", *small]
    run_part(
        Part("measurements", [*measure, "--output", str(out / "measurements")], left_s + GRACE_S), log, environment
    )


# --- what is written


def run_in(folder: Path) -> Run | None:
    """The run in a folder, whole or not; its own report, which the one of both runs holds, is taken away."""
    (folder / "report.html").unlink(missing_ok=True)
    try:
        return read(folder / "results.jsonl")
    except ResultsUnreadable:
        return None


def _measured(run: Run) -> Records:
    return [*run.measurements, *run.limits, *run.timers, *run.searches, *run.memory, *run.attention]


def shed(run: Run | None) -> list[str]:
    """Cells that were planned and not run."""
    if run is None:
        return []
    records = (*run.verdicts, *_measured(run))
    return [cell for cell in run.header.planned if cell not in {record.cell for record in records}]


def document(device: str, claims: Sequence[Claim], runs: Mapping[str, Run | None], taken_s: float) -> str:
    """The claims as a page, with what there was no time for."""
    counts = ", ".join(f"{sum(c.result == word for c in claims)} {word}" for word in (PASS, FAIL, NOT_RUN))
    lines = [
        f"# GPU-only claims on {device}",
        "",
        f"{counts}; {taken_s:.0f} s in all.",
        "",
        "| claim | result | |",
        "|---|---|---|",
    ]
    lines += [f"| `{c.name}` | {c.result} | {' '.join(c.why.split()).replace('|', '/')[:300]} |" for c in claims]
    lines += ["", "## Not run for want of time", ""]
    for name, run in runs.items():
        missing, planned = shed(run), 0 if run is None else len(run.header.planned)
        lines.append(f"- {name}: {len(missing)} of {planned} cells" if run else f"- {name}: no results")
        suites = dict.fromkeys(cell.split()[0] for cell in missing)
        lines += [f"  - {suite}: {sum(cell.split()[0] == suite for cell in missing)}" for suite in suites]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it all; the exit code says what came of the claims."""
    options = _options()
    started = time.monotonic()
    device = _device(rehearse=options.rehearse)
    slug = re.sub(r"[^\w.-]+", "-", device)
    out = Path(options.output or os.environ.get("OUT") or f"reports/gpu_acceptance/{slug}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "junit.xml").unlink(missing_ok=True)
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        run_parts(options, out, log)
    runs = {name: run_in(out / name) for name in ("conformance", "measurements")}
    if found := [run.path for run in runs.values() if run is not None]:
        write_report(found, out / "report.html")
    claims = {name: Claim(name, NOT_RUN, "cut for want of time") for name in declared_by_tests(Path("tests"))}
    claims |= {c.name: c for c in (*claims_of_tests(out / "junit.xml"), *claims_of_runs(*runs.values()))}
    cells = [cell for run in runs.values() for cell in shed(run)]
    (out / "shed.txt").write_text("".join(f"{cell}\n" for cell in cells), encoding="utf-8")
    page = document(device, list(claims.values()), runs, time.monotonic() - started)
    (out / "claims.md").write_text(page, encoding="utf-8")
    print(f"\n{page}\n{out / 'claims.md'}")
    results = {claim.result for claim in claims.values()}
    if options.rehearse:
        return 1 if FAIL in results or None in runs.values() else 0
    return 1 if FAIL in results else 3 if NOT_RUN in results else 0


def _device(*, rehearse: bool) -> str:
    if rehearse:
        return "cpu"
    import torch  # noqa: PLC0415  # a second, and a rehearsal needs none

    if not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} sees no CUDA device; --rehearse tries this script on the CPU")
    return str(torch.cuda.get_device_name(0))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/gpu_acceptance.sh")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny models: tries the script itself")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds in all (default: %(default)s)")
    parser.add_argument("--preset", default="full", help="of the measurements (default: %(default)s)")
    parser.add_argument("--output", help="folder (default: $OUT, or reports/gpu_acceptance/<device>)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
