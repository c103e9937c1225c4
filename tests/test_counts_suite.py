"""The counts suite on real models: the same numbers twice, and more of them for more work."""

from dataclasses import replace
from pathlib import Path

import pytest

from vitbench.adapter import NotSupported
from vitbench.models import model_config
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.cost import multiply_accumulates
from vitbench.suites.counts.measure import measure

CELL = Cell(
    suite="counts",
    implementation="reference",
    task="inference",
    model="Ti/16@32,depth=2",
    dtype="float32",
    batch=2,
    mode="eager",
)
BROKEN_GRAPH = """
import torch
from vitbench.adapters.reference import ReferenceAdapter
class Candidate(ReferenceAdapter):
    def logits(self, model, images):
        logits = super().logits(model, images)
        torch._dynamo.graph_break()
        return logits + 0
"""


@pytest.fixture(scope="module")
def counted() -> MeasurementRecord:
    return measure(CELL)


def test_the_same_code_has_the_same_counts(counted: MeasurementRecord) -> None:
    assert counted.outcome is Outcome.MEASURED
    assert counted.counts is not None
    assert measure(replace(CELL, seed=1)).counts == counted.counts


def test_products_are_those_of_the_closed_form(counted: MeasurementRecord) -> None:
    assert counted.counts is not None
    expected = 2 * CELL.batch * multiply_accumulates(model_config(CELL.model))
    assert counted.counts.flops == pytest.approx(expected, rel=0.01)  # its attention is written out in products


def test_another_graph_and_one_more_operator_are_both_counted(counted: MeasurementRecord, tmp_path: Path) -> None:
    (tmp_path / "candidate.py").write_text(BROKEN_GRAPH, encoding="utf-8")
    found = measure(replace(CELL, implementation=str(tmp_path / "candidate.py"))).counts
    assert counted.counts is not None
    assert found is not None
    assert counted.counts.graph_breaks == 0
    assert found.graph_breaks == 1
    more = {name: times - counted.counts.operators.get(name, 0) for name, times in found.operators.items()}
    assert {name: times for name, times in more.items() if times} == {"aten::add.Tensor": 1}


def test_a_training_step_counts_its_way_back_and_its_optimizer(counted: MeasurementRecord) -> None:
    step = measure(replace(CELL, task="training")).counts
    assert counted.counts is not None
    assert step is not None
    assert step.flops > 2.5 * counted.counts.flops
    assert any("addcdiv" in name for name in step.operators)  # AdamW's update


def test_a_kernel_that_computes_attention_is_named() -> None:
    found = measure(replace(CELL, implementation="timm")).counts
    assert found is not None
    assert any("scaled_dot_product" in name for name in found.attention)


def test_what_cannot_be_trained_says_so() -> None:
    with pytest.raises(NotSupported, match="no torch module"):
        measure(replace(CELL, task="training", implementation="vitbench.benign.arrays:NumpyAdapter"))
