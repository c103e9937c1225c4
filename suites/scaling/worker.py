"""One worker of a scaling cell, as torchrun starts it: ``python -m vitbench.suites.scaling.worker CELL-AS-JSON FOLDER``.

All workers go through the same rounds. In each, every way to compute the step has its block, in an order drawn anew: one worker
alone, then 1, 2, 4, … in a group, each group also without communication. Who takes no part waits.
"""

import faulthandler
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from vitbench.arithmetic import arithmetic, computing
from vitbench.candidate import Candidate
from vitbench.conditions.record import Evidence, spoiled, verdict_of
from vitbench.conditions.sampler import now_s
from vitbench.conditions.watch import watching
from vitbench.environment import device_name
from vitbench.errors import NotSupported
from vitbench.measurement import record
from vitbench.models import model_config
from vitbench.plan import Cell
from vitbench.process import die_with_parent
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.cost import multiply_accumulates
from vitbench.registry import resolve
from vitbench.results import append
from vitbench.scaling import Scaling, disagreement, figure, images_per_s, point
from vitbench.suites.scaling import words
from vitbench.suites.scaling.agreement import TOLERANCE, agreement
from vitbench.suites.scaling.rounds import Rounds
from vitbench.suites.scaling.steps import Subject, let_go, ways
from vitbench.suites.scaling.team import Team
from vitbench.timer import garbage_collection_paused, span_of_time

FOUND = "found.jsonl"


def main(argv: Sequence[str] | None = None) -> int:
    """Take part; 1 after an error, of which the last words are left."""
    text, folder = sys.argv[1:] if argv is None else argv
    faulthandler.enable()
    die_with_parent()
    rank = int(os.environ["RANK"])
    try:
        take_part(Cell.from_json(json.loads(text)), Path(folder))
    except BaseException as error:  # noqa: BLE001  # whatever it is, the others hear of it by this worker's end
        words.say(Path(folder), rank, error)
        traceback.print_exc()
        return 1
    return 0


def take_part(cell: Cell, folder: Path) -> None:
    """Measure with the others; the first worker records what all found.

    Raises:
        NotSupported: the candidate is none of torch's, or cannot be trained.
    """
    started = time.monotonic()
    team = _joined(cell, folder)
    team.at("building its model")
    torch.set_num_threads(cell.threads)
    with computing(arithmetic(cell.dtype), str(team.device)), garbage_collection_paused():
        subject = _subject(replace(cell, device=str(team.device)))
        agreed = agreement(subject, team)
        let_go(team.device)
        rounds = Rounds(team, ways(subject, team, unused=agreed.unused), cell)
        rounds.warm_up()
        beside = [pid for pid in team.told(os.getpid()) if pid != os.getpid()]
        with watching(str(team.device), beside=beside) as watch:
            begun_s = now_s()
            rounds.run()
            ended_s = now_s()
    seen = team.told(watch.evidence(span_of_time(begun_s, ended_s), images=0))
    if team.rank == 0:
        evidence = _of_all(seen if team.device.type == "cuda" else seen[:1])  # the host is one
        wrong = [disagreement(agreed.found, TOLERANCE)] if agreed.found else []
        evidence = spoiled(evidence, [*filter(None, wrong), *rounds.not_finite])
        found = _record(cell, subject, rounds, evidence, time.monotonic() - started)
        scaling = replace(_scaling(cell, team, rounds), agreement=agreed.found, notes=[*agreed.notes, *rounds.notes])
        append(folder / FOUND, replace(found, scaling=scaling))
    dist.destroy_process_group()


def _joined(cell: Cell, folder: Path) -> Team:
    """The process group, and beside it one for what is told of the measurement, which keeps no device busy."""
    rank, workers = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    timeout = timedelta(seconds=max(cell.time_limit_s, 60.0))
    if cell.device == "cpu":
        device = torch.device("cpu")
        dist.init_process_group("gloo", timeout=timeout)
        return Team(rank, workers, device, "gloo", dist.group.WORLD, folder)
    device = torch.device("cuda", (torch.device(cell.device).index or 0) + rank)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", timeout=timeout, device_id=device)
    return Team(rank, workers, device, "nccl", dist.new_group(backend="gloo", timeout=timeout), folder)


def _subject(cell: Cell) -> Subject:
    """The candidate, as far as it can be trained by several."""
    candidate = Candidate(resolve(cell.implementation), cell.device)
    if candidate.framework != "torch":
        raise NotSupported(f"its model computes with {candidate.framework}, which torch's DDP and FSDP2 cannot divide")
    subject = Subject(cell, candidate, model_config(cell.model))
    if not isinstance(subject.model, nn.Module):
        raise NotSupported(f"its model is a {type(subject.model).__name__}, no torch module that DDP or FSDP2 divides")
    return subject


def _scaling(cell: Cell, team: Team, rounds: Rounds) -> Scaling:
    alone_s = rounds.samples_s["alone"]
    return Scaling(
        strategy=cell.mode,
        backend=team.backend,
        rounds=len(alone_s),
        alone_images_per_s=images_per_s(alone_s, cell.batch),
        alone_samples_s=tuple(alone_s),
        points=tuple(
            point(n, cell.batch, alone_s, rounds.samples_s[f"{n}"], rounds.samples_s.get(f"{n} silent", ()))
            for n in team.sizes
        ),
        agreement=None,
        notes=(),
    )


def _record(cell: Cell, subject: Subject, rounds: Rounds, evidence: Evidence, duration_s: float) -> MeasurementRecord:
    """The figures of all workers together stand where those of a cell stand."""
    most = rounds.team.workers
    samples_s = rounds.samples_s[f"{most}"]
    step = figure(samples_s)
    return record(
        cell,
        Outcome.MEASURED,
        implementation=subject.candidate.name,
        version=subject.candidate.version,
        device_name=device_name(cell.device),
        parameters=subject.parameters,
        multiply_accumulates=multiply_accumulates(subject.config),
        throughput_images_per_s=most * cell.batch / step.value,
        latency_s=step.value,
        latency_low_s=step.low,
        latency_high_s=step.high,
        converged=rounds.converged,
        warmup_iterations=rounds.warmup_steps,
        samples_s=tuple(samples_s),
        evidence=evidence,
        duration_s=duration_s,
    )


def _of_all(seen: Sequence[Evidence]) -> Evidence:
    """What several devices' watches say: of the first, with every device's reasons against all of them."""
    if len(seen) == 1:
        return seen[0]
    reasons = [f"device {place}: {reason}" for place, one in enumerate(seen) for reason in one.reasons]
    notes = [f"device {place}: {note}" for place, one in enumerate(seen) for note in one.notes]
    watched = all(one.readings for one in seen)
    return replace(
        seen[0], verdict=verdict_of(reasons if watched else [], watched=watched), reasons=reasons, notes=notes
    )


if __name__ == "__main__":
    sys.exit(main())
