"""Benchmark suites under pytest-benchmark, driven as its users drive it; time is counted, not waited for."""

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vitbench.benchmarks import timed
from vitbench.exclusive import exclusively
from vitbench.options import parse
from vitbench.plan import plan
from vitbench.suites.throughput import measure as throughput
from vitbench.timer import CpuClock, Effort

SUITE = ("--pyargs", "vitbench.suites.throughput", "-p", "no:cacheprovider")
TINY = "Ti/16@32,depth=1,width=48,num_classes=7"
POINT = ("--model", TINY, "--batch", "2", "--task", "inference")
BRIEF = ("--benchmark-max-time", "0.001", "--benchmark-min-rounds", "6")

COUNTED = """
import torch
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.errors import NotSupported

MS, CALLS, SEEN = [0], [], set()


def now():
    return MS[0] * 1e-3


class Counted(ReferenceAdapter):
    '''A call on memory that it has not seen takes 30 ms, another one 7 ms or 9 ms.'''

    name = "counted"

    def logits(self, model, images):
        MS[0] += 9 - 2 * (len(CALLS) % 3 == 0) if self.place(model) in SEEN else 30
        SEEN.add(self.place(model))
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), model.training, torch.get_num_threads()
        weights = sum(float(p.sum()) for p in model.parameters())
        CALLS.append((*modes, str(images.dtype), tuple(images.shape), float(images.sum()), weights))
        return super().logits(model, images)

    def place(self, model):
        return next(model.parameters()).data_ptr()


class Losing(ReferenceAdapter):
    name = "losing"

    def logits(self, model, images):
        return super().logits(model, images) * float("nan")


class Declining(ReferenceAdapter):
    name = "declining"

    def build(self, config):
        raise NotSupported("squares only")


class Broken(ReferenceAdapter):
    name = "broken"

    def build(self, config):
        raise ValueError("no such width")
"""


@pytest.fixture(autouse=True)
def a_lock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python keeps the name of the temporary folder; asked anew, it is that of these tests."""
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def fakes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module above: in this process by a name of its own, and where pytest is started as ``fakes``."""
    monkeypatch.delitem(sys.modules, "fakes", raising=False)
    pytester.makepyfile(fakes=COUNTED)
    pytester.syspathinsert()
    import fakes  # type: ignore[import-not-found]

    yield fakes
    sys.modules.pop("fakes", None)


def run(pytester: pytest.Pytester, *options: str, impl: str = "reference") -> pytest.RunResult:
    return pytester.runpytest_inprocess(*SUITE, "--impl", impl, *POINT, *BRIEF, *options)


def written(path: Path) -> list[dict[str, Any]]:
    return sorted(json.loads(path.read_text())["benchmarks"], key=lambda one: one["name"])


def test_the_median_is_that_of_vitbench_run_on_the_same_work(
    pytester: pytest.Pytester, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.runpytest_inprocess(
        *SUITE, "--impl", "fakes:Counted", *POINT, *BRIEF, "--benchmark-timer=fakes.now", "--benchmark-json=out.json"
    ).assert_outcomes(passed=1)
    (benchmark,) = written(pytester.path / "out.json")
    by_pytest, others = set(sys.modules["fakes"].CALLS), sys.modules["fakes"]

    others.CALLS.clear()
    (cell,) = plan(parse(["--suite", "throughput", "--impl", "fakes:Counted", *POINT]))
    effort = Effort(relative_width=100.0, least_samples=6, least_s=0.0, most_s=60.0, most_warmup_s=0.0)
    monkeypatch.setattr(throughput, "EFFORT", {"quick": effort})
    monkeypatch.setattr(throughput, "clock_for", lambda *_: CpuClock(lambda: others.MS[0] * 10**6))
    record = throughput.measure(cell)

    assert record.latency_s == pytest.approx(9e-3)
    assert benchmark["stats"]["median"] == pytest.approx(record.latency_s)
    assert max(benchmark["stats"]["data"]) == pytest.approx(9e-3)  # the first call on fresh memory is never sampled
    assert set(others.CALLS) == by_pytest  # modes, threads, dtype, the four batches, the weights
    assert len(by_pytest) == 4


@pytest.mark.skipif(
    find_spec("timm") is None, reason="timm is not installed"
)  # and may not be imported here: see pytester
def test_implementations_stand_beside_each_other_and_runs_compare(pytester: pytest.Pytester) -> None:
    model = "Ti/16@32,depth=1"
    arguments = (
        *SUITE,
        "--impl",
        "reference",
        "--impl",
        "timm",
        "--model",
        model,
        "--batch=2",
        "--task=inference",
        *BRIEF,
    )
    first = pytester.runpytest_subprocess(*arguments, "--benchmark-autosave", "--benchmark-json", "out.json")
    first.assert_outcomes(passed=2)
    first.stdout.fnmatch_lines([f"*benchmark 'inference {model} float32 batch2 eager': 2 tests*"])
    reference, timm = written(pytester.path / "out.json")
    assert [one["name"] for one in (reference, timm)] == [
        f"test_throughput[{impl}-inference-{model}-float32-batch2-eager]" for impl in ("reference", "timm")
    ]
    told = timm["extra_info"]
    assert told["throughput_images_per_s"] == pytest.approx(2 / timm["stats"]["median"])
    assert (told["implementation"], told["model"], told["dtype"], told["batch"]) == ("timm", model, "float32", 2)
    assert told["evidence"]["verdict"] in {"VALID", "INVALID", "UNWATCHED"}
    assert {"torch", "cpu", "threads", "packages"} <= set(told["environment"])

    again = ("--impl", "reference", "--model", model, "--batch=2", "--task=inference", *BRIEF)
    second = pytester.runpytest_inprocess(*SUITE, *again, "--benchmark-compare", "--benchmark-compare-fail=min:100000%")
    second.assert_outcomes(passed=1)
    second.stdout.fnmatch_lines(["*: 2 tests*", "*eager] (NOW)*"])
    assert "eager] (0001_" in str(second.stdout)


@pytest.mark.parametrize(
    ("option", "outcome"), [("--benchmark-disable", {"passed": 2}), ("--benchmark-skip", {"skipped": 2})]
)
def test_without_timing_each_cell_runs_once_or_not_at_all(
    pytester: pytest.Pytester, fakes: Any, option: str, outcome: dict[str, int]
) -> None:
    result = run(pytester, option, "--batch", "3", impl="fakes:Counted")
    result.assert_outcomes(**outcome)
    assert (
        len(sys.modules["fakes"].CALLS) == 2 * sum(name == "passed" for name in outcome) * 2
    )  # the first answer, and one
    assert "Name (time" not in str(result.stdout)


def test_only_benchmarks_leaves_the_requirements_out(pytester: pytest.Pytester) -> None:
    both = ("--pyargs", "vitbench.suites.conformance", "vitbench.suites.throughput", "-p", "no:cacheprovider")
    chosen = ("-k", "VIT-PATCH-COUNT or throughput", "--impl", "reference", *POINT, *BRIEF)
    pytester.runpytest_inprocess(*both, *chosen, "--benchmark-only").assert_outcomes(passed=1, skipped=1)
    result = pytester.runpytest_inprocess(*both, *chosen)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["1 of * requirements were judged: a selection has no verdict"])


def test_a_test_that_fails_beside_requirements_that_pass_is_told_by_the_exit_code(pytester: pytest.Pytester) -> None:
    beside = pytester.makepyfile(test_beside="def test_it():\n    assert False\n")
    kernel = ("--kernel", "torch.nn.functional:scaled_dot_product_attention", "-p", "no:cacheprovider")
    result = pytester.runpytest_inprocess("--pyargs", "vitbench.suites.conformance", str(beside), *kernel)
    result.stdout.fnmatch_lines(["MUST * passed: CONFORMS"])
    result.stdout.fnmatch_lines(["*1 failed*"])
    assert result.ret == 1


def test_what_a_package_does_not_have_is_skipped_with_its_reason(pytester: pytest.Pytester, fakes: Any) -> None:
    result = run(pytester, "-rs", impl="fakes:Declining")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*not supported: squares only"])


def test_logits_that_are_not_finite_are_told_beside_the_figure(pytester: pytest.Pytester, fakes: Any) -> None:
    run(pytester, "--benchmark-json=out.json", impl="fakes:Losing").assert_outcomes(passed=1)
    (benchmark,) = written(pytester.path / "out.json")
    evidence = benchmark["extra_info"]["evidence"]
    assert evidence["verdict"] == "INVALID"
    assert "14 of 14 logits are NaN or infinite after the last sample" in evidence["reasons"]


def test_what_is_broken_fails_with_its_reason_and_no_traceback(pytester: pytest.Pytester, fakes: Any) -> None:
    result = run(pytester, "-W", "error", impl="fakes:Broken")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*build() raised ValueError: no such width (fakes.py:*)"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "ERROR: say what to measure with --impl NAME, repeatable; registered names: reference, timm,*"),
        (("--impl", "nowhere"), "ERROR: --impl 'nowhere': tried package 'nowhere'*registered names: reference,*"),
        (("--impl", "reference", "--device", "tpu"), "ERROR: device 'tpu' is unknown; use cpu or cuda:N"),
        (("--impl", "reference", "--batch", "0"), "*argument --batch: '0' is no whole number from 1 up*"),
        (("--impl", "reference", "--model", "Q/3"), "*argument --model: 'Q/3': *"),
        (("--impl", "reference", "--dtype", "float12"), "*argument --dtype: invalid choice: 'float12'*"),
    ],
    ids=["no implementation", "unknown implementation", "unknown device", "batch", "model", "dtype"],
)
def test_a_mistake_is_one_line_and_exit_code_4(
    pytester: pytest.Pytester, options: tuple[str, ...], message: str
) -> None:
    result = pytester.runpytest_inprocess(*SUITE, *options)
    result.stderr.fnmatch_lines([message])
    assert result.ret == 4


def test_cells_are_those_of_vitbench_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitbench.arguments.usable_cores", lambda: 2)
    axes = (
        "--batch",
        "1",
        "--batch",
        "4",
        "--dtype",
        "float32",
        "--dtype",
        "bfloat16",
        "--model",
        TINY,
        "--threads",
        "2",
    )
    result = pytester.runpytest_inprocess(*SUITE, "--impl", "reference", *axes, "--collect-only", "-q")
    cells = plan(parse(["--suite", "throughput", "--impl", "reference", *axes]))
    names = [f"reference-{c.task}-{c.model}-{c.dtype}-batch{c.batch}-{c.mode}-2threads" for c in cells]
    assert len(names) == 8
    assert [line.partition("[")[2].rstrip("]") for line in result.outlines if "[" in line] == names


def test_other_peoples_tests_may_have_options_of_these_names(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "def pytest_addoption(parser):\n    parser.addoption('--model'); parser.addoption('--batch')\n"
    )
    pytester.makepyfile("def test_it(request):\n    assert request.config.option.model == 'theirs'\n")
    pytester.runpytest_inprocess("--model", "theirs").assert_outcomes(passed=1)


def test_a_device_that_works_on_alone_is_timed_by_rounds_of_many_launches() -> None:
    class Device(CpuClock):
        round_s = 0.1
        now = 0.0

        def now_s(self) -> float:
            return self.now

        def time(self, launch: Any, count: int) -> list[float]:
            self.now += 0.004 * count
            return [0.004] * count

    asked: dict[str, Any] = {}

    class Fixture:
        enabled = True
        stats = SimpleNamespace(stats=SimpleNamespace(data=[0.004] * 8))

        def pedantic(self, launch: Any, **how: Any) -> None:
            asked.update(how)

    ready: Any = SimpleNamespace(launch=lambda: None, clock=Device(), renew=None)
    options: Any = SimpleNamespace(getoption={"benchmark_max_time": 1.0, "benchmark_min_rounds": 5}.__getitem__)
    timing = timed(Fixture(), options, ready, Effort(least_s=1.0, least_samples=10, most_s=3.0))
    assert asked == {"iterations": 25, "rounds": 10}
    assert timing is not None
    assert (timing.median_s, timing.rounds, timing.wall_clock_ratio) == (0.004, 10, None)


def test_who_holds_the_device_is_told_while_it_is_waited_for(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as held:
        held.enter_context(exclusively("cpu", "cell of another run"))
        monkeypatch.setattr(
            "vitbench.exclusive.time", SimpleNamespace(sleep=lambda _: held.close(), monotonic=time.monotonic)
        )
        result = run(pytester)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*waiting for cpu, on which another cell is being timed: *cell of another run"])
