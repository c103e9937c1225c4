"""PURE: evaluation is a function of weights and images, and of nothing else."""

from contextlib import suppress

import torch

from vitbench.assertions import assert_consistent, assert_equal, assert_same_bits
from vitbench.candidate import Candidate, SideEffect
from vitbench.cases import Case, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.gradients import backward, logits_in_training, random_loss, shows_gradients
from vitbench.isolation import HostRandomStates
from vitbench.probes import position_table
from vitbench.trial import Trial

IMAGE_HOOKS = ("logits", "patch_tokens", "tokens", "block_outputs", "attention", "representation")
RANDOM_STATE = "the global random state"


@requirement("VIT-PURE-REPEATABLE")
@given(case=vit_cases(dropouts=(0.3, 0.0)))
def test_the_same_images_give_the_same_bits(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    assert_same_bits(trial.logits(), trial.logits(), "logits of the same images, twice")


@requirement("VIT-PURE-BATCH")
@given(case=vit_cases(batches=(2, 3, 4)))
def test_images_of_a_batch_do_not_see_each_other(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    alone = torch.cat([trial.logits(image[None]) for image in trial.images])
    assert_consistent(trial.logits(), alone, "logits in a batch, against each image alone")


@requirement("VIT-PURE-INPUT")
@given(case=vit_cases(), examples=FEW)
def test_a_forward_pass_leaves_its_images_alone(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    effects = [*_effects(impl, trial), *_effects_of_training(impl, trial)]
    changed = [effect.hook for effect in effects if effect.changed == "its input"]
    assert_equal(changed, [], "methods that changed the images they were given")


@requirement("VIT-PURE-WEIGHTS")
@given(case=vit_cases(), examples=FEW)
def test_a_forward_pass_leaves_the_weights_alone(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before = {name: weight.clone() for name, weight in trial.export().items()}
    for _ in range(2):
        trial.logits()
    after = trial.export()
    assert_equal(sorted(after), sorted(before), "names of the parameters after two forward passes")
    for name, weight in before.items():
        assert_same_bits(after[name], weight, f"{name} after two forward passes")


@requirement("VIT-PURE-GLOBAL")
@given(case=vit_cases(), examples=FEW)
def test_global_settings_stay_as_they_were(impl: Candidate, case: Case) -> None:
    impl.side_effects.clear()
    trial = impl.trial(case)
    built = [f"{e.hook}() changed {e.changed}" for e in impl.side_effects if e.changed != RANDOM_STATE]
    with HostRandomStates() as host:
        ran = [f"{e.hook}() changed {e.changed}" for e in _effects(impl, trial) if e.changed != "its input"]
    ran += [f"a forward pass changed {state}" for state in host.changes]
    allowed = {"its input", RANDOM_STATE}  # numbers are drawn in training
    ran += [
        f"{e.hook}() changed {e.changed} in training"
        for e in _effects_of_training(impl, trial)
        if e.changed not in allowed
    ]
    assert_equal(sorted({*built, *ran}), [], "changes of global state")


@requirement("VIT-PURE-LAYOUT")
@given(case=vit_cases())
def test_the_memory_layout_of_the_images_does_not_matter(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    expected = trial.logits()
    transposed = trial.images.transpose(2, 3).contiguous().transpose(2, 3)
    assert_consistent(trial.logits(transposed), expected, "logits of images that are not contiguous")
    channels_last = trial.images.contiguous(memory_format=torch.channels_last)
    assert_consistent(trial.logits(channels_last), expected, "logits of images in channels-last layout")


def _effects_of_training(impl: Candidate, trial: Trial) -> list[SideEffect]:
    """What a step of training changes besides gradients: a forward and a backward pass, with dropout."""
    impl.side_effects.clear()
    dropping = impl.trial(impl.with_every_rate(trial.case), exactly=True)
    seed = torch.initial_seed()
    with suppress(NotSupported, RequirementFailed):  # a model that does not train
        if shows_gradients(dropping):
            logits_in_training(dropping)
        else:
            dropping.module.train()
            backward(dropping, random_loss(dropping))
    seeded = [] if torch.initial_seed() == seed else [SideEffect("logits", "the global seed")]
    return [*impl.side_effects, *seeded]


def _effects(impl: Candidate, trial: Trial) -> list[SideEffect]:
    """What the methods that look at images change besides their results."""
    impl.side_effects.clear()
    for hook in IMAGE_HOOKS:
        if hook == "logits" or impl.offers(hook):
            impl.call(hook, trial.model, trial.images)
    if impl.offers("resize_position_embedding"):
        with suppress(NotSupported):
            table = position_table((2, 2), 8, trial.case.seed, class_row=impl.conventions.class_token_has_position)
            impl.resize(table, (2, 2), (3, 3))
    return list(impl.side_effects)
