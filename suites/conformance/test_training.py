"""TRAIN: gradients, dropout and learning (section 4.1 and appendix B.1)."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from vitbench.assertions import (
    FLOAT32_INSIDE_RELATIVE,
    SEMANTICS_RELATIVE,
    assert_bernoulli,
    assert_changed,
    assert_consistent,
    assert_equal,
    assert_holds,
    assert_rate,
    assert_same_bits,
    assert_semantics,
)
from vitbench.candidate import Candidate
from vitbench.cases import Case, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported
from vitbench.evidence import current_evidence
from vitbench.gradients import Loss, backward, gradients, random_loss, reference_gradients
from vitbench.probes import hidden_read_out, lone_bias, uniform_attention
from vitbench.reference.config import ViTConfig
from vitbench.reference.vit import vision_transformer
from vitbench.statistics import binomial_probability
from vitbench.trial import Trial, Weights

SLOW = {"quick": 2, "standard": 5, "full": 50}  # examples that take tens of passes each

Ask = Callable[[Tensor], Tensor]

RATES = st.sampled_from((0.3, 0.1, 0.5))
PATH_RATES = st.sampled_from((0.5, 0.3))  # so that few images tell
DIGITS = 6  # of a rate: schedules are computed in float32
MASKED_ELEMENTS = 3000  # at least so many draws of each mask
BRANCHES = (("attention.output", "attention"), ("mlp.fc2", "MLP"))
KEY_BIAS = "attention.key.bias"  # without effect (VIT-ATTN-KEY-BIAS): its gradient is rounding, or it is not there
FIRST_TOKEN = ("class_token", "position_embedding")  # a model may keep the two as their sum

TO_LEARN = ViTConfig(
    image_size=(8, 8), patch_size=(4, 4), channels=3, width=16, depth=2, num_heads=2, mlp_dim=32, num_classes=4
)
STEPS = 60  # of Adam, rate 0.01
LEARNED = 0.1  # of the cross-entropy of guessing


@requirement("VIT-TRAIN-GRADIENT")
@given(case=vit_cases())
def test_the_gradients_are_those_of_the_papers_model(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    loss = random_loss(trial)
    with trial.training():
        actual = gradients(trial, loss).parameters
    expected = reference_gradients(trial, loss).parameters
    for name, gradient in expected.items():
        if name.endswith(KEY_BIAS):
            continue
        assert_holds(name in actual, f"export() names no {name}, which was loaded")
        if name in FIRST_TOKEN and trial.conventions.class_token_has_position:
            continue
        assert_semantics(actual[name], gradient, f"gradient of {name}", varied=False)
    if trial.conventions.class_token_has_position:
        _assert_first_token(actual, expected)


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


@requirement("VIT-TRAIN-LIVE")
@given(examples=FEW, case=vit_cases())
def test_every_element_of_every_parameter_is_live(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    loss = random_loss(trial)
    with trial.training():
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
    received = backward(trial, loss, of_images=True)
    assert_semantics(received, reference_gradients(trial, loss).images, "gradient of the images")


@requirement("VIT-TRAIN-STEP")
@given(examples=FEW, case=vit_cases())
def test_one_step_of_gradient_descent_leads_where_the_papers_model_goes(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    loss, rate, before = _cross_entropy(trial), 0.1, trial.logits()
    with trial.training():
        backward(trial, loss)
    optimizer = torch.optim.SGD(trial.module.parameters(), lr=rate)
    impl.guarded("step", optimizer.step)
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
    with trial.training():
        optimizer = torch.optim.Adam(trial.module.parameters(), lr=0.01)
        for _ in range(STEPS):
            backward(trial, loss)
            impl.guarded("step", optimizer.step)
    reached, chance = loss(trial.logits()).item(), torch.tensor(float(config.num_classes)).log().item()
    assert_holds(
        reached < LEARNED * chance,
        f"cross-entropy {reached:.3g} after {STEPS} steps of Adam on {trial.case.batch} images, expected below "
        f"{LEARNED * chance:.3g}; guessing gives {chance:.3g}",
    )


@requirement("VIT-TRAIN-SAME")
@given(case=vit_cases())
def test_without_dropout_training_computes_the_same(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    expected = trial.logits()
    with trial.training():
        assert_consistent(trial.logits(), expected, "logits in training mode without dropout")
    assert_same_bits(trial.logits(), expected, "logits in evaluation mode, after training mode")


@requirement("VIT-TRAIN-SILENT")
@given(examples=FEW, case=vit_cases(depths=(2, 3)))
def test_evaluation_after_training_is_as_before(impl: Candidate, case: Case) -> None:
    trial = impl.trial(_with_every_rate(impl, case), exactly=True)
    expected = trial.logits()
    with trial.training():
        trial.logits()
    assert_same_bits(trial.logits(), expected, "logits in evaluation mode, after one forward pass in training mode")
    assert_semantics(
        expected, trial.reference.logits, "logits in evaluation mode of a model with dropout and drop path"
    )


@requirement("VIT-TRAIN-DROPOUT-TOKENS")
@given(examples=FEW, case=vit_cases(), rate=RATES)
def test_elements_of_the_tokens_are_dropped(impl: Candidate, case: Case, rate: float) -> None:
    if impl.conventions.pre_norm:
        raise NotSupported("declares pre_norm = True, which hides what was dropped before it")
    trial = _with_dropout(impl, case, rate)
    elements = trial.config.num_tokens * trial.config.width
    found, expected = _drawn(trial, trial.tokens, elements)
    _assert_dropped(found, expected, rate, "elements of z_0")


@requirement("VIT-TRAIN-DROPOUT-BRANCHES")
@given(examples=FEW, case=vit_cases(), rate=RATES)
def test_elements_behind_both_branches_are_dropped(impl: Candidate, case: Case, rate: float) -> None:
    whole = _with_dropout(impl, case, rate)
    elements = whole.config.num_tokens * whole.config.width
    for last, what in BRANCHES:
        trial = whole.with_weights(lone_bias(whole.weights, f"blocks.0.{last}"))
        found, expected = _drawn(trial, _block(trial, 0), elements)
        _assert_dropped(found, expected, rate, f"elements behind the {what} of block 0")


@requirement("VIT-TRAIN-DROPOUT-HIDDEN")
@given(examples=FEW, case=vit_cases(), rate=RATES)
def test_elements_of_the_hidden_layer_are_dropped(impl: Candidate, case: Case, rate: float) -> None:
    reached = impl.within_reach(case.config)  # which may be wider
    wide = replace(reached, mlp_dim=max(reached.mlp_dim, reached.width))  # a unit for each feature
    trial = _with_dropout(impl, replace(case, config=wide), rate)
    trial = trial.with_weights(hidden_read_out(trial.weights, trial.config))
    found, expected = _drawn(trial, _block(trial, 0), trial.config.num_tokens * trial.config.width)
    _assert_dropped(found, expected, 1 - (1 - rate) ** 2, "hidden units of block 0, and elements behind its MLP")


@requirement("VIT-TRAIN-DROPOUT-ATTENTION")
@given(examples=FEW, case=vit_cases(), rate=RATES)
def test_attention_weights_are_dropped(impl: Candidate, case: Case, rate: float) -> None:
    trial = _regularised(impl, case, attention_dropout=rate)
    trial = trial.with_weights(uniform_attention(trial.weights, trial.config))
    heads, keys = trial.config.num_heads, trial.config.num_tokens
    found, values = _drawn(trial, _block(trial, 0), heads * keys)
    assert_changed(found[0], values, f"z_1 in training mode with attention_dropout {rate}")
    kept = (found / values * keys * (1 - rate)).unflatten(-1, (heads, -1))  # how many weights of each query and head
    by_head = kept[..., :1].round()
    assert_consistent(
        kept + 1, by_head.expand_as(kept) + 1, f"attention weights kept and scaled up, of {keys} for a query"
    )
    assert_rate(int(by_head.sum()), by_head.numel() * keys, 1 - rate, "attention weights kept")
    alike = sum(binomial_probability(k, keys, rate) ** 2 for k in range(keys + 1))
    neighbours = by_head.flatten()[: by_head.numel() // 2 * 2].unflatten(0, (-1, 2))
    differing = int((neighbours[:, 0] != neighbours[:, 1]).sum())
    assert_rate(
        differing, len(neighbours), 1 - alike, "neighbouring heads or queries that keep another number of weights"
    )


@requirement("VIT-TRAIN-DROP-PATH")
@given(examples=SLOW, case=vit_cases(depths=(2, 3)), rate=PATH_RATES)
def test_branches_are_dropped_for_each_image(impl: Candidate, case: Case, rate: float) -> None:
    whole = _regularised(impl, case, drop_path=rate)
    i = whole.config.depth - 1
    for last, what in BRANCHES:
        trial = whole.with_weights(lone_bias(whole.weights, f"blocks.{i}.{last}"))
        for batch, passes in ((32, 4), (1, 64)):  # and one image at a time
            found, expected = _drawn(trial, _block(trial, i), batch=batch, passes=passes)
            where = f"{what} of block {i}, in batches of {batch}"
            dropped = (found == 0).flatten(2)
            whole_images = dropped.all(dim=2) | ~dropped.any(dim=2)
            assert_holds(bool(whole_images.all()), f"{where}: dropped in a part of an image")
            read = _rate_read(found, expected)
            assert_equal(round(read, DIGITS), rate, f"{where}: drop-path rate, from the scale of what is kept")
            _assert_dropped(found, expected, read, where, draws=dropped[..., 0])


@requirement("VIT-TRAIN-PATH-SCHEDULE")
@given(examples=SLOW, case=vit_cases(depths=(3, 2)), rate=PATH_RATES)
def test_drop_path_never_falls_with_depth(impl: Candidate, case: Case, rate: float) -> None:
    whole = _regularised(impl, case, drop_path=rate)
    rates = []
    for i in range(whole.config.depth):
        trial = whole.with_weights(lone_bias(whole.weights, f"blocks.{i}.mlp.fc2"))
        rates.append(round(_rate_read(*_drawn(trial, _block(trial, i), batch=64, passes=1)), DIGITS))
    assert_equal(rates, sorted(rates), "drop-path rates of the blocks, from the scale of what is kept")
    assert_equal(rates[-1], rate, "drop-path rate of the last block, from the scale of what is kept")


def _cross_entropy(trial: Trial) -> Loss:
    labels = torch.arange(trial.case.batch) % trial.config.num_classes
    return lambda logits: nn.functional.cross_entropy(logits, labels.to(logits.device))


def _logits(trial: Trial, weights: Weights) -> Tensor:
    return vision_transformer(trial.images, weights, trial.config, trial.conventions)


def _distance(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def _regularised(impl: Candidate, case: Case, **rates: Any) -> Trial:
    """A model with dropout, or a refusal that says why there is none."""
    return impl.trial(replace(case, config=replace(impl.within_reach(case.config), **rates)), exactly=True)


def _with_dropout(impl: Candidate, case: Case, rate: float) -> Trial:
    """Dropout of tokens and branches; attention weights too where a package has one rate for both."""
    try:
        return _regularised(impl, case, dropout=rate)
    except NotSupported:
        return _regularised(impl, case, dropout=rate, attention_dropout=rate)


def _with_every_rate(impl: Candidate, case: Case) -> Case:
    """The case with every kind of dropout that the candidate has."""
    config = impl.within_reach(case.config)
    rates: list[dict[str, Any]] = [{"dropout": 0.3}, {"attention_dropout": 0.3}, {"drop_path": 0.3}]
    for rate in rates:
        dropping = replace(config, **rate)
        with suppress(NotSupported):
            impl.build(dropping)
            config = dropping
    return replace(case, config=config)


def _block(trial: Trial, i: int) -> Ask:
    return lambda images: trial.block_outputs(images)[i]


def _rate_read(found: Tensor, expected: Tensor) -> float:
    """The rate that kept branches tell: they are 1 / (1 - rate) times what evaluation has."""
    kept = found != 0
    assert_holds(bool(kept.any()), f"not one branch of {len(found) * len(expected)} is kept")
    return 1 - (expected.expand_as(found)[kept] / found[kept]).mean().item()


def _drawn(trial: Trial, ask: Ask, elements: int = 1, *, batch: int = 0, passes: int = 2) -> tuple[Tensor, Tensor]:
    """Answers in training mode, and what evaluation mode answers: (passes, B, ...) and (B, ...).

    The batch is as large as it takes for ``MASKED_ELEMENTS`` draws of ``elements`` an image.
    """
    batch = batch or -(-MASKED_ELEMENTS // (passes * elements))
    images = trial.images.repeat(-(-batch // trial.case.batch), 1, 1, 1)[:batch]
    expected = ask(images)
    with trial.training():
        return torch.stack([ask(images) for _ in range(passes)]), expected


def _assert_dropped(found: Tensor, expected: Tensor, rate: float, what: str, draws: Tensor | None = None) -> None:
    """Each of ``draws`` is dropped with ``rate``, by itself, and what is kept has the mean that evaluation has."""
    assert_changed(found[0], expected, f"{what}: training mode against evaluation mode")
    dropped = found == 0
    kept = torch.where(dropped, torch.zeros_like(found), expected / (1 - rate))
    assert_consistent(found, kept, f"{what}: those kept, scaled by 1 / (1 - {rate:.3g})")
    assert_bernoulli(dropped if draws is None else draws, rate, what)
