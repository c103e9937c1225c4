"""The study of data sizes: where models cross, by hand; and that it repeats itself, killed or not."""

from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vitbench import cell as cell_process
from vitbench.adapter import Adapter
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.datasets import Labelled, dataset
from vitbench.errors import OutputCut
from vitbench.options import Options
from vitbench.plan import Cell, plan
from vitbench.records import Outcome, StudyRecord
from vitbench.reference.cost import parameter_count
from vitbench.reference.recipes import Recipe
from vitbench.results import from_line
from vitbench.steps import Steps, steps_of
from vitbench.suites.paper.data_scaling import measure as scaling
from vitbench.suites.paper.data_scaling.crossing import crossing, overtaken
from vitbench.suites.paper.data_scaling.design import DESIGNS, DRAWS, Design, tasks, vits
from vitbench.suites.paper.data_scaling.findings import CHARTS, arrays, crossings, curves, with_the_most

pytestmark = pytest.mark.usefixtures("one_thread", "small")

SMALL = Design(
    vits=((16, 1),),
    resnets=("R8x1/8",),
    sizes=(20, 80),
    seeds=2,
    steps=10,
    batch=8,
    fine_steps=4,
    fine_batch=8,
    fine_images=20,
)
CELL = Cell(suite="paper/data_scaling", implementation="reference", dtype="float32", time_limit_s=100)
VIT, RESNET = "ViT 16×1", "R8x1/8"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DESIGNS, "quick", SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    """The study of CELL, uninterrupted."""
    pytest.importorskip("sklearn")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(DESIGNS, "quick", SMALL)
        record = scaling.measure(CELL, tmp_path_factory.mktemp("whole") / "results.jsonl")
    torch.set_num_threads(threads)
    return record


# --- crossings, by hand ----------------------------------------------------------------------------------------


def test_a_crossing_lies_between_two_sizes_on_a_logarithmic_scale() -> None:
    assert overtaken([100, 10_000], [-0.1, 0.1]) == pytest.approx(1000)
    assert overtaken([100, 10_000], [-0.3, 0.1]) == pytest.approx(100 * 10**1.5)
    assert overtaken([10, 100, 1000], [-0.1, 0.0, 0.2]) == pytest.approx(100)


def test_the_last_crossing_counts() -> None:
    assert overtaken([1, 10, 100, 1000], [-0.1, 0.1, -0.1, 0.1]) == pytest.approx(100 * 10**0.5)


@pytest.mark.parametrize("differences", [[0.1, 0.2], [-0.1, -0.2], [0.1, -0.1], [0.0, 0.0]])
def test_without_a_change_of_the_lead_for_good_there_is_no_crossing(differences: list[float]) -> None:
    assert overtaken([10, 100], differences) is None


def test_seeds_that_agree_give_a_crossing_with_a_narrow_interval() -> None:
    first, second = [[0.5, 0.6, 0.4], [0.9, 0.8, 0.7]], [[0.6, 0.7, 0.5], [0.8, 0.7, 0.6]]
    found = crossing([100, 10_000], first, second)  # behind by 0.1, then ahead by 0.1, with every seed
    assert (found.size, found.low, found.high) == pytest.approx((1000, 1000, 1000))
    assert found.resamples == 1.0


def test_the_interval_holds_95_percent_of_the_resamples() -> None:
    """Of three seeds one is drawn three times in 1 of 27 resamples: more than 2.5 %, less than 12.5 %."""
    first, second = [[0.0] * 3, [0.1, 0.2, 0.4]], [[0.1] * 3, [0.0] * 3]  # behind by 0.1, then ahead by so much
    found = crossing([100, 10_000], first, second)
    assert found.size == pytest.approx(100 * 100 ** (0.1 / (0.1 + 0.7 / 3)))
    assert (found.low, found.high) == (pytest.approx(100 * 100**0.2), pytest.approx(100 * 100**0.5))


def test_an_interval_is_told_from_95_percent_of_crossing_resamples_on() -> None:
    """Of five seeds one is ahead throughout; drawn thrice or more (5.8 %), it leaves nothing to cross."""
    first, second = [[0.0] * 4 + [0.2], [0.2] * 5], [[0.1] * 5, [0.1] * 5]
    found = crossing([100, 10_000], first, second)
    assert found.size is not None
    assert (found.low, found.high) == (None, None)
    assert found.resamples == pytest.approx(0.942, abs=0.007)


def test_seeds_that_disagree_give_a_crossing_without_interval_and_say_how_many_cross() -> None:
    first, second = [[0.2, 0.9], [0.9, 0.9]], [[0.6, 0.6], [0.8, 0.8]]
    found = crossing([100, 10_000], first, second)  # the second seed is ahead throughout
    assert found.size is not None
    assert (found.low, found.high) == (None, None)
    assert found.resamples == pytest.approx(0.75, abs=0.05)  # all but those that draw the second seed twice
    assert found == crossing([100, 10_000], first, second)


def test_one_seed_has_no_interval() -> None:
    found = crossing([100, 10_000], [[0.1], [0.3]], [[0.2], [0.2]])
    assert (found.size, found.low, found.high) == (pytest.approx(1000), None, None)


SCORES = {
    "few_shot": {"ViT": [[0.4, 0.5], [0.8, 0.9]], "R": [[0.6, 0.7], [0.6, 0.7]], "S": [[0.1, 0.1], [0.1, 0.1]]},
    "fine_tuned": {"ViT": [[0.4, nan], [0.8, 0.9]], "R": [[0.9, 0.9], [0.9, 0.95]], "S": [[0.1, 0.1], [0.1, 0.1]]},
}


def test_each_pair_that_crosses_is_a_figure_and_the_others_are_told_in_words() -> None:
    found, apart = crossings(SCORES, [100, 10_000], ["ViT"], ["R", "S"])
    (figure,) = found
    assert (figure.name, figure.series) == ("Linear few-shot accuracy: no worse from", "ViT than R")
    assert (figure.value, figure.unit, figure.seeds) == (pytest.approx(1000), "images", 2)
    assert apart == [
        "Linear few-shot accuracy, no crossing between the sizes measured, ahead in the mean with the most images: ViT over S"
    ]


def test_a_run_without_figure_is_left_out_of_its_mean_and_kept_as_a_gap_in_the_array() -> None:
    lines = {(curve.name, curve.series): curve for curve in curves(SCORES, [100, 10_000], 4)}
    assert list(lines[CHARTS["fine_tuned"], "ViT"].y) == pytest.approx([0.4, 0.85])
    assert list(lines[CHARTS["few_shot"], "R"].y) == pytest.approx([0.65, 0.65])
    packed = {(array.name, array.series): array for array in arrays(SCORES, [100, 10_000], [0, 1])}
    numbers = packed[CHARTS["fine_tuned"], "ViT"].numbers
    assert numbers[0] == pytest.approx(0.4)
    assert isnan(numbers[1])
    assert [scalar.series for scalar in with_the_most(SCORES, [100, 10_000])] == ["ViT", "R", "S"] * 2


# --- the study -------------------------------------------------------------------------------------------------


def test_every_model_has_a_curve_over_the_subsets_in_each_chart(whole: StudyRecord) -> None:
    assert {(curve.name, curve.series) for curve in whole.curves} == {
        (chart, model) for chart in CHARTS.values() for model in (VIT, RESNET)
    }
    assert all(list(curve.x) == [20, 80] and curve.seeds == 2 for curve in whole.curves)
    assert all(0 <= share <= 1 for curve in whole.curves for share in (*curve.y, *curve.low, *curve.high))
    few_shot = next(curve for curve in whole.curves if "few-shot" in curve.name)
    assert min(few_shot.y) > 0.35  # chance is 0.25
    for curve in whole.curves:
        array = next(one for one in whole.arrays if (one.name, one.series) == (curve.name, curve.series))
        assert np.reshape(array.numbers, (2, 2)).mean(axis=1) == pytest.approx(list(curve.y), abs=1e-6)


def test_the_record_says_what_was_trained_on_what(whole: StudyRecord) -> None:
    assert (whole.outcome, list(whole.seeds), list(whole.missing)) == (Outcome.MEASURED, [0, 1], [])
    assert whole.settings["image"] == "16×16"
    assert whole.settings[f"parameters of {RESNET}"] == 9170 - 2 * 49 * 8 - 4 * 65  # grey images, six classes
    assert whole.data.startswith("digits: ")
    linear = vits(SMALL, Candidate(ReferenceAdapter()), dataset())[VIT]
    assert whole.settings[f"parameters of {VIT}"] == parameter_count(replace(linear, head="mlp"))  # section 3.1's head


def test_two_studies_are_the_same_to_the_bit_and_another_seed_is_another(tmp_path: Path, whole: StudyRecord) -> None:
    same, other = (scaling.measure(replace(CELL, seed=seed), tmp_path / f"{seed}.jsonl") for seed in (0, 1))
    assert (same.curves, same.arrays, same.scalars) == (whole.curves, whole.arrays, whole.scalars)
    assert same.arrays != other.arrays
    assert steps_of(tmp_path / "0.jsonl") == (112, 112)


def contents(data: Labelled) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.images}


def test_models_are_taught_training_images_and_judged_by_unseen_ones_of_the_right_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setitem(DESIGNS, "quick", replace(SMALL, steps=1, fine_steps=1))
    taught: dict[tuple[str, int, int], list[set[bytes]]] = {}
    judged, shown = list[set[bytes]](), list[Labelled]()
    teach, few = scaling.teach, scaling.few

    def teaching(learner: Any, data: Labelled, recipe: Recipe, seed: int, **rest: Any) -> Any:
        taught.setdefault((recipe.optimizer, len(data), seed), []).append(contents(data))
        return teach(learner, data, recipe, seed, **rest)

    monkeypatch.setattr(scaling, "teach", teaching)
    monkeypatch.setattr(scaling, "accuracy", lambda _logits, data: judged.append(contents(data)) or 0.5)
    monkeypatch.setattr(scaling, "few", lambda data, *rest: shown.append(data) or few(data, *rest))
    scaling.measure(CELL, tmp_path / "results.jsonl")

    found = tasks(dataset(), 1, "cpu")
    first, others = found.upstream, found.downstream
    seen = contents(first.train) | contents(others.train)
    assert not seen & (contents(first.test) | contents(others.test))
    assert not contents(first.train) & contents(others.train)
    assert judged == [contents(first.test), contents(others.test)] * 8
    assert all(torch.equal(data.images, others.train.images) for data in shown)
    assert len(shown) == 8 * DRAWS
    assert set(taught) == {
        ("adam", 20, 0),
        ("adam", 20, 1),
        ("adam", 80, 0),
        ("adam", 80, 1),
        ("sgd", 20, 0),
        ("sgd", 20, 1),
    }
    for (optimizer, _, _), each in taught.items():
        assert all(one == each[0] for one in each)  # every model is taught the same
        assert each[0] <= contents(first.train if optimizer == "adam" else others.train)
    assert taught["adam", 20, 0][0] < taught["adam", 80, 0][0]
    assert taught["adam", 20, 0] != taught["adam", 20, 1]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [3, 12, 61])  # in pre-training, in fine-tuning, with the second seed
def test_a_study_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: StudyRecord, after: int
) -> None:
    kept = replace(CELL, keep=str(tmp_path / "states"))
    trained: list[int] = []
    real = Steps.advance

    def dying(steps: Steps, count: int = 1) -> None:
        trained.append(count)
        if sum(trained) >= after:
            raise Killed
        real(steps, count)

    with monkeypatch.context() as patched:
        patched.setattr(Steps, "advance", dying)
        with pytest.raises((Killed, CandidateRaised)):
            scaling.measure(kept, tmp_path / "killed.jsonl")
    assert list((tmp_path / "states").iterdir())
    again: list[int] = []
    taught = scaling.teach
    monkeypatch.setattr(scaling, "teach", lambda *a, **k: again.append(1) or taught(*a, **k))
    resumed = scaling.measure(kept, tmp_path / "resumed.jsonl")
    assert (resumed.scalars, resumed.curves, resumed.arrays) == (whole.scalars, whole.curves, whole.arrays)
    assert len(again) == 2 * (8 - after // 14)  # what was finished is not trained again
    assert not (tmp_path / "states").exists()


def test_figures_kept_by_another_study_or_damaged_are_not_used(tmp_path: Path, whole: StudyRecord) -> None:
    for text in ('{"mark": "other", "scores": [], "notes": []}', "{", "[]", '{"mark": 1}'):
        (tmp_path / "scores.json").write_text(text, encoding="utf-8")
        assert scaling._Finished.read(tmp_path, "this").scores == {}
    (tmp_path / "scores.json").write_text('{"mark": "this", "scores": [["a", 1]], "notes": []}', encoding="utf-8")
    assert scaling._Finished.read(tmp_path, "this").scores == {}


def ran(cell: Cell, folder: Path) -> StudyRecord:
    file = folder / "results.jsonl"
    assert cell_process.run(cell, file) == 0
    (record,) = [from_line(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert isinstance(record, StudyRecord)
    return record


def test_a_candidate_without_representation_is_fine_tuned_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: StudyRecord
) -> None:
    class Closed(ReferenceAdapter):
        name = "closed"
        representation = Adapter.representation

    monkeypatch.setattr(scaling, "resolve", lambda _name: Closed())
    record = ran(CELL, tmp_path)
    ((what, hook),) = {(part.what, part.hook) for part in record.missing}
    assert (what, hook) == ("linear few-shot accuracy", "representation")
    charts = {(curve.name, curve.series) for curve in record.curves}
    assert (CHARTS["few_shot"], VIT) not in charts
    assert {(CHARTS["few_shot"], RESNET), (CHARTS["fine_tuned"], VIT)} <= charts


def test_a_representation_that_is_no_number_is_named_and_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: StudyRecord
) -> None:
    class Poisoned(ReferenceAdapter):
        def representation(self, model: Any, images: Tensor) -> Tensor:
            return super().representation(model, images) * nan

    monkeypatch.setattr(scaling, "resolve", lambda _name: Poisoned())
    record = ran(CELL, tmp_path)
    ((hook, reason),) = {(part.hook, part.reason) for part in record.missing}
    assert (hook, reason.partition(";")[0]) == (
        "representation",
        "ViT 16×1, 20 images, seed 0: the representation holds NaN or infinity",
    )
    assert record.curves == [curve for curve in whole.curves if (curve.name, curve.series) != (CHARTS["few_shot"], VIT)]


def test_what_cannot_be_kept_fails_the_cell_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    finished = scaling._Finished.read(tmp_path, "this")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputCut, match=r"found so far in .*scores.json: No space left on device"):
        finished.add((VIT, 20, 0), scaling.Scores())


def test_what_was_not_shown_is_known_after_a_stop(tmp_path: Path) -> None:
    finished = scaling._Finished.read(tmp_path, "this")
    finished.not_shown.append("closed offers no representation()")
    finished.add((VIT, 20, 0), scaling.Scores(upstream=0.5))
    again = scaling._Finished.read(tmp_path, "this")
    assert again.not_shown == ["closed offers no representation()"]
    assert list(again.scores) == [(VIT, 20, 0)]


def test_a_training_that_diverges_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: StudyRecord
) -> None:
    steps: list[int] = []

    class Diverging(ReferenceAdapter):
        def logits(self, model: Any, images: Tensor) -> Tensor:
            answer: Tensor = model(images)
            steps.extend([1] * model.training)
            return answer * float("nan") if model.training and len(steps) == 3 else answer

    monkeypatch.setattr(scaling, "resolve", lambda _name: Diverging())
    record = ran(CELL, tmp_path)
    assert record.notes[0] == (
        "ViT 16×1, 20 images, seed 0: the loss is nan at step 3 of 10; training stopped there; its figures are left out"
    )
    first = next(one for one in record.arrays if (one.name, one.series) == (CHARTS["upstream"], VIT)).numbers
    assert [isnan(number) for number in first] == [True, False, False, False]


def test_a_candidate_that_cannot_be_fine_tuned_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: StudyRecord
) -> None:
    class Bare(Adapter):
        name = "bare"
        build, load = ReferenceAdapter().build, ReferenceAdapter().load

    monkeypatch.setattr(scaling, "resolve", lambda _name: Bare())
    record = ran(CELL, tmp_path)
    assert (record.outcome, record.reason) == (Outcome.NOT_SUPPORTED, "bare has no export()")


def test_the_reference_stands_alone_unless_implementations_are_named() -> None:
    options = Options(implementations=("reference", "timm"), named=False, suites=("paper/data_scaling",))
    assert [cell.implementation for cell in plan(options)] == ["reference"]
    assert [cell.implementation for cell in plan(replace(options, named=True))] == ["reference", "timm"]


def test_a_model_is_named_by_the_sizes_that_it_has() -> None:
    class Wider(ReferenceAdapter):
        configs = (replace(vits(SMALL, Candidate(ReferenceAdapter()), dataset())[VIT], width=24, depth=2),)

    pytest.importorskip("sklearn")
    ((name, config),) = vits(SMALL, Candidate(Wider()), dataset()).items()
    assert (name, config.width) == ("ViT 24×2", 24)


def test_subsets_beyond_what_there_is_become_all_there_is() -> None:
    assert SMALL.subsets(50) == (20, 50)
    assert SMALL.subsets(10) == (10,)
    assert SMALL.subsets(999) == (20, 80)
    for design in DESIGNS.values():
        assert (len(design.vits), len(design.resnets)) in ((3, 2), (1, 1))
