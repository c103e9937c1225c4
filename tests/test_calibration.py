"""The checks can tell: every requirement is missed by a deviation that is about it, and by no correct candidate."""

import pytest
import torch
from checks import CHECKS, judged

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate
from vitbench.check import configured, judge
from vitbench.deviations import BANK, KERNEL_BANK, DeviantAdapter, Deviation, KernelDeviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions
from vitbench.requirement import Status
from vitbench.specification import REQUIREMENTS, requirements

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL = requirements("model")  # what is asked of kernels: test_kernel_calibration.py

CONVENTIONS = {
    "the defaults": Conventions(),
    "transformers'": Conventions(layer_norm_eps=1e-12, position_resize="bicubic", head_init="random"),
    "timm's": Conventions(position_resize="bicubic_antialias", head_init="random"),
    "torchvision's": Conventions(position_resize="bicubic_corners"),
    "big_vision's": Conventions(activation="gelu_tanh", class_token_has_position=False, head_activation="tanh"),
    "vit-pytorch's": Conventions(layer_norm_eps=1e-5, qkv_bias=False, patch_embedding="norm_linear_norm"),
    "CLIP's": Conventions(
        layer_norm_eps=1e-5,
        activation="quick_gelu",
        position_resize="bilinear",
        head_activation="gelu",
        patch_bias=False,
        head_bias=False,
        pre_norm=True,
    ),
}


def test_every_requirement_has_exactly_one_check() -> None:
    assert set(CHECKS) == set(REQUIREMENTS)


def test_every_requirement_is_broken_by_a_deviation_of_the_bank() -> None:
    every: list[Deviation | KernelDeviation] = [*BANK.values(), *KERNEL_BANK.values()]
    assert {deviation.breaks for deviation in every} == set(REQUIREMENTS)


@pytest.mark.parametrize("name", BANK)
def test_a_deviation_fails_the_requirement_that_is_about_it(name: str) -> None:
    judgement = judged(BANK[name].breaks, Candidate(DeviantAdapter(BANK[name])))
    assert (judgement.status, judgement.evidence.example != "") == (Status.FAILED, True), judgement.reason


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_reference_meets_every_requirement_under_any_declared_convention(name: str) -> None:
    candidate = Candidate(ReferenceAdapter(CONVENTIONS[name]))
    outcomes = {id_: judged(id_, candidate) for id_ in MODEL}
    short = {id_: j.reason for id_, j in outcomes.items() if j.status is not Status.PASSED}
    declared = {"vit-pytorch's": {"VIT-PATCH-LINEAR", "VIT-ATTN-KEY-BIAS"}, "CLIP's": {"VIT-TRAIN-DROPOUT-TOKENS"}}
    assert (set(short), [r for r in short.values() if not r.startswith("declares ")]) == (
        declared.get(name, set()),
        [],
    ), short


@pytest.mark.parametrize("seed", range(1, 4))
def test_the_reference_meets_every_requirement_at_other_seeds(seed: int) -> None:
    candidate = Candidate(ReferenceAdapter(CONVENTIONS["vit-pytorch's"]))
    outcomes = [judge(configured(check, "quick", seed), candidate) for id_, check in CHECKS.items() if id_ in MODEL]
    assert [(j.requirement.id, j.reason) for j in outcomes if j.status in {Status.FAILED, Status.ERROR}] == []


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


def _softmax_in_float32(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return _ATTENTION_WEIGHTS(query.float(), key.float()).to(query.dtype)


def _layer_norm_in_float32(x: torch.Tensor, weights: vit.Weights, conventions: Conventions) -> torch.Tensor:
    return _LAYER_NORM(x.float(), {name: w.float() for name, w in weights.items()}, conventions).to(x.dtype)


_ATTENTION_WEIGHTS, _LAYER_NORM = vit.attention_weights, vit.layer_norm
IN_FLOAT32 = {"vit.attention_weights": _softmax_in_float32, "vit.layer_norm": _layer_norm_in_float32}


def _candidate(replaces: dict[str, object]) -> Candidate:
    return Candidate(DeviantAdapter(Deviation(id="float32-inside", summary="", replaces=replaces, breaks="")))


@pytest.mark.parametrize("step", IN_FLOAT32)
def test_a_step_in_float32_is_noticed_and_not_called_a_defect(step: str) -> None:
    candidate = _candidate({step: IN_FLOAT32[step]})
    outcomes = {id_: judged(id_, candidate) for id_ in MODEL}
    assert {id_: j.reason for id_, j in outcomes.items() if j.status is not Status.PASSED} == {}
    assert "float32" in outcomes["VIT-HEAD-LOGITS"].reason


@pytest.mark.parametrize(
    "name", ["activation-tanh", "norm-epsilon-1e-5", "attention-scale-by-width", "positions-twice"]
)
def test_a_defect_shows_beside_a_step_in_float32(name: str) -> None:
    candidate = _candidate({"vit.attention_weights": _softmax_in_float32, **BANK[name].replaces})
    assert candidate.float32_inside
    assert judged(BANK[name].breaks, candidate).status is Status.FAILED


@pytest.mark.parametrize("name", CONVENTIONS)
def test_no_convention_looks_like_a_step_in_float32(name: str) -> None:
    assert not Candidate(ReferenceAdapter(CONVENTIONS[name])).float32_inside
