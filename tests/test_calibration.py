"""The checks can tell: every requirement is missed by a deviation that is about it, and by no correct candidate."""

import pytest
import torch
from checks import CHECKS, judged

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.benign import CONVENTIONS, WRITTEN
from vitbench.benign.rewritten import REWRITTEN
from vitbench.calibrate import main
from vitbench.candidate import Candidate
from vitbench.check import Judgement, judge, sampled
from vitbench.deviations import BANK, KERNEL_BANK, DeviantAdapter, Deviation, KernelDeviation, Rewriting
from vitbench.requirement import Status
from vitbench.specification import REQUIREMENTS, requirements

REWRITINGS = {rewriting.id: rewriting for rewriting in REWRITTEN}

MODEL = requirements("model")  # what is asked of kernels: test_kernel_calibration.py

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_requirement_has_exactly_one_check() -> None:
    assert set(CHECKS) == set(REQUIREMENTS)


def test_every_requirement_is_broken_by_a_deviation_of_the_bank() -> None:
    every: list[Deviation | KernelDeviation] = [*BANK.values(), *KERNEL_BANK.values()]
    assert {deviation.breaks for deviation in every} == set(REQUIREMENTS)


def test_the_quick_calibration_finds_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """Each mutant fails the requirement that is about it, and nothing right fails any."""
    assert main(["--quick"]) == 0, capsys.readouterr().out


def test_the_pool_has_every_rewriting_once() -> None:
    assert sorted(id_ for ids in WRITTEN.values() for id_ in ids) == sorted(REWRITINGS)


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_only_what_a_convention_rules_out_is_not_offered_by_the_reference(name: str) -> None:
    candidate = Candidate(ReferenceAdapter(CONVENTIONS[name]))
    short = {id_: j.reason for id_, j in outcomes(candidate).items() if j.status is not Status.PASSED}
    declared = {
        "vit-pytorch": {"VIT-PATCH-LINEAR", "VIT-PATCH-IMPULSE", "VIT-ATTN-KEY-BIAS"},
        "CLIP": {"VIT-TRAIN-DROPOUT-TOKENS"},
    }
    assert (set(short), [r for r in short.values() if not r.startswith("declares ")]) == (
        declared.get(name, set()),
        [],
    ), short


def outcomes(candidate: Candidate) -> dict[str, Judgement]:
    """Every check, on a single example."""
    return {id_: judge(sampled(check, 1, seed=0), candidate) for id_, check in CHECKS.items() if id_ in MODEL}


def test_a_deviation_leaves_the_reference_as_it_was() -> None:
    images = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    from vitbench.reference import vit

    before = vit.attention_weights
    with BANK["attention-softmax-axis"].applied():
        assert vit.attention_weights is not before
    assert vit.attention_weights is before
    assert images.sum() == 16


@pytest.mark.parametrize("name", ["attention-scale-by-width", "block-parallel", "activation-tanh"])
def test_a_defect_within_the_blocks_fails_nothing_that_is_about_something_else(name: str) -> None:
    candidate = Candidate(DeviantAdapter(BANK[name]))
    elsewhere = [id_ for id_ in MODEL if id_.split("-")[1] in {"PATCH", "TOKEN", "NORM", "POS", "STATE", "CONFIG"}]
    elsewhere += ["VIT-HEAD-LINEAR", "VIT-HEAD-HIDDEN", "VIT-HEAD-MEAN", "VIT-HEAD-CLASS-TOKEN", "VIT-PURE-BATCH"]
    assert [id_ for id_ in elsewhere if judged(id_, candidate).status is not Status.PASSED] == []


@pytest.mark.parametrize("name", ["softmax-in-float32", "layer-norm-in-float32"])
def test_a_step_in_float32_is_noticed(name: str) -> None:
    judgement = judged("VIT-HEAD-LOGITS", Candidate(DeviantAdapter(REWRITINGS[name])))
    assert (judgement.status, "float32" in judgement.reason) == (Status.PASSED, True)


@pytest.mark.parametrize(
    "name", ["activation-tanh", "norm-epsilon-1e-5", "attention-scale-by-width", "positions-twice"]
)
def test_a_defect_shows_beside_a_step_in_float32(name: str) -> None:
    replaces = {**REWRITINGS["softmax-in-float32"].replaces, **BANK[name].replaces}
    candidate = Candidate(DeviantAdapter(Rewriting(id="both", summary="", replaces=replaces)))
    assert candidate.float32_inside
    assert judged(BANK[name].breaks, candidate).status is Status.FAILED


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_no_convention_looks_like_a_step_in_float32(name: str) -> None:
    assert not Candidate(ReferenceAdapter(CONVENTIONS[name])).float32_inside
