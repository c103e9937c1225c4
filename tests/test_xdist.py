"""Conformance shared out by pytest-xdist: the verdict and the records of one process, and a GPU for each worker."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from vitbench.devices import of_this_process
from vitbench.results import Run, read

pytest.importorskip("xdist")

MUTANT = """
from vitbench.deviations import BANK, DeviantAdapter

adapter = DeviantAdapter(BANK["norm-epsilon-1e-5"])
"""
CHOSEN = "VIT-NORM or VIT-TOKEN or VIT-HYBRID-COUNT"


def judge(pytester: pytest.Pytester, file: str, *options: str) -> tuple[pytest.RunResult, Run]:
    """A real run in processes of its own, and its results."""
    suite = ("--pyargs", "vitbench.suites.conformance", "-p", "no:cacheprovider", "-k", CHOSEN)
    result = pytester.runpytest_subprocess(*suite, "--impl", "mine.py:adapter", "--results", file, *options)
    return result, read(Path(pytester.path, file))


def told(run: Run) -> dict[str, Mapping[str, Any]]:
    """Everything in the records but how long it took."""
    return {record.id: {**asdict(record), "duration_s": None} for record in run.requirements}


def test_workers_find_what_one_process_finds(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(mine=MUTANT)
    alone, found_alone = judge(pytester, "alone.jsonl")
    shared, found_shared = judge(pytester, "shared.jsonl", "-n", "2")
    assert told(found_alone) == told(found_shared)
    statuses = {record.id: record.status for record in found_shared.requirements}
    assert (statuses["VIT-NORM-EPSILON"], statuses["VIT-TOKEN-LENGTH"]) == ("FAILED", "PASSED")
    assert alone.ret == shared.ret == 1
    for result in (alone, shared):
        result.stdout.fnmatch_lines(["DIAGNOSIS    matches the paper's ViT with LayerNorm epsilon 1e-5 for the*"])
    assert found_shared.complete


@pytest.mark.parametrize(
    ("asked", "worker", "device"),
    [
        ("cuda", "gw0", "cuda:0"),
        ("cuda", "gw4", "cuda:1"),
        ("cuda:2", "gw1", "cuda:2"),
        ("cpu", "gw1", "cpu"),
        ("cuda", "", "cuda"),
    ],
)
def test_each_worker_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, asked: str, worker: str, device: str
) -> None:
    """Of a machine with three, of which none was chosen."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert of_this_process(asked) == device
