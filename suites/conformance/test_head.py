"""HEAD: from the representation to the logits (section 3.1)."""

import torch

from vitbench.assertions import accept, assert_changed, assert_consistent, assert_equal, assert_holds, assert_semantics
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import MANY_BLOCKS, MANY_TOKENS, Case, random_images, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import RequirementFailed
from vitbench.probes import BRANCH_OUTPUTS, equal_tokens, of_odd_brightness, one_patch_changed_each
from vitbench.reference.vit import representation
from vitbench.trial import Trial

IGNORED = (0.0, 0.3)  # rates of dropout in evaluation
ATTENTION_OUTPUT = ("attention.output.weight", "attention.output.bias")


@requirement("VIT-HEAD-LOGITS")
@given(case=vit_cases(dropouts=IGNORED), beyond=({"case": MANY_TOKENS}, {"case": MANY_BLOCKS}))
def test_the_logits_are_those_of_the_papers_model(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    images = of_odd_brightness(trial.images, trial.config)
    assert_semantics(trial.logits(images), trial.reference_on(images).logits, "logits")
    _assert_not_a_number_is_passed_on(trial)


def _assert_not_a_number_is_passed_on(trial: Trial) -> None:
    """Every logit depends on every pixel, so that one which is not a number leaves none of them one, or is refused."""
    broken = trial.images.clone()
    broken[0, 0, 0, 0] = torch.nan
    try:
        logits = trial.logits(broken)
    except CandidateRaised:
        accept("refused")
        return
    numbers = int(torch.isfinite(logits[0]).sum())
    assert_equal(numbers, 0, "logits that are numbers, of an image with a pixel that is none; is it replaced silently?")


@requirement("VIT-HEAD-LINEAR")
@given(case=vit_cases())
def test_the_head_is_one_linear_layer_on_the_representation(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    assert_consistent(trial.logits(), trial.reference_head(trial.representation()), "logits from the candidate's own y")


@requirement("VIT-HEAD-CLASS-TOKEN")
@given(case=vit_cases())
def test_logits_cannot_see_an_image_that_the_class_token_cannot(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    blind = trial.zeroed(*ATTENTION_OUTPUT)
    other = random_images(trial.images.shape, case.seed + 1)
    assert_changed(trial.logits(other), trial.logits(), "logits of other images")
    assert_consistent(blind.logits(other), blind.logits(), "logits of other images without attention")


@requirement("VIT-HEAD-MEAN")
@given(case=vit_cases(pool="mean"), examples=FEW)
def test_mean_pooling_leaves_the_class_token_out(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    apart = trial.zeroed(*ATTENTION_OUTPUT)  # no token sees another
    other_class = apart.with_weights({"class_token": 1 - trial.weights["class_token"]})
    assert_consistent(other_class.logits(), apart.logits(), "logits with another class token, without attention")
    before = apart.logits(trial.images[:1])[0]
    for n, after in enumerate(apart.logits(one_patch_changed_each(trial.images[0], trial.config))):
        assert_changed(after, before, f"logits after a change of patch {n}")
    idle = apart.zeroed(*BRANCH_OUTPUTS)
    z = idle.tokens() if impl.offers("tokens") else idle.reference.tokens  # which idle blocks hand on as they are
    y = representation(z, idle.weights, idle.config, idle.conventions)
    assert_semantics(idle.logits(), idle.reference_head(y), "logits of the mean of the normalised patches")


@requirement("VIT-HEAD-HIDDEN")
@given(case=vit_cases(head="mlp"))
def test_the_pre_training_head_has_one_hidden_layer(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    class_row = trial.conventions.class_token_has_position
    same = trial.with_weights(equal_tokens(trial.weights, class_row=class_row))
    assert_semantics(same.logits()[0], same.reference.logits[0], "logits of the pre-training head, all tokens the same")


@requirement("VIT-HEAD-INIT")
@given(case=vit_cases())
def test_a_fresh_head_starts_as_declared(impl: Candidate, case: Case) -> None:
    trial = impl.fresh(Case(impl.within_reach(case.config), case.batch, case.seed))
    exported = trial.export()
    if "head.weight" not in exported:
        raise RequirementFailed(f"export() has no head.weight; it has {', '.join(sorted(exported)[:6])}, …")
    weight = exported["head.weight"]
    if impl.conventions.head_init == "zero":
        what = 'non-zero weights of a fresh head (conventions.head_init is "zero"; declare "random" if that is meant)'
        assert_equal(int(weight.count_nonzero()), 0, what)
    else:
        assert_holds(bool((weight != 0).any()), 'a fresh head is zero, though conventions.head_init is "random"')
