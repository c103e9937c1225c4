"""TRAIN: gradients and learning (section 4.1)."""

import re
from dataclasses import replace
from functools import partial

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from vitbench.assertions import (
    FLOAT32_INSIDE_RELATIVE,
    SEMANTICS_RELATIVE,
    assert_changed,
    assert_consistent,
    assert_holds,
    assert_same_bits,
    assert_semantics,
    assert_slope,
)
from vitbench.candidate import Candidate
from vitbench.cases import MANY_BLOCKS, MANY_TOKENS, Case, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported
from vitbench.evidence import current_evidence
from vitbench.gradients import (
    Loss,
    along_a_direction,
    gradient_of_images,
    gradients,
    in_training_mode,
    logits_in_training,
    random_loss,
    reference_gradients,
)
from vitbench.learning import Learning
from vitbench.reference.config import ViTConfig
from vitbench.reference.vit import vision_transformer
from vitbench.trial import Trial, Weights

SLOW = {"quick": 1, "standard": 3, "full": 50}  # examples that take hundreds of passes each

WITH_DROPOUT = st.sampled_from((False, True, False))  # in a third of the examples
KEY_BIAS = "attention.key.bias"  # without effect (VIT-ATTN-KEY-BIAS): its gradient is rounding, or it is not there
QUERY_OR_KEY = re.compile(r"\.(query|key)\.")
FIRST_TOKEN = ("class_token", "position_embedding")  # a model may keep the two as their sum

TO_LEARN = ViTConfig(
    image_size=(8, 8), patch_size=(4, 4), channels=3, width=16, depth=2, num_heads=2, mlp_dim=32, num_classes=4
)
STEPS = 60  # of Adam, rate 0.01
LEARNED = 0.1  # of the cross-entropy of guessing


@requirement("VIT-TRAIN-GRADIENT")
@given(
    case=st.one_of(vit_cases(), vit_cases(pool="mean"), vit_cases(head="mlp")),
    dropping=WITH_DROPOUT,
    beyond=({"case": MANY_TOKENS, "dropping": False}, {"case": MANY_BLOCKS, "dropping": False}),
)
def test_the_gradients_are_those_of_the_papers_model(impl: Candidate, case: Case, dropping: bool) -> None:
    case = _offered(impl, case)
    if dropping and not impl.float32_inside:  # whose rounding differences magnify beyond use
        _assert_slope(impl, impl.with_every_rate(case))
        return
    trial = impl.trial(case)
    loss = random_loss(trial)
    with in_training_mode(trial):
        actual = gradients(trial, loss).parameters
    expected = reference_gradients(trial, loss).parameters
    for name, gradient in expected.items():
        if name.endswith(KEY_BIAS):
            continue
        assert_holds(name in actual, f"export() names no {name}, which was loaded")
        if name in FIRST_TOKEN and trial.conventions.class_token_has_position:
            continue
        # a query's and a key's gradient is what the softmax leaves of the values', by cancellation
        beside = expected.get(QUERY_OR_KEY.sub(".value.", name))
        assert_semantics(actual[name], gradient, f"gradient of {name}", varied=False, beside=beside)
    if trial.conventions.class_token_has_position:
        _assert_first_token(actual, expected)


@requirement("VIT-TRAIN-LIVE")
@given(examples=FEW, case=vit_cases())
def test_every_element_of_every_parameter_is_live(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    loss = random_loss(trial)
    with in_training_mode(trial):
        actual = gradients(trial, loss).parameters
    for name, gradient in reference_gradients(trial, loss).parameters.items():
        if name not in actual or name in FIRST_TOKEN:
            continue
        found, right = actual[name].abs(), gradient.abs()
        if name.endswith(KEY_BIAS):
            # float32 inside leaves its rounding, which is of the order of all gradients and not of the query's
            beside = actual.values() if current_evidence().float32_inside else [actual[name.replace("key", "query")]]
            scale = FLOAT32_INSIDE_RELATIVE * max(gradient.abs().max().item() for gradient in beside)
            assert_holds(
                found.max().item() <= scale, f"{name} has a gradient of {found.max().item():.3g}; it has no effect"
            )
            continue
        dead = (found == 0) & (right > SEMANTICS_RELATIVE * right.max())
        assert_holds(not dead.any(), f"{name}: {int(dead.sum())} of {dead.numel()} elements receive no gradient")


@requirement("VIT-TRAIN-IMAGES")
@given(examples=FEW, case=vit_cases())
def test_the_gradient_reaches_the_images(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    loss = random_loss(trial)
    received = gradient_of_images(trial, loss)
    assert_semantics(received, reference_gradients(trial, loss).images, "gradient of the images")


@requirement("VIT-TRAIN-STEP")
@given(examples=FEW, case=vit_cases())
def test_one_step_of_gradient_descent_leads_where_the_papers_model_goes(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    loss, rate, before = _cross_entropy(trial), 0.1, trial.logits()
    Learning(trial, partial(torch.optim.SGD, lr=rate)).step(loss)
    slopes, after = reference_gradients(trial, loss).parameters, trial.logits()
    stepped = {name: weight - rate * slopes[name] for name, weight in trial.weights.items()}
    if trial.conventions.class_token_has_position:  # kept as the sum of two, the first token takes one step, not two
        folded = {**stepped, "class_token": trial.weights["class_token"]}
        if _distance(after, _logits(trial, folded)) < _distance(after, _logits(trial, stepped)):
            stepped = folded
    assert_changed(after, before, "logits after one step of gradient descent, against those before")
    assert_consistent(after, _logits(trial, stepped), "logits after one step of gradient descent")


@requirement("VIT-TRAIN-OVERFIT")
@given(examples=SLOW, seed=st.integers(0, 2**16))
def test_a_few_images_are_learned_by_heart(impl: Candidate, seed: int) -> None:
    config = impl.within_reach(TO_LEARN)
    trial = impl.fresh(Case(config, batch=2 * config.num_classes, seed=seed))
    loss = _cross_entropy(trial)
    learning = Learning(trial, partial(torch.optim.Adam, lr=0.01))
    for _ in range(STEPS):
        learning.step(loss)
    reached, chance = loss(trial.logits()).item(), torch.tensor(float(config.num_classes)).log().item()
    assert_holds(
        reached < LEARNED * chance,
        f"cross-entropy {reached:.3g} after {STEPS} steps of Adam on {trial.case.batch} images, expected below "
        f"{LEARNED * chance:.3g}; guessing gives {chance:.3g}",
    )


@requirement("VIT-TRAIN-SAME")
@given(examples=FEW, case=vit_cases())
def test_without_dropout_training_computes_the_same(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    expected = trial.logits()
    assert_consistent(logits_in_training(trial), expected, "logits in training mode without dropout")
    assert_same_bits(trial.logits(), expected, "logits in evaluation mode, after training mode")


@requirement("VIT-TRAIN-SILENT")
@given(examples=FEW, case=vit_cases(depths=(2, 3)))
def test_evaluation_after_training_is_as_before(impl: Candidate, case: Case) -> None:
    trial = impl.trial(impl.with_every_rate(case), exactly=True)
    expected = trial.logits()
    logits_in_training(trial)
    assert_same_bits(trial.logits(), expected, "logits in evaluation mode, after one forward pass in training mode")
    assert_semantics(
        expected, trial.reference.logits, "logits in evaluation mode of a model with dropout and drop path"
    )


def _assert_slope(impl: Candidate, case: Case) -> None:
    """With dropout the gradient is that of the loss under the very masks that were drawn: its own slope tells."""
    trial = impl.trial(case, exactly=True)
    with trial.training():
        gradients(trial, random_loss(trial))  # NOT OFFERED where the canonical ones are not
        slope = along_a_direction(trial, random_loss(trial))
    if slope is None:
        raise NotSupported("its masks do not repeat after torch.manual_seed, so that no loss has a slope to compare")
    assert_slope(slope.by_gradient, slope.by_differences, slope.scale, "slope of the loss by gradient, with dropout")


def _assert_first_token(actual: Weights, expected: Weights) -> None:
    """x_class and its position have one gradient; where a model keeps their sum, one of the two is all it shows."""
    table, first = actual["position_embedding"], expected["class_token"]
    assert_semantics(
        table[:, 1:], expected["position_embedding"][:, 1:], "gradient of position_embedding[1:]", varied=False
    )
    shown = {"class_token": actual["class_token"], "position_embedding[0]": table[:, :1]}
    seen = {name: gradient for name, gradient in shown.items() if bool((gradient != 0).any())} or shown
    for name, gradient in seen.items():
        assert_semantics(gradient, first, f"gradient of {name}", varied=False)


def _offered(impl: Candidate, case: Case) -> Case:
    """The case; plain where its pooling or its head is not offered, or is another function already.

    VIT-HEAD-MEAN and VIT-HEAD-HIDDEN tell of that, and its gradient tells no more.
    """
    case = impl.with_head_and_pool(case)
    if (case.config.pool, case.config.head) == ("class_token", "linear"):
        return case
    trial = impl.trial(case)
    expected = trial.reference.logits
    same = _distance(trial.logits(), expected) < _SAME * expected.abs().max().item()
    return case if same else replace(case, config=replace(case.config, pool="class_token", head="linear"))


_SAME = 1e-3  # of the largest logit: nearer than any other function, farther than float32 rounds


def _cross_entropy(trial: Trial) -> Loss:
    labels = torch.arange(trial.case.batch) % trial.config.num_classes
    return lambda logits: nn.functional.cross_entropy(logits, labels.to(logits.device))


def _logits(trial: Trial, weights: Weights) -> Tensor:
    return vision_transformer(trial.images, weights, trial.config, trial.conventions)


def _distance(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()
