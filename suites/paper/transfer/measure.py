"""One cell of transfer: setup, what each seed gives, and figures over the seeds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

import torch

from vitbench.candidate import Candidate
from vitbench.datasets import Labelled, dataset
from vitbench.environment import device_name
from vitbench.learner import Learner, ViTLearner, require_hooks, teach
from vitbench.measurement import study
from vitbench.miniature import smoothed
from vitbench.plan import Cell
from vitbench.records import Outcome, StudyRecord
from vitbench.reference.config import ViTConfig
from vitbench.registry import resolve
from vitbench.seeds import POSITIVE, SHARE, curve_over_seeds, over_seeds
from vitbench.steps import Steps
from vitbench.study import Curve, Scalar
from vitbench.suites.paper.transfer.design import DESIGNS, Design, Tasks, config, described, tasks
from vitbench.training import TrainingDiverged, accuracy, forget, mean_loss

_POINTS = 40  # of a curve


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """What one seed gave; accuracies on test images."""

    pretrained: float  # upstream, at the lower resolution
    enlarged: float  # upstream, at the higher resolution, nothing trained in between
    at_step_0: float  # downstream, with the head of zeros
    loss_at_step_0: float  # nats
    fine_tuned: float
    from_scratch: float
    pretraining_losses: Sequence[float]
    fine_tuning_losses: Sequence[float]
    scratch_losses: Sequence[float]


def measure(cell: Cell, results: Path) -> StudyRecord:
    """Pre-train, transfer and compare, once for each seed.

    Raises:
        NotSupported: the candidate cannot be trained, or not be taken to another head or resolution.
        TrainingDiverged: with every seed.
        DataUnusable: there are no images.
    """
    started = time.monotonic()
    # axes
    design, data = DESIGNS[cell.preset], dataset(cell.data)
    seeds = range(cell.seed, cell.seed + design.seeds)

    # setup
    torch.set_num_threads(cell.threads)
    candidate = Candidate(resolve(cell.implementation), cell.device)
    require_hooks(candidate, "export", "at_image_size")
    model = config(design, data, candidate)
    found = tasks(data, model.channels, cell.device)
    counted = Steps(results, design.all_steps)
    study_of_one = _Seed(candidate, model, design, found, Path(cell.keep) if cell.keep else None, counted.advance)

    # what is measured
    runs, notes = dict[int, Transferred](), list[str]()
    for seed in seeds:
        try:
            runs[seed] = study_of_one.run(seed)
        except TrainingDiverged as error:  # what one seed did is no other's affair
            notes.append(f"seed {seed}: {error}; its figures are left out")
            diverged = error
    if not runs:
        raise diverged
    forget(cell.keep)
    return study(
        cell,
        Outcome.MEASURED,
        implementation=candidate.name,
        version=candidate.version,
        device_name=device_name(cell.device),
        data=f"{data}, digest {data.digest}",
        seeds=list(runs),
        settings=described(design, model, found, study_of_one.head),
        scalars=_scalars(list(runs.values()), found),
        curves=_curves(list(runs.values())),
        notes=notes,
        duration_s=time.monotonic() - started,
    )


class _Seed:
    """The experiment, to be run once for each seed."""

    def __init__(
        self,
        candidate: Candidate,
        model: ViTConfig,
        design: Design,
        found: Tasks,
        keep: Path | None,
        advance: Callable[[int], None],
    ) -> None:
        self.candidate, self.model, self.design, self.found = candidate, model, design, found
        self.keep, self.advance, self.head = keep, advance, model.head

    def run(self, seed: int) -> Transferred:
        """Section 3.2 from its beginning to its end.

        Raises:
            TrainingDiverged: a loss is not finite.
        """
        upstream, downstream = self.found.upstream, self.found.downstream
        learner = ViTLearner(self.candidate, self.model, seed, pretraining=True)
        self.head = learner.config.head
        few = downstream.train.first_of(min(self.design.fine_images, len(downstream.train)), seed)
        pretraining = self._taught(learner, upstream.train, "pretraining", seed)
        larger = learner.with_new_head(downstream.classes, downstream.image_size)
        at_step_0 = _accuracy(larger, downstream.test)
        loss_at_step_0 = larger.guarded("logits", lambda: mean_loss(larger.logits, downstream.test))
        fine_tuning = self._taught(larger, few, "fine_tuning", seed)
        fresh = ViTLearner(
            self.candidate,
            replace(self.model, image_size=downstream.image_size, num_classes=downstream.classes),
            seed,
        )
        scratch = self._taught(fresh, few, "from_scratch", seed)
        return Transferred(
            pretrained=_accuracy(learner, upstream.test),
            enlarged=_accuracy(learner.at_image_size(downstream.image_size), self.found.enlarged.test),
            at_step_0=at_step_0,
            loss_at_step_0=loss_at_step_0,
            fine_tuned=_accuracy(larger, downstream.test),
            from_scratch=_accuracy(fresh, downstream.test),
            pretraining_losses=pretraining,
            fine_tuning_losses=fine_tuning,
            scratch_losses=scratch,
        )

    def _taught(self, learner: Learner, data: Labelled, recipe: str, seed: int) -> Sequence[float]:
        """The losses of one training, or of what is left of it where it was stopped before."""
        done = 0

        def told(step: int) -> None:
            nonlocal done
            self.advance(step - done)
            done = step

        keep = None if self.keep is None else self.keep / f"{recipe}-{seed}.safetensors"
        course = teach(learner, data, getattr(self.design, recipe), seed, keep=keep, told=told)
        self.advance(len(course.losses) - done)
        return course.losses


def _accuracy(learner: Learner, data: Labelled) -> float:
    return learner.guarded("logits", lambda: accuracy(learner.logits, data))


def _scalars(runs: Sequence[Transferred], found: Tasks) -> list[Scalar]:
    (low, _), (high, _) = found.upstream.image_size, found.downstream.image_size
    classes = found.downstream.classes
    before = f"pre-training, {found.upstream.classes} classes"
    after = f"transfer, {classes} other classes"
    gain = [run.fine_tuned - run.from_scratch for run in runs]
    return [
        _share(f"accuracy at {low} pixels", [run.pretrained for run in runs], before),
        _share(
            f"accuracy at {high} pixels, positions resized",
            [run.enlarged for run in runs],
            before,
            "nothing was trained in between",
        ),
        _share(
            "accuracy at step 0",
            [run.at_step_0 for run in runs],
            after,
            f"a head of zeros tells nothing: always the first class, about 1 of {classes}",
        ),
        over_seeds(
            "loss at step 0",
            [run.loss_at_step_0 for run in runs],
            series=after,
            unit="nats",
            note=f"of {classes} equal scores ln {classes} = {log(classes):.4f}",
            within=POSITIVE,
        ),
        _share("accuracy after fine-tuning", [run.fine_tuned for run in runs], after),
        _share("accuracy from scratch", [run.from_scratch for run in runs], after),
        over_seeds("gain over training from scratch", gain, series=after, note="seed by seed", within=(-1.0, 1.0)),
    ]


def _share(name: str, values: Sequence[float], series: str, note: str = "") -> Scalar:
    return over_seeds(name, values, series=series, note=note, within=SHARE)


def _curves(runs: Sequence[Transferred]) -> list[Curve]:
    lines = (
        ("Loss while fine-tuning", "pre-trained", [run.fine_tuning_losses for run in runs]),
        ("Loss while fine-tuning", "from scratch", [run.scratch_losses for run in runs]),
        ("Loss while pre-training", "pre-training", [run.pretraining_losses for run in runs]),
    )
    return [
        curve_over_seeds(
            name,
            series,
            ("step", "loss, nats"),
            smoothed(losses[0], _POINTS)[0],
            [smoothed(one, _POINTS)[1] for one in losses],
            within=POSITIVE,
        )
        for name, series, losses in lines
    ]
