"""One cell of data sizes: setup, what each model gives with each subset and seed, and curves over them."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan, nan
from pathlib import Path

import torch

from vitbench.candidate import Candidate
from vitbench.datasets import Dataset, Labelled, dataset
from vitbench.environment import device_name
from vitbench.errors import NotSupported, OutputCut, RequirementFailed
from vitbench.few_shot import few, linear_accuracy
from vitbench.learner import Learner, require_hooks, teach
from vitbench.measurement import study
from vitbench.plan import Cell
from vitbench.records import Outcome, StudyRecord
from vitbench.reference.recipes import Recipe
from vitbench.registry import resolve
from vitbench.steps import Steps
from vitbench.study import Missing
from vitbench.suites.paper.data_scaling.design import (
    DESIGNS,
    DRAWS,
    SHOTS,
    Build,
    Design,
    Tasks,
    described,
    models,
    tasks,
    vits,
)
from vitbench.suites.paper.data_scaling.findings import arrays, crossings, curves, with_the_most
from vitbench.training import TrainingDiverged, accuracy, forget

Point = tuple[str, int, int]
"""Model, images to pre-train on, seed."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Accuracies on test images of one model, pre-trained on one subset; NaN where there is none."""

    upstream: float = nan  # of the classes it was pre-trained on
    few_shot: float = nan  # of others, by linear regression on its frozen representation
    fine_tuned: float = nan  # of these, after fine-tuning


@dataclass(frozen=True, eq=False)
class _Finished:
    """What was found so far, kept in a file so that a study that was stopped goes on from there."""

    file: Path | None
    mark: str
    scores: dict[Point, Scores]
    notes: list[str]
    not_shown: list[str]  # why representations could not be regressed on

    @classmethod
    def read(cls, folder: Path | None, mark: str) -> "_Finished":
        """What the file has, if it is of this very study."""
        file = None if folder is None else folder / "scores.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
            if kept.get("mark") == mark:
                scores = {(name, size, seed): Scores(**found) for name, size, seed, found in kept["scores"]}
                return cls(file, mark, scores, list(kept["notes"]), list(kept["not_shown"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):  # not there, or damaged
            pass
        return cls(file, mark, {}, [], [])

    def add(self, point: Point, scores: Scores) -> None:
        """Keep one more.

        Raises:
            OutputCut: it cannot be kept.
        """
        self.scores[point] = scores
        if self.file is None:
            return
        kept = {
            "mark": self.mark,
            "scores": [[*at, asdict(one)] for at, one in self.scores.items()],
            "notes": self.notes,
            "not_shown": self.not_shown,
        }
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(".part")
            part.write_text(json.dumps(kept), encoding="utf-8")
            part.replace(self.file)
        except OSError as error:
            raise OutputCut(
                f"cannot keep what a study found so far in {self.file}: {error.strerror or error}"
            ) from error


def measure(cell: Cell, results: Path) -> StudyRecord:
    """Pre-train every model on every subset, with every seed.

    Raises:
        NotSupported: the candidate cannot be trained, or not be given another head.
        TrainingDiverged: every training.
        DataUnusable: there are no images.
    """
    started = time.monotonic()
    # axes
    design, data = DESIGNS[cell.preset], dataset(cell.data)
    seeds = range(cell.seed, cell.seed + design.seeds)

    # setup
    torch.set_num_threads(cell.threads)
    candidate = Candidate(resolve(cell.implementation), cell.device)
    require_hooks(candidate, "export")
    configs = vits(design, candidate, data)
    found = tasks(data, next(iter(configs.values())).channels, cell.device)
    sizes, built = design.subsets(len(found.upstream.train)), models(design, candidate, configs, found)
    parameters = {name: sum(one.numel() for one in build(0).module.parameters()) for name, build in built.items()}
    finished = _Finished.read(Path(cell.keep) if cell.keep else None, _mark(cell, design, data, candidate))
    counted = Steps(results, len(built) * len(sizes) * len(seeds) * (design.steps + design.fine_steps))

    # what is measured
    experiment = _Experiment(design, found, finished, counted.advance, Path(cell.keep) if cell.keep else None)
    for seed in seeds:
        for size in sizes:
            for name, build in built.items():
                experiment.run((name, size, seed), build)
    experiment.require_any()
    forget(cell.keep)

    scores = {
        metric: {
            name: [[getattr(finished.scores[name, size, seed], metric) for seed in seeds] for size in sizes]
            for name in built
        }
        for metric in asdict(Scores())
    }
    compared, uncrossed = crossings(scores, sizes, list(configs), list(design.resnets))
    return study(
        cell,
        Outcome.MEASURED,
        implementation=candidate.name,
        version=candidate.version,
        device_name=device_name(cell.device),
        data=f"{data}, digest {data.digest}",
        seeds=list(seeds),
        settings=described(design, found, parameters),
        scalars=[*compared, *with_the_most(scores, sizes)],
        curves=curves(scores, sizes, found.downstream.classes),
        arrays=arrays(scores, sizes, list(seeds)),
        missing=experiment.missing(),
        notes=[*finished.notes, *uncrossed],
        duration_s=time.monotonic() - started,
    )


class _Experiment:
    """One model, one subset, one seed: pre-train, judge, regress, fine-tune."""

    def __init__(
        self, design: Design, found: Tasks, finished: _Finished, advance: Callable[[int], None], keep: Path | None
    ) -> None:
        self.design, self.found, self.finished, self.advance, self.keep = design, found, finished, advance, keep

    def run(self, point: Point, build: Build) -> None:
        """Find the scores of one point, unless they are known."""
        steps = self.design.steps + self.design.fine_steps
        if point in self.finished.scores:
            self.advance(steps)
            return
        try:
            scores = self._scores(point, build)
        except TrainingDiverged as error:
            self.finished.notes.append(f"{_said(point)}: {error}; its figures are left out")
            scores = Scores()
        self.finished.add(point, scores)
        if self.keep is not None:
            for state in self.keep.glob("*.safetensors"):
                state.unlink()

    def _scores(self, point: Point, build: Build) -> Scores:
        _, size, seed = point
        upstream, downstream = self.found.upstream, self.found.downstream
        learner = build(seed)
        self._taught(learner, upstream.train.first_of(size, seed), self.design.pretraining, seed, "pretraining")
        scores = Scores(upstream=_accuracy(learner, upstream.test))
        try:
            scores = replace(scores, few_shot=self._few_shot(learner, seed))
        except NotSupported as error:
            self.finished.not_shown.append(str(error))
        except RequirementFailed as error:
            self.finished.not_shown.append(f"{_said(point)}: {error}")
        tuned = learner.with_new_head(downstream.classes, self.found.image_size)
        shown = downstream.train.first_of(min(self.design.fine_images, len(downstream.train)), seed)
        self._taught(tuned, shown, self.design.fine_tuning, seed, "fine_tuning")
        return replace(scores, fine_tuned=_accuracy(tuned, downstream.test))

    def _few_shot(self, learner: Learner, seed: int) -> float:
        task = self.found.downstream
        unseen, total = learner.representation(task.test.images), 0.0
        for draw in range(DRAWS):
            shown = few(task.train, SHOTS, task.classes, seed * DRAWS + draw)
            seen = learner.representation(shown.images)
            total += linear_accuracy(seen, shown.labels, unseen, task.test.labels, task.classes)
        return total / DRAWS

    def _taught(self, learner: Learner, data: Labelled, recipe: Recipe, seed: int, what: str) -> None:
        done = 0

        def told(step: int) -> None:
            nonlocal done
            self.advance(step - done)
            done = step

        keep = None if self.keep is None else self.keep / f"{what}.safetensors"
        course = teach(learner, data, recipe, seed, keep=keep, told=told)
        self.advance(len(course.losses) - done)

    def require_any(self) -> None:
        """Refuse to report of trainings of which none came to an end.

        Raises:
            TrainingDiverged: that is so.
        """
        if all(isnan(scores.upstream) for scores in self.finished.scores.values()):
            why = self.finished.notes[0] if self.finished.notes else "all logits hold NaN"
            raise TrainingDiverged(f"no training came to an end: {why}")

    def missing(self) -> Sequence[Missing]:
        """What the candidate does not show, with the first reason."""
        return [
            Missing(what="linear few-shot accuracy", hook="representation", reason=reason)
            for reason in self.finished.not_shown[:1]
        ]


def _said(point: Point) -> str:
    name, size, seed = point
    return f"{name}, {size} images, seed {seed}"


def _accuracy(learner: Learner, data: Labelled) -> float:
    return learner.guarded("logits", lambda: accuracy(learner.logits, data))


def _mark(cell: Cell, design: Design, data: Dataset, candidate: Candidate) -> str:
    said: Mapping[str, object] = {
        "cell": cell.key,
        "design": asdict(design),
        "data": data.digest,
        "version": candidate.version,
        "torch": torch.__version__,
        "device": device_name(cell.device),
    }
    return json.dumps(said, sort_keys=True)
