"""Faults of candidates, injected where they really happen: what the cell's record says, and that the next cell runs."""

import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from vitbench import cell as cell_process
from vitbench.conditions.growth import LEAST_BYTES, Growth, steady_growth
from vitbench.conditions.record import Evidence, Validity
from vitbench.errors import is_lack_of_memory
from vitbench.executor import Finished, execute
from vitbench.plan import Cell
from vitbench.progress import finished_line
from vitbench.records import MeasurementRecord, Outcome
from vitbench.results import from_line

MIB = 2**20
TINY = {"model": "Ti/16@32,depth=1,width=48", "dtype": "float32", "mode": "eager", "batch": 1}


def written(folder: Path, name: str, body: str) -> str:
    """A user's adapter: the reference with something added."""
    file = folder / f"{name}.py"
    file.write_text(
        "import os, resource, subprocess, sys, time\nimport torch\n"
        "from vitbench.adapters.reference import ReferenceAdapter\n"
        f"class Mine(ReferenceAdapter):\n    name = {name!r}\n{body}\n"
    )
    return str(file)


# --- in processes of their own, as a run has them

FAULTS = {
    "leaks": """
    kept = []
    def logits(self, model, images):
        self.kept.append(bytearray(b'x' * 2**23))  # of which a machine has enough for a second of them
        time.sleep(0.05)
        return super().logits(model, images)""",
    "forks": """
    def build(self, config):
        sleeps = [sys.executable, '-S', '-c', 'import time; time.sleep(600)']
        pids = [subprocess.Popen(sleeps, start_new_session=apart).pid for apart in (False, True)]
        open(__file__ + '.pids', 'w').write(' '.join(map(str, pids)))
        return super().build(config)""",
    "spoils_the_context": """
    def logits(self, model, images):
        raise RuntimeError('CUDA error: device-side assert triggered\\nCompile with TORCH_USE_CUDA_DSA')""",
    "has_no_address_space": """
    def build(self, config):
        in_use = int(open('/proc/self/statm').read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
        resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**27, -1))
        return torch.zeros(2**26)  # 256 MiB""",
    "hangs": """
    def build(self, config):
        time.sleep(600)""",
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finished]:
    """Every fault in turn, each in a real cell."""
    folder = tmp_path_factory.mktemp("faulty")
    cells = [
        Cell(
            suite="throughput" if name == "leaks" else "memory",
            task="inference",
            implementation=written(folder, name, body),
            name=name,
            timed=True,  # one after the other
            time_limit_s=8.0 if name == "hangs" else 120.0,
            **TINY,  # type: ignore[arg-type]
        )
        for name, body in FAULTS.items()
    ]
    return {event.cell.name: event for event in execute(cells) if isinstance(event, Finished)}


def result(faulty: dict[str, Finished], name: str) -> MeasurementRecord:
    found = faulty[name].result
    assert isinstance(found, MeasurementRecord)
    return found


def test_a_candidate_that_leaks_is_measured_and_its_growth_is_told(faulty: dict[str, Finished]) -> None:
    found = result(faulty, "leaks")
    assert found.outcome == Outcome.MEASURED, found.reason
    assert found.evidence is not None
    assert found.evidence.grown_bytes is not None
    assert found.evidence.grown_bytes >= 2**23 * (len(found.samples_s) - 1)
    assert any(note.startswith("its process's memory grew by") for note in found.evidence.notes)


def test_processes_that_a_candidate_leaves_behind_are_ended_and_told(faulty: dict[str, Finished]) -> None:
    """One in the cell's session, one in another; both hold the pipe that the cell's output comes by."""
    found = result(faulty, "forks")
    assert found.outcome == Outcome.MEASURED, found.reason
    assert found.evidence is not None
    assert found.evidence.notes == ["child processes that it left running, and that were ended: 2"]
    assert finished_line(faulty["forks"]).endswith("; child processes left running, and ended: 2")
    for pid in Path(f"{faulty['forks'].cell.implementation}.pids").read_text().split():
        assert not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()


def test_a_candidate_that_spoils_the_cuda_context_fails_alone(faulty: dict[str, Finished]) -> None:
    found = result(faulty, "spoils_the_context")
    assert found.outcome == Outcome.FAILED
    assert "CUDA error: device-side assert triggered" in found.reason
    assert len(faulty) == len(FAULTS)  # those that came after it were run


def test_a_candidate_whose_process_gets_no_more_memory_is_out_of_memory(faulty: dict[str, Finished]) -> None:
    found = result(faulty, "has_no_address_space")
    assert found.outcome == Outcome.OUT_OF_MEMORY, found.reason
    assert "can't allocate memory: you tried to allocate 268435456 bytes" in found.reason


def test_a_candidate_that_hangs_is_ended_at_its_time_limit(faulty: dict[str, Finished]) -> None:
    found = result(faulty, "hangs")
    assert found.outcome == Outcome.TIMED_OUT
    assert found.reason.startswith("no result within its limit of 8 s")


# --- out of memory, wherever it comes


OUT_OF_MEMORY = {
    "host": "MemoryError('of the host')",
    "cuda": "torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB')",
    "runtime": "RuntimeError('CUDA error: out of memory')",
    "cublas": "RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`')",
}
PLACES = {
    "build": "    def build(self, config): raise {error}",
    "warm-up": "    def logits(self, model, images): raise {error}",
    "timed part": """
    calls = 0
    def logits(self, model, images):
        self.calls += 1
        if self.calls == 40: raise {error}
        return super().logits(model, images)""",
    "backward": """
    def logits(self, model, images):
        class Full(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x): return x.clone()
            @staticmethod
            def backward(ctx, grad): raise {error}
        return Full.apply(super().logits(model, images))""",
}


def recorded_in_a_fork(cell: Cell, file: Path) -> Sequence[str]:
    """What a cell's process appends; forked from this one, which has torch loaded."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            signal.alarm(60)
            code = cell_process.run(cell, file)
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    return file.read_text().splitlines()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("place", "kind"),
    [
        *(("build", kind) for kind in OUT_OF_MEMORY),
        ("warm-up", "host"),
        ("warm-up", "cuda"),
        ("timed part", "cuda"),
        ("backward", "cuda"),
    ],
)
def test_out_of_memory_at_any_point_is_the_cells_result(place: str, kind: str, tmp_path: Path) -> None:
    adapter = written(tmp_path, "mine", PLACES[place].format(error=OUT_OF_MEMORY[kind]))
    task = "training" if place == "backward" else "inference"
    cell = Cell(suite="throughput", implementation=adapter, name="mine", task=task, **TINY)  # type: ignore[arg-type]
    (line,) = recorded_in_a_fork(cell, tmp_path / "results.jsonl")
    found = from_line(line)
    assert isinstance(found, MeasurementRecord)
    assert found.outcome == Outcome.OUT_OF_MEMORY, found.reason
    assert found.reason.startswith(OUT_OF_MEMORY[kind].removeprefix("torch.cuda.").partition("(")[0])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_kind_or_torchs_words(error: Exception, expected: bool) -> None:
    assert is_lack_of_memory(error) == expected


# --- what grows


@pytest.mark.parametrize(
    ("held", "grown"),
    [
        ([], 0),
        ([100, 200, 300, 400, 500], 0),  # too few to tell
        ([100] * 30, 0),
        (range(100, 400, 10), 290),
        ([100, 150, 200, *[250] * 20], 0),  # an allocator that found its size
        ([100 + n // 4 * 10 for n in range(40)], 90),  # in steps
        ([100 + n % 7 for n in range(40)], 0),  # up and down
        (range(400, 100, -10), 0),
    ],
)
def test_only_what_grows_to_the_end_is_a_leak(held: Sequence[int], grown: int) -> None:
    assert steady_growth([n * MIB for n in held]) == grown * MIB


def test_growth_below_an_allocators_rounding_is_no_leak() -> None:
    assert steady_growth([n * LEAST_BYTES // 100 for n in range(40)]) == 0


def test_growth_that_copies_kept_by_the_measurement_explain_is_no_leak() -> None:
    looks = [n * 8 * MIB for n in range(20)]
    for beside, leaks in ((0, True), (100 * MIB, False)):
        growth = Growth("cpu", {"its process's memory": iter(looks).__next__}, beside_bytes=beside)
        for _ in looks:
            growth.look()
        before = Evidence(verdict=Validity.VALID, reasons=[], notes=[], window_s=1.0, readings=3)
        assert bool(growth.told(before, launches=20).grown_bytes) == leaks


def test_memory_of_the_device_is_looked_at_beside_that_of_the_process() -> None:
    held = iter(range(0, 900, 100))
    growth = Growth(
        "cuda:0", {"its process's memory": lambda: MIB, "its tensors on the device": lambda: next(held) * MIB}
    )
    for _ in range(9):
        growth.look()
    before = Evidence(verdict=Validity.VALID, reasons=[], notes=["earlier"], window_s=1.0, readings=3)
    told = growth.told(before, launches=8)
    assert told.verdict == Validity.VALID
    assert told.notes == [
        "earlier",
        "its tensors on the device grew by 800 MiB in 8 launches, 100 MiB each: it may leak",
    ]
    assert told.grown_bytes == 800 * MIB


def test_too_few_looks_tell_nothing_of_growth() -> None:
    evidence = Evidence(verdict=Validity.VALID, reasons=[], notes=[], window_s=1.0, readings=3)
    assert Growth("cpu", {"x": lambda: 1}).told(evidence, 3).grown_bytes is None


# --- the documented list


@pytest.mark.parametrize(("page", "least"), [("measurement.md", 20), ("gating.md", 15)])
def test_every_test_that_the_documented_faults_name_exists(page: str, least: int) -> None:
    here = Path(__file__).parent
    table = (here.parent / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", table))
    defined = {
        name
        for file in here.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > least
    assert named <= defined
