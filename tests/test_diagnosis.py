"""A candidate that fails is told where it diverges first, and what it computes instead."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vitbench.adapter import Adapter, Conventions, Model, ViTConfig
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate
from vitbench.deviations import BANK, DeviantAdapter
from vitbench.deviations.conventions import USUAL, alternatives
from vitbench.deviations.deviation import Rewriting, together
from vitbench.diagnosis.answers import answers
from vitbench.diagnosis.asked import CONFIRMING, SUGGESTING, questions
from vitbench.diagnosis.compared import relative_error
from vitbench.diagnosis.diagnose import Failures, diagnose
from vitbench.diagnosis.known import applies, known
from vitbench.diagnosis.place import first_divergence
from vitbench.diagnosis.record import Diagnosis
from vitbench.diagnosis.search import search
from vitbench.diagnosis.stages import Place
from vitbench.reference import vit
from vitbench.reference.parameters import Weights
from vitbench.specification import REQUIREMENTS

pytestmark = pytest.mark.usefixtures("one_thread")

layer_norm, patches, head = vit.layer_norm, vit.patches, vit.head


class Bare(Adapter):
    """What any adapter has, of another one: build, load and logits."""

    def __init__(self, inner: Adapter) -> None:
        self.name, self.conventions, self._inner = inner.name, inner.conventions, inner

    def build(self, config: ViTConfig) -> Model:
        return self._inner.build(config)

    def load(self, model: Model, state: Mapping[str, Tensor]) -> None:
        self._inner.load(model, state)

    def logits(self, model: Model, images: Tensor) -> Tensor:
        return self._inner.logits(model, images)


def diagnosis_of(adapter: Adapter) -> Diagnosis:
    return diagnose(Candidate(adapter), Failures(count=1, checks={}))


def place_of(adapter: Adapter, **late: Any) -> Place:
    candidate = Candidate(adapter)
    first = next(a for a in answers(candidate, questions(candidate, SUGGESTING)) if a.diverges)
    return first_divergence(candidate, first.question, first.error, first.tolerance, **late)


def stage_of(adapter: Adapter) -> tuple[str, str]:
    place = place_of(adapter)
    return str(place.stage), place.by


STAGES = {
    "patches-pixels-first": "the patch tokens",
    "positions-missing": "the tokens z_0 (class token and positions)",
    "attention-unscaled": "block 0: attention",
    "activation-tanh": "block 0: the MLP",
    "block-post-norm": "block 0: attention",
    "head-scaled": "the head",
}


@pytest.mark.parametrize("name", STAGES)
def test_the_first_stage_that_diverges_is_found_by_taps(name: str) -> None:
    assert stage_of(DeviantAdapter(BANK[name])) == (STAGES[name], "taps")


@pytest.mark.parametrize("name", STAGES)
def test_the_first_stage_that_diverges_is_found_without_taps(name: str) -> None:
    assert stage_of(Bare(DeviantAdapter(BANK[name]))) == (STAGES[name], "probes")


def test_blocks_that_agree_one_by_one_and_not_together_are_told_as_such() -> None:
    assert "each block by itself agrees" in stage_of(Bare(DeviantAdapter(BANK["block-mlp-first"])))[0]


def test_gradients_and_resized_positions_are_stages_too() -> None:
    assert stage_of(DeviantAdapter(BANK["gradient-mlp-doubled"])) == ("the gradients (the logits agree)", "answers")
    resized = "the resized positions (at its own size the model agrees)"
    assert stage_of(DeviantAdapter(BANK["resize-nearest"])) == (resized, "answers")


def test_a_deviation_is_named_with_what_to_change() -> None:
    found = diagnosis_of(DeviantAdapter(BANK["norm-epsilon-1e-5"]))
    assert found.sentence == "matches the paper's ViT with LayerNorm epsilon 1e-5 for the declared 1e-6"
    assert [cause.remedy for cause in found.causes] == [
        "declare layer_norm_eps=1e-5 in `conventions`, or pass eps=1e-6"
    ]
    assert found.stage == "block 0: attention"


def test_a_deviation_is_named_relative_to_what_is_declared() -> None:
    declared = Conventions(layer_norm_eps=1e-5, activation="gelu_tanh")
    found = diagnosis_of(Bare(DeviantAdapter(activation("gelu_tanh", vit.gelu), declared)))
    assert [cause.summary for cause in found.causes] == ["GELU by erf for the declared the tanh form of GELU"]


def test_a_final_norm_with_an_epsilon_of_its_own_is_named() -> None:
    def ending(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
        return representation(z, weights, config, replace(conventions, layer_norm_eps=1e-5))

    representation = vit.representation
    other = Rewriting(id="other", summary="", replaces={"vit.representation": ending})
    found = diagnosis_of(Bare(DeviantAdapter(other)))
    assert found.sentence == "matches the paper's ViT with the final LayerNorm's epsilon 1e-5 for the declared 1e-6"
    assert found.stage.startswith("the representation")


def activation(name: str, function: object) -> Rewriting:
    return Rewriting(id="other", summary="", replaces={"vit.ACTIVATIONS": {**vit.ACTIVATIONS, name: function}})


@pytest.mark.parametrize("name", ["attention-scale-twice", "gradient-attention-detached", "resize-axes-swapped"])
def test_logits_gradients_and_positions_each_lead_to_a_name(name: str) -> None:
    found = diagnosis_of(DeviantAdapter(BANK[name]))
    assert [cause.id for cause in found.causes] == [name]


def test_patch_tokens_reshaped_for_transposed_are_named() -> None:
    def reshaped(*given: Any) -> Tensor:
        tokens = patch_tokens(*given)
        batch, count, width = tokens.shape
        return tokens.transpose(1, 2).reshape(batch, -1, width)[:, :count]

    patch_tokens = vit.patch_tokens
    other = Rewriting(id="other", summary="", replaces={"vit.patch_tokens": reshaped})
    assert [cause.id for cause in diagnosis_of(Bare(DeviantAdapter(other))).causes] == ["patches-reshaped"]


@pytest.mark.parametrize("name", ["block-post-norm", "norm-final-missing"])
def test_torchs_epsilon_beside_another_deviation_is_come_to_early(name: str) -> None:
    """Nothing explains an answer by itself, and neither half is near."""
    pair = together(BANK[name], next(one for one in alternatives(Conventions()) if one.id == USUAL))
    assert pair is not None
    found = diagnosis_of(Bare(DeviantAdapter(pair)))
    assert {name, USUAL} in [set(cause.id.split(" + ")) for cause in found.causes]
    assert found.tried < 1000


def test_what_nobody_declared_is_called_assumed() -> None:
    adapter = DeviantAdapter(BANK["norm-epsilon-1e-5"])
    adapter.inferred = ("layer_norm_eps = 1e-06",)
    sentence = "matches the paper's ViT with LayerNorm epsilon 1e-5 for the assumed 1e-6"
    assert diagnosis_of(adapter).sentence == sentence


def test_taps_tell_apart_what_logits_cannot() -> None:
    found = diagnosis_of(DeviantAdapter(BANK["positions-column-major"]))
    assert [cause.id for cause in found.causes] == ["positions-column-major"]


class ShowsOther(Bare):
    """Its logits are those of a known deviation; what its blocks return is not: say, where tokens attend over the batch."""

    def block_outputs(self, model: Model, images: Tensor) -> list[Tensor]:
        return [2 * z for z in self._inner.block_outputs(model, images)]


def test_a_name_that_the_taps_do_not_bear_out_is_no_more_than_its_answers() -> None:
    causal = DeviantAdapter(BANK["attention-causal"])
    told = "matches the paper's ViT with a causal mask"
    assert diagnosis_of(causal).sentence == told
    assert (
        diagnosis_of(ShowsOther(causal)).sentence == f"{told}, in its answers, though not in the stages that it shows"
    )


def test_what_nothing_tells_apart_is_all_named() -> None:
    found = diagnosis_of(Bare(DeviantAdapter(BANK["patches-column-major"])))
    assert {cause.id for cause in found.causes} == {"patches-column-major", "positions-column-major"}
    assert found.sentence.endswith("(no answer tells these apart)")


def head_by(factor: Callable[[ViTConfig], float]) -> Rewriting:
    replaced = {"vit.head": lambda y, weights, config, *rest: head(y, weights, config, *rest) * factor(config)}
    return Rewriting(id="other", summary="", replaces=replaced)


@pytest.mark.parametrize("odd", [inf, -inf, nan])
def test_what_is_not_finite_agrees_with_its_like_alone(odd: float) -> None:
    def off(found: float) -> float:
        return relative_error(torch.tensor([1.0, found]), torch.tensor([1.0, odd]))

    assert off(odd) == 0
    assert [off(other) for other in (inf, -inf, nan, 1.0) if str(other) != str(odd)] == [inf] * 3


def test_what_fits_one_answer_and_not_another_is_no_cause() -> None:
    """Its first answers are those of a head that is divided by the root of D; at another size they are not."""
    candidate = Candidate(Bare(DeviantAdapter(head_by(lambda c: c.width**-0.5 if c.width == 8 else 0.9))))
    given = list(answers(candidate, questions(candidate, SUGGESTING, ["logits"])))
    found = search(given, list, [BANK["head-scaled"]], late=lambda: False)
    assert (found.causes, found.tried) == ([], 1)
    assert search(given[:1], list, [BANK["head-scaled"]], late=lambda: False).causes == [BANK["head-scaled"]]


def test_what_fits_one_round_and_not_the_other_is_not_named() -> None:
    hidden = {config.mlp_dim for config in (CONFIRMING.first, CONFIRMING.single)}
    found = diagnosis_of(Bare(DeviantAdapter(head_by(lambda c: 0.9 if c.mlp_dim in hidden else c.width**-0.5))))
    assert (found.causes, found.stage.startswith("the head")) == ([], True)


def test_no_deviation_is_looked_for_behind_float32() -> None:
    def single(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
        rounded = {name: weight.float() for name, weight in weights.items()}
        return layer_norm(x.float(), rounded, replace(conventions, layer_norm_eps=1e-3)).double()

    found = diagnosis_of(Bare(DeviantAdapter(Rewriting(id="other", summary="", replaces={"vit.layer_norm": single}))))
    assert (found.causes, found.tried) == ([], 0)
    assert found.sentence.endswith("; no deviation was tried")
    assert "it computes in float32 inside" in found.evidence


def test_a_defect_that_is_not_known_gets_a_stage_and_no_name() -> None:
    softened = activation("gelu", lambda x: vit.gelu(x) + 0.01 * torch.sin(x))
    found = diagnose(Candidate(DeviantAdapter(softened)), Failures(count=1, checks={}), budget_s=2)
    assert (found.causes, found.stage) == ([], "block 0: the MLP")
    assert "no single deviation known here has its answers" in found.sentence


def test_a_candidate_that_is_right_gets_no_name_and_no_stage() -> None:
    found = diagnosis_of(ReferenceAdapter())
    assert (found.causes, found.stage) == ((), "")
    assert found.sentence.startswith("none: it computes what the paper's ViT computes")


class Wavering(Bare):
    """Its answers alternate, whatever it is asked."""

    calls = 0

    def logits(self, model: Model, images: Tensor) -> Tensor:
        self.calls += 1
        return super().logits(model, images) * (1 + self.calls % 2)


def test_answers_that_do_not_repeat_are_not_compared() -> None:
    for adapter in (Wavering(ReferenceAdapter()), Bare(DeviantAdapter(NOISY))):
        found = diagnosis_of(adapter)
        assert (found.causes, found.stage) == ((), "")
        assert found.sentence.startswith("none: asked the same again, it answers otherwise")


NOISY = Rewriting(
    id="other", summary="", replaces={"vit.mlp": lambda z, *_: functional.dropout(z, p=0.1, training=True)}
)


def test_fixed_positions_are_named_by_the_gradient_that_they_lack() -> None:
    found = diagnosis_of(DeviantAdapter(BANK["positions-frozen"]))
    assert (found.sentence, found.stage) == (
        "matches the paper's ViT with position embeddings that are not learned",
        "the gradients (the logits agree)",
    )


def test_gradients_that_cannot_be_compared_are_said() -> None:
    """Dropout that is never switched off in training leaves the logits right, and tells nothing of the gradients."""
    found = diagnosis_of(DeviantAdapter(BANK["training-dropout-by-default"]))
    assert "asked for gradients, it has no answer: random in training mode" in found.sentence
    assert "what it fails may lie there" in found.sentence


def test_what_float32_inside_hides_is_said() -> None:
    single = activation("gelu", lambda x: vit.gelu(x.float()).double())
    assert "as far as the float32 inside it lets see" in diagnosis_of(Bare(DeviantAdapter(single))).sentence


def test_a_stage_that_may_hide_an_earlier_one_is_not_called_the_first() -> None:
    """Every LayerNorm is wrong here; by logits alone, each probe goes through the last."""
    wrong = Rewriting(
        id="other",
        summary="",
        replaces={"vit.layer_norm": lambda x, w, c: layer_norm(x, w, replace(c, layer_norm_eps=2e-6))},
    )
    assert str(place_of(DeviantAdapter(wrong))) == "block 0: attention"
    assert str(place_of(Bare(DeviantAdapter(wrong)))) == (
        "the representation (final LayerNorm and pooling) (an earlier one may too, which logits alone do not tell)"
    )


def test_a_stage_that_nothing_tells_is_not_made_up() -> None:
    """Only a pixel that is no number shows it, which no probe has."""
    hiding = Rewriting(id="other", summary="", replaces={"vit.patches": lambda x, c: patches(x.nan_to_num(nan=7.0), c)})
    assert stage_of(Bare(DeviantAdapter(hiding))) == ("the forward pass, where neither taps nor probes tell", "answers")


def test_no_stage_is_looked_for_when_the_time_is_over() -> None:
    found = place_of(Bare(DeviantAdapter(BANK["head-scaled"])), late=lambda: True)
    assert str(found) == "the forward pass, where neither taps nor probes tell"


def test_a_search_without_time_claims_nothing_of_what_is_known() -> None:
    ticks = iter(range(0, 100_000, 7))
    candidate = Candidate(DeviantAdapter(BANK["attention-sink"]))
    found = diagnose(candidate, Failures(count=1, checks={}), budget_s=100, clock=lambda: float(next(ticks)))
    assert found.tried == 0
    assert found.sentence.endswith("; no deviation was tried")


@pytest.mark.parametrize(("kind", "named"), [(None, []), ("bilinear", ["resize-bilinear"])])
def test_positions_resized_in_float32_are_not_taken_for_a_defect(kind: str | None, named: list[str]) -> None:
    """Of a model that takes other sizes, and shows no table: its logits alone say it."""

    class Single(Bare):
        def at_image_size(self, model: Model, image_size: tuple[int, int]) -> Model:
            def single(table: Tensor, grid: tuple[int, int], new: tuple[int, int], own: Any, **given: Any) -> Tensor:
                return resize(table.float(), grid, new, kind or own, **given).to(table.dtype)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(vit, "resize_position_embedding", single)
                return self._inner.at_image_size(model, image_size)

    resize = vit.resize_position_embedding
    found = diagnosis_of(Single(ReferenceAdapter()))
    assert [cause.id for cause in found.causes] == named


def test_the_search_ends_when_its_time_is_over() -> None:
    ticks = iter(range(100_000))
    candidate = Candidate(DeviantAdapter(BANK["attention-sink"]))
    found = diagnose(candidate, Failures(count=1, checks={}), budget_s=100, clock=lambda: float(next(ticks)))
    assert (found.out_of_time, found.causes, found.budget_s) == (True, [], 100)
    assert "then the time was over" in found.evidence


def test_every_deviation_within_parity_says_what_to_change() -> None:
    silent = [d.id for d in BANK.values() if applies(REQUIREMENTS[d.breaks]) and not d.remedy]
    assert sorted(silent) == sorted(UNSEEN)


UNSEEN = (
    # What they refuse shows it, or what they accept, and nothing that they compute of images that fit.
    *("patch-channels-cut", "patch-grey-repeated", "patches-cropped", "patches-one-short"),
    *("images-square-only", "patches-square-only", "resize-square-assumed"),
    # Dropout shows it, a second change of size, a step of training, or another dtype.
    *("gradient-forgets-dropout", "gradient-forgets-drop-path", "resized-without-dropout", "resized-without-drop-path"),
    *("resized-first-grid-remembered", "resized-frozen", "resized-half-promoted"),
)


def test_every_deviation_that_is_tried_has_a_sentence_and_a_remedy() -> None:
    for one in known(Conventions()):
        assert one.summary, one.id
        assert one.remedy, one.id


@pytest.mark.parametrize("declared", [Conventions(), Conventions(layer_norm_eps=1e-12, qkv_bias=False, pre_norm=True)])
def test_no_convention_is_offered_that_is_declared(declared: Conventions) -> None:
    ids = [one.id for one in alternatives(declared)]
    assert len(ids) == len(set(ids))
    assert ("norm-epsilon-1e-12" in ids) == (declared.layer_norm_eps != 1e-12)
    assert ("pre-norm-undeclared" in ids) is not declared.pre_norm


def test_two_deviations_of_one_function_are_not_put_together() -> None:
    assert together(BANK["attention-causal"], BANK["attention-softmax-axis"]) is None


def test_two_changes_of_weights_are_put_together() -> None:
    both = together(BANK["query-bias-missing"], BANK["mlp-first-bias-missing"])
    assert both is not None
    assert both.remedy.count("check that load() fills it") == 2
