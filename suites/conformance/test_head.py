"""HEAD: from the representation to the logits (section 3.1)."""

from vitbench.assertions import assert_changed, assert_consistent, assert_equal, assert_holds, assert_semantics
from vitbench.candidate import Candidate
from vitbench.cases import Case, random_images, vit_cases
from vitbench.check import given, requirement
from vitbench.errors import RequirementFailed

ATTENTION_OUTPUT = ("attention.output.weight", "attention.output.bias")


@requirement("VIT-HEAD-LOGITS")
@given(case=vit_cases())
def test_the_logits_are_those_of_the_papers_model(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    assert_semantics(trial.logits(), trial.reference.logits, "logits")


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
@given(case=vit_cases(pool="mean"))
def test_mean_pooling_leaves_the_class_token_out(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    assert_semantics(trial.logits(), trial.reference.logits, "logits with pooling by the mean")


@requirement("VIT-HEAD-HIDDEN")
@given(case=vit_cases(head="mlp"))
def test_the_pre_training_head_has_one_hidden_layer(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    assert_semantics(trial.logits(), trial.reference.logits, "logits of the pre-training head")


@requirement("VIT-HEAD-INIT")
@given(case=vit_cases())
def test_a_fresh_head_starts_as_declared(impl: Candidate, case: Case) -> None:
    trial = impl.fresh(Case(impl.within_reach(case.config), case.batch, case.seed))
    exported = trial.export()
    if "head.weight" not in exported:
        raise RequirementFailed(f"export() has no head.weight; it has {', '.join(sorted(exported)[:6])}, …")
    weight = exported["head.weight"]
    if impl.conventions.head_init == "zero":
        assert_equal(int(weight.count_nonzero()), 0, "non-zero weights of a fresh head declared to start at zero")
    else:
        assert_holds(bool((weight != 0).any()), "a fresh head declared to start at random is zero")
