"""Trials in other dtypes, the reference's orders of evaluation, and what tier N makes of candidates that compute oddly."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from checks import judged
from hypothesis.errors import UnsatisfiedAssumption
from torch import Tensor

from vitbench import numerics
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.assertions import numerics_can_tell
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import Case
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.numerics import ORDERS, assert_as_exact_as, logits_in_dtype, optional
from vitbench.probes import flat_tokens, scaled
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.requirement import Status

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = ViTConfig(
    image_size=(4, 9), patch_size=(2, 3), channels=2, width=12, depth=2, num_heads=3, mlp_dim=7, num_classes=5
)
CASE = Case(CONFIG, batch=3, seed=1)
CONVENTIONS = {
    "the defaults": Conventions(),
    "vit-pytorch's": Conventions(layer_norm_eps=1e-5, qkv_bias=False, patch_embedding="norm_linear_norm"),
    "big_vision's": Conventions(activation="gelu_tanh", class_token_has_position=False),
    "CLIP's": Conventions(activation="quick_gelu", pre_norm=True, patch_bias=False, head_bias=False),
}
HALF = (torch.bfloat16, torch.float16)


class Computing(ReferenceAdapter):
    """The reference with another way from the model's answer to the logits."""

    def __init__(self, logits: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self._logits = logits

    def logits(self, model: Any, images: Tensor) -> Tensor:
        return self._logits(model, images)


def statuses(logits: Callable[[Any, Tensor], Tensor], *ids: str) -> dict[str, tuple[Status, str]]:
    candidate = Candidate(Computing(logits))
    judgements = {id_: judged(f"VIT-NUM-{id_}", candidate) for id_ in ids}
    return {id_: (judgement.status, judgement.reason) for id_, judgement in judgements.items()}


# --- trials ---


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_a_trial_in_another_dtype_hands_out_numbers_that_this_dtype_holds(dtype: torch.dtype) -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE, dtype=dtype)
    assert trial.images.dtype == dtype
    assert {parameter.dtype for parameter in trial.model.parameters()} == {dtype}
    for name, weight in trial.export().items():
        assert torch.equal(weight.double(), trial.weights[name]), name
    expected = vit.vision_transformer(trial.images.double(), trial.weights, CONFIG, Conventions())
    assert torch.equal(trial.reference.logits, expected)
    assert trial.logits().dtype == dtype


def test_a_trial_with_other_weights_keeps_its_dtype() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE, dtype=torch.bfloat16)
    assert trial.zeroed("head.bias").logits().dtype == torch.bfloat16
    assert torch.equal(trial.at_image_size((6, 12)).images, CASE_AT_6_12.images(torch.bfloat16))


CASE_AT_6_12 = Case(
    ViTConfig(image_size=(6, 12), patch_size=(2, 3), channels=2, width=12, depth=2, num_heads=3, mlp_dim=7), 3, 1
)


def test_a_trials_weights_can_be_altered_before_they_are_loaded() -> None:
    candidate = Candidate(ReferenceAdapter())
    trial = candidate.trial(CASE, altered=lambda weights: scaled(weights, "blocks.0.mlp.fc1", 3.0))
    usual = candidate.trial(CASE).weights
    changed = {name for name, weight in trial.weights.items() if not torch.equal(weight, usual[name])}
    assert changed == {"blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1.bias"}
    assert torch.equal(trial.export()["blocks.0.mlp.fc1.bias"], 3 * usual["blocks.0.mlp.fc1.bias"])


@pytest.mark.parametrize("name", CONVENTIONS)
def test_flat_tokens_have_one_number_each_whatever_the_image(name: str) -> None:
    candidate = Candidate(ReferenceAdapter(CONVENTIONS[name]))
    trial = candidate.trial(CASE, altered=lambda weights: flat_tokens(weights, 50.0))
    tokens = vit.embed(
        trial.patch_tokens(), trial.weights, CONFIG, replace(CONVENTIONS[name], pre_norm=False), vit.Mode()
    )
    assert torch.equal(tokens, tokens[:1, :, :1].expand_as(tokens))
    assert len(tokens[0, :, 0].unique()) == CONFIG.num_tokens
    assert (tokens.min() >= 0, tokens.max() <= 100 + 50) == (True, True)


# --- orders of evaluation ---


@pytest.mark.parametrize("pool", ["class_token", "mean"])
@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_computes_the_same_model(order: str, name: str, pool: Any) -> None:
    config = ViTConfig(**{**vars(CONFIG), "pool": pool, "head": "mlp"})
    trial = Candidate(ReferenceAdapter(CONVENTIONS[name])).trial(Case(config, 3, 1), exactly=True, dtype=torch.float32)
    with mock.patch.object(numerics, "ORDERS", {order: ORDERS[order]}):
        (single,) = logits_in_dtype(trial)
        trial.dtype = torch.float64
        (logits,) = logits_in_dtype(trial)
    bound = 1e-5 if "float32" in order or "moments" in order or order == "reversed" else 1e-12
    assert (logits - trial.reference.logits).abs().max() < bound
    assert single.dtype == torch.float32
    assert (single - trial.reference.logits).abs().max() < 1e-5


def test_the_orders_are_several() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE, dtype=torch.bfloat16)
    logits = logits_in_dtype(trial)
    assert {x.dtype for x in logits} == {torch.bfloat16}
    assert len({tuple(x.flatten().tolist()) for x in logits}) == len(ORDERS)


def test_another_dtype_is_tried_under_autocast_too() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE, dtype=torch.float32)
    logits = logits_in_dtype(trial, torch.bfloat16)
    assert (len(logits), {x.dtype for x in logits}) == (len(ORDERS) + 1, {torch.bfloat16})
    assert not any(torch.equal(logits[-1], x) for x in logits[:-1])


def test_the_reference_is_itself_again_afterwards() -> None:
    before = {name: value for name, value in vars(vit).items() if callable(value)}
    logits_in_dtype(Candidate(ReferenceAdapter()).trial(CASE, dtype=torch.bfloat16))
    assert {name: value for name, value in vars(vit).items() if callable(value)} == before


def test_an_example_in_which_rounding_alone_would_hide_everything_is_no_example() -> None:
    config = ViTConfig(**{**vars(CONFIG), "image_size": (8, 3), "channels": 4, "width": 3, "num_heads": 1})
    ill = Candidate(ReferenceAdapter()).trial(Case(config, 4, 1025), dtype=torch.bfloat16)
    assert not numerics_can_tell(ill.reference.logits, [*logits_in_dtype(ill), 0 * ill.logits()])
    with (
        mock.patch.object(numerics, "logits_in_dtype", return_value=[0 * ill.logits()]),
        pytest.raises(UnsatisfiedAssumption),
    ):
        assert_as_exact_as(ill, "logits")


# --- what is said of candidates ---


def test_a_failure_says_where_float64_is_wrong_already() -> None:
    trial = Candidate(Computing(lambda model, images: 1.5 * model(images))).trial(CASE, dtype=torch.float32)
    with pytest.raises(RequirementFailed, match=r"in float64 they are off by 0\.5 of the largest value already"):
        assert_as_exact_as(trial, "logits")


def test_a_failure_of_the_dtype_alone_says_no_such_thing() -> None:
    def coarse(model: Any, images: Tensor) -> Tensor:
        logits: Tensor = model(images)
        return logits if images.dtype == torch.float64 else (1 + 1e-3) * logits

    trial = Candidate(Computing(coarse)).trial(CASE, dtype=torch.float32)
    with pytest.raises(RequirementFailed) as caught:
        assert_as_exact_as(trial, "logits")
    assert "float64" not in str(caught.value)
    assert str(caught.value).endswith("elements are wrong")


def test_a_candidate_that_takes_no_half_precision_does_not_offer_it() -> None:
    def single_only(model: Any, images: Tensor) -> Tensor:
        if images.dtype in HALF:
            raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")
        return model(images)  # type: ignore[no-any-return]

    found = statuses(single_only, "FLOAT32", "BFLOAT16", "FLOAT16", "DTYPE")
    assert {id_: status for id_, (status, _) in found.items()} == {
        "FLOAT32": Status.PASSED,
        "BFLOAT16": Status.NOT_OFFERED,
        "FLOAT16": Status.NOT_OFFERED,
        "DTYPE": Status.PASSED,
    }
    assert found["FLOAT16"][1].startswith("gives no answer in float16: logits() raised RuntimeError:")


def test_a_candidate_that_takes_no_float32_misses_a_must() -> None:
    def double_only(model: Any, images: Tensor) -> Tensor:
        if images.dtype != torch.float64:
            raise TypeError("float64 only")
        return model(images)  # type: ignore[no-any-return]

    assert statuses(double_only, "FLOAT32")["FLOAT32"][0] is Status.FAILED


def test_nan_in_half_precision_is_an_answer_and_wrong() -> None:
    found = statuses(lambda model, x: model(x) * (torch.nan if x.dtype in HALF else 1), "BFLOAT16", "FLOAT16")
    assert {status for status, _ in found.values()} == {Status.FAILED}


def test_logits_of_half_precision_may_be_float32_and_are_as_exact_as_half_precision() -> None:
    def widened(model: Any, images: Tensor) -> Tensor:
        logits: Tensor = model(images)
        return logits.float() if images.dtype in HALF else logits

    found = statuses(widened, "BFLOAT16", "FLOAT16", "DTYPE", "AUTOCAST")
    assert {status for status, _ in found.values()} == {Status.PASSED}, found


def test_a_model_that_computes_half_precision_in_float32_is_right() -> None:
    def wide(model: Any, images: Tensor) -> Tensor:
        if images.dtype not in HALF:
            return model(images)  # type: ignore[no-any-return]
        return model.float()(images.float()).to(images.dtype)  # type: ignore[no-any-return]

    found = statuses(wide, "BFLOAT16", "FLOAT16", "DTYPE")
    assert {status for status, _ in found.values()} == {Status.PASSED}, found


def test_a_model_that_is_no_torch_module_has_no_dtype_to_keep() -> None:
    class Elsewhere(ReferenceAdapter):
        def build(self, config: ViTConfig) -> Any:
            return [super().build(config)]

        def load(self, model: Any, state: Any) -> None:
            model[0].double().load_state_dict(state)

        def logits(self, model: Any, images: Tensor) -> Tensor:
            return model[0](images.double())  # type: ignore[no-any-return]

    candidate = Candidate(Elsewhere())
    found = {id_: judged(f"VIT-NUM-{id_}", candidate) for id_ in ("FLOAT32", "BFLOAT16", "DTYPE", "AUTOCAST")}
    assert {id_: j.status for id_, j in found.items()} == {
        "FLOAT32": Status.PASSED,
        "BFLOAT16": Status.PASSED,
        "DTYPE": Status.NOT_OFFERED,
        "AUTOCAST": Status.NOT_OFFERED,
    }


def test_a_model_that_leaves_autocast_is_right() -> None:
    def leaving(model: Any, images: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return model(images)  # type: ignore[no-any-return]

    assert statuses(leaving, "AUTOCAST")["AUTOCAST"][0] is Status.PASSED


def test_a_model_that_raises_under_autocast_does_not_offer_it() -> None:
    def mixing(model: Any, images: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("mat1 and mat2 must have the same dtype")
        return model(images)  # type: ignore[no-any-return]

    status, reason = statuses(mixing, "AUTOCAST")["AUTOCAST"]
    assert (status, reason.startswith("gives no answer in autocast: ")) == (Status.NOT_OFFERED, True)


def test_only_what_the_candidate_raises_is_taken_for_a_refusal() -> None:
    with pytest.raises(NotSupported, match="gives no answer in float16: no kernel"), optional("float16"):
        raise CandidateRaised("no kernel")
    with pytest.raises(RequirementFailed, match="off"), optional("float16"):
        raise RequirementFailed("off")
