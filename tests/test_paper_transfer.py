"""The study of transfer: what it reports, that it repeats itself, and that a killed one ends as one that was not."""

from collections.abc import Iterator
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitbench import cell as cell_process
from vitbench.adapter import Adapter
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.datasets import Dataset, Labelled, dataset
from vitbench.errors import UsageError
from vitbench.options import Options, parse
from vitbench.plan import Cell, plan
from vitbench.records import Outcome, StudyRecord
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.recipes import Recipe
from vitbench.results import from_line
from vitbench.steps import Steps, steps_of
from vitbench.study import Scalar
from vitbench.suites.paper.transfer import design as sizes
from vitbench.suites.paper.transfer import measure as transfer
from vitbench.suites.paper.transfer.design import DESIGNS, Design, config, tasks

pytest.importorskip("sklearn")
pytestmark = pytest.mark.usefixtures("one_thread", "small")

SMALL = Design(width=16, depth=1, seeds=2, steps=20, batch=16, fine_steps=10, fine_batch=8, fine_images=40)
CELL = Cell(suite="paper/transfer", implementation="reference", dtype="float32", time_limit_s=100)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sizes.DESIGNS, "quick", SMALL)


def figures(record: StudyRecord) -> dict[str, Scalar]:
    return {scalar.name: scalar for scalar in record.scalars}


def ran(cell: Cell, folder: Path) -> StudyRecord:
    """The record that the cell's process would write."""
    file = folder / "results.jsonl"
    assert cell_process.run(cell, file) == 0
    (record,) = [from_line(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert isinstance(record, StudyRecord)
    return record


def test_accuracy_begins_at_chance_and_is_reported_beside_training_from_scratch(whole: StudyRecord) -> None:
    record, found, data = whole, figures(whole), dataset()
    first_class = data.test.of_classes(range(6, 10)).labels.eq(0).double().mean().item()
    assert found["accuracy at step 0"].value == pytest.approx(first_class)
    assert found["loss at step 0"].value == pytest.approx(log(4), abs=1e-6)
    assert (record.seeds, record.outcome, len(record.curves)) == ([0, 1], Outcome.MEASURED, 3)
    assert record.data.startswith("digits: 1297 + 500 images of 8×8, 10 classes, digest ")
    gain = found["gain over training from scratch"]
    both = found["accuracy after fine-tuning"].value, found["accuracy from scratch"].value
    assert gain.value == pytest.approx(both[0] - both[1])
    assert all(scalar.seeds == 2 and scalar.low is not None for scalar in record.scalars)
    assert record.settings["pre-training head"] == "one hidden layer"


def test_two_runs_are_the_same_to_the_bit_and_another_seed_is_another(tmp_path: Path, whole: StudyRecord) -> None:
    records = [transfer.measure(replace(CELL, seed=seed), tmp_path / f"{seed}.jsonl") for seed in (0, 1)]
    first, same, other = ((record.scalars, record.curves) for record in (whole, *records))
    assert steps_of(tmp_path / "0.jsonl") == (80, 80)
    assert first == same
    assert first != other


def test_models_are_taught_training_images_and_judged_by_unseen_ones_at_the_right_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sizes.DESIGNS, "quick", replace(SMALL, seeds=1, steps=1, fine_steps=1))
    taught, judged = list[tuple[str, Labelled]](), list[Labelled]()
    teach = transfer.teach

    def teaching(learner: Any, data: Labelled, recipe: Recipe, seed: int, **rest: Any) -> Any:
        taught.append((recipe.optimizer, data))
        return teach(learner, data, recipe, seed, **rest)

    def judging(logits: Any, data: Labelled) -> float:
        assert logits(data.images[:1]).shape[0] == 1  # of images of this size
        judged.append(data)
        return 0.5

    monkeypatch.setattr(transfer, "teach", teaching)
    monkeypatch.setattr(transfer, "accuracy", judging)
    transfer.measure(CELL, tmp_path / "results.jsonl")

    data = dataset()
    found = tasks(data, 1, "cpu")
    (adam, first), (sgd, few), (again, same) = taught
    assert (adam, sgd, again) == ("adam", "sgd", "adam")
    assert torch.equal(first.images, data.train.of_classes(range(6)).images)
    assert len(few) == SMALL.fine_images
    assert torch.equal(few.images, same.images)
    assert contents(few) <= contents(data.train.of_classes(range(6, 10)).resized((12, 12)))
    assert not contents(found.downstream.train) & contents(found.downstream.test)
    others, enlarged = (data.test.of_classes(part).resized((12, 12)) for part in (range(6, 10), range(6)))
    expected = [others, data.test.of_classes(range(6)), enlarged, others, others]
    assert [torch.equal(one.images, other.images) for one, other in zip(judged, expected, strict=True)] == [True] * 5


def contents(data: Labelled) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.images}


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    """The study of CELL, uninterrupted."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sizes.DESIGNS, "quick", SMALL)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        record = transfer.measure(CELL, tmp_path_factory.mktemp("whole") / "results.jsonl")
        torch.set_num_threads(threads)
    return record


@pytest.mark.parametrize("after", [7, 27, 78])  # in pre-training; in fine-tuning; from scratch, of the second seed
def test_a_study_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: StudyRecord, after: int
) -> None:
    kept = replace(CELL, keep=str(tmp_path / "training" / "states"))
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
            transfer.measure(kept, tmp_path / "killed.jsonl")
    assert list((tmp_path / "training" / "states").iterdir())
    resumed = transfer.measure(kept, tmp_path / "resumed.jsonl")
    assert (resumed.scalars, resumed.curves) == (whole.scalars, whole.curves)
    assert not (tmp_path / "training").exists()  # of no use any more


class Diverging(ReferenceAdapter):
    """Its loss is no number at some of the steps that it is trained, counted over all seeds."""

    bad_steps: range = range(0)
    steps = 0

    def logits(self, model: Any, images: Tensor) -> Tensor:
        answer: Tensor = model(images)
        if model.training:
            Diverging.steps += 1
            if Diverging.steps in self.bad_steps:
                return answer * float("nan")
        return answer


def given(monkeypatch: pytest.MonkeyPatch, adapter: Adapter) -> None:
    monkeypatch.setattr(transfer, "resolve", lambda _name: adapter)


def test_a_seed_that_diverges_is_stopped_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Diverging, "steps", 0)
    monkeypatch.setattr(Diverging, "bad_steps", range(5, 6))
    given(monkeypatch, Diverging())
    record = ran(CELL, tmp_path)
    assert (record.outcome, record.seeds) == (Outcome.MEASURED, [1])
    assert list(record.notes) == [
        "seed 0: the loss is nan at step 5 of 20; training stopped there; its figures are left out"
    ]


def test_a_study_that_diverges_with_every_seed_is_recorded_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Diverging, "steps", 0)
    monkeypatch.setattr(Diverging, "bad_steps", range(1, 1000))
    given(monkeypatch, Diverging())
    record = ran(CELL, tmp_path)
    assert (record.outcome, record.reason) == (
        Outcome.FAILED,
        "the loss is nan at step 1 of 20; training stopped there",
    )


def test_a_candidate_that_cannot_change_its_image_size_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fixed(Adapter):
        name = "fixed"
        build, load, export = ReferenceAdapter().build, ReferenceAdapter().load, ReferenceAdapter().export

    given(monkeypatch, Fixed())
    record = ran(CELL, tmp_path)
    assert (record.outcome, record.reason) == (Outcome.NOT_SUPPORTED, "fixed has no at_image_size()")


def test_data_that_cannot_be_read_fail_the_cell_with_their_reason(tmp_path: Path) -> None:
    record = ran(replace(CELL, data=str(tmp_path)), tmp_path)
    assert record.outcome == Outcome.FAILED
    assert "has no training images: none of train-images-idx3-ubyte" in record.reason


def test_fine_tuning_begins_with_the_pre_trained_weights_and_resized_positions() -> None:
    found, candidate = tasks(dataset(), 1, "cpu"), Candidate(ReferenceAdapter())
    model = config(SMALL, dataset(), candidate)
    learner = transfer.ViTLearner(candidate, model, 0, pretraining=True)
    larger = learner.with_new_head(4, found.downstream.image_size)
    before, after = learner.exported(), larger.exported()
    assert (found.upstream.image_size, found.downstream.image_size, found.patch_size) == ((8, 8), (12, 12), (2, 2))
    table = resize_position_embedding(before["position_embedding"], (4, 4), (6, 6), "bilinear_corners")
    assert torch.equal(after["position_embedding"], table)
    changed = {name for name in after if name not in before or not torch.equal(before[name], after[name])}
    assert changed == {"position_embedding", "head.weight", "head.bias"} - {
        name for name in ("head.weight", "head.bias") if torch.equal(before[name], after[name])
    }


def images(side: int, classes: int) -> Dataset:
    part = Labelled(torch.zeros(20, 1, side, side), torch.arange(20) % classes)
    return Dataset("made", classes, part, part, "")


@pytest.mark.parametrize(
    ("side", "expected"),
    [(8, (8, 12, 2)), (16, (16, 24, 2)), (28, (14, 28, 2)), (33, (16, 32, 2)), (64, (32, 64, 4)), (6, (6, 8, 2))],
)
def test_small_images_are_enlarged_and_large_ones_halved_before(side: int, expected: tuple[int, int, int]) -> None:
    found = tasks(images(side, 5), 3, "cpu")
    assert (found.upstream.image_size[0], found.downstream.image_size[1], found.patch_size[0]) == expected
    assert found.downstream.train.images.shape[1] == 3
    assert (found.upstream.classes, found.downstream.classes) == (3, 2)


@pytest.mark.parametrize(("side", "classes", "message"), [(8, 3, "takes four or more"), (3, 10, "too small to be cut")])
def test_data_that_do_not_suffice_say_so(side: int, classes: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tasks(images(side, classes), 1, "cpu")


@pytest.fixture
def idx_files(tmp_path: Path) -> Iterator[Path]:
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte.gz").write_bytes(b"")
    return tmp_path


def test_the_folder_named_by_data_reaches_every_cell_and_its_key(idx_files: Path) -> None:
    options = parse(["--suite", "paper/transfer", "--impl", "reference", "--data", str(idx_files)])
    (cell,) = plan(options)
    assert cell.data == str(idx_files.resolve())
    assert cell.key.endswith(f"seed=0 data={idx_files.name}")


def test_a_folder_without_the_files_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no training images: none of train-images-idx3-ubyte, "):
        parse(["--suite", "paper/transfer", "--data", str(tmp_path)])


def test_data_for_suites_that_take_none_are_a_usage_error(idx_files: Path) -> None:
    with pytest.raises(UsageError, match=r"--data is for paper/"):
        parse(["--suite", "throughput", "--data", str(idx_files)])


def test_each_implementation_is_a_cell_and_larger_presets_train_longer() -> None:
    cells = plan(Options(implementations=("reference", "timm"), named=True, suites=("paper/transfer",)))
    assert [cell.implementation for cell in cells] == ["reference", "timm"]
    steps = [DESIGNS[preset].all_steps for preset in ("quick", "standard", "full")]
    assert steps == sorted(steps)
    for design in DESIGNS.values():
        assert design.pretraining.optimizer == design.from_scratch.optimizer == "adam"
        assert design.fine_tuning.optimizer == "sgd"
