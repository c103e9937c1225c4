"""Whether diagnoses are right is measured, and the document says it."""

import json
from pathlib import Path

import pytest

from vitbench.calibrate import calibrate_diagnosis, parse
from vitbench.calibration.diagnoses import Found, Outcome, Sample, Task, diagnosed, drawn, tasks
from vitbench.calibration.diagnosis_document import BEGIN, END, faults, section, section_of, with_section
from vitbench.deviations import BANK
from vitbench.deviations.deviation import together

pytestmark = pytest.mark.usefixtures("one_thread")


def found(outcome: Outcome, sample: Sample = Sample.SINGLE, *ids: str, processor_s: float = 1.5) -> Found:
    return Found(
        task=Task(sample=sample, ids=ids or ("norm-rms",)),
        outcome=outcome,
        causes=() if outcome is Outcome.NONE else ids or ("norm-rms",),
        stage="block 0: attention",
        tried=150,
        processor_s=processor_s,
        wall_s=2.0,
    )


def test_every_mutant_is_diagnosed_and_said_to_be_within_reach_or_not() -> None:
    given = tasks(0, seed=0)
    mutants = [task.ids[0] for task in given if task.sample in {Sample.SINGLE, Sample.BEYOND}]
    assert sorted(mutants) == sorted(BANK)
    assert all(BANK[task.ids[0]].remedy for task in given if task.sample is Sample.SINGLE)


def test_pairs_are_drawn_from_a_seed_and_can_be_put_together() -> None:
    singles = [BANK[name] for name in ("norm-rms", "activation-relu", "attention-causal", "attention-softmax-axis")]
    pairs = list(drawn(singles, 3, seed=1))
    assert pairs == list(drawn(singles, 3, seed=1))
    assert len({frozenset(pair) for pair in pairs}) == 3
    assert all(together(BANK[first], BANK[second]) is not None for first, second in pairs)


def test_a_mutant_is_named_and_a_candidate_that_is_right_is_not() -> None:
    assert diagnosed(Task(sample=Sample.SINGLE, ids=("mlp-linear",))).outcome is Outcome.NAMED
    assert diagnosed(Task(sample=Sample.RIGHT, ids=("key-bias-ignored",))).outcome is Outcome.NONE


def test_a_name_for_the_same_thing_is_a_right_one() -> None:
    told = diagnosed(Task(sample=Sample.SINGLE, ids=("attention-scale-missing",)))
    assert (told.causes, told.outcome) == (("attention-unscaled",), Outcome.NAMED)


def test_two_mutants_at_once_are_both_named() -> None:
    told = diagnosed(Task(sample=Sample.PAIR, ids=("residual-of-mlp-missing", "query-bias-missing")))
    assert [set(cause.split(" + ")) for cause in told.causes] == [{"residual-of-mlp-missing", "query-bias-missing"}]
    assert told.outcome is Outcome.NAMED


def test_a_wrong_name_too_few_right_ones_and_too_much_time_are_faults() -> None:
    assert faults([found(Outcome.NAMED)]) == []
    told = faults([found(Outcome.WRONG), found(Outcome.NAMED, processor_s=30.0)])
    assert told == [
        "norm-rms: named as norm-rms, which it is not",
        "norm-rms: took 30.0 s",
        "1 of 2 single mutants are named rightly, fewer than 95%",
    ]


def test_the_section_has_the_shares_and_what_was_missed() -> None:
    text = section(
        [
            found(Outcome.NAMED),
            found(Outcome.NONE, Sample.PAIR, "norm-rms", "mlp-linear"),
            found(Outcome.NONE, Sample.BEYOND, "dropout-unscaled"),
        ],
        planned=5,
        seed=3,
        version="0.1.0",
    )
    assert "| single mutants that parity can show | 1 | 1 (100.0%) | 0 | 0 | 0 | 1.5 s / 1.5 s |" in text
    assert "| random pairs of these | 1 | 0 (0.0%) | 0 | 1 | 0 | 1.5 s / 1.5 s |" in text
    assert "| norm-rms + mlp-linear | nothing | block 0: attention |" in text
    assert "- TRAIN, in dropout, drop path, initialisation, or the state after a step: dropout-unscaled." in text
    assert "Wrong names: 0 of 3" in text
    assert "**The run was stopped: 3 of 5 candidates were diagnosed**" in text


def test_the_section_takes_the_place_of_the_one_before() -> None:
    once = with_section("# Checks\n", f"{BEGIN}\nold\n{END}")
    assert with_section(once, f"{BEGIN}\nnew\n{END}") == f"# Checks\n\n{BEGIN}\nnew\n{END}\n"
    assert section_of(once) == f"{BEGIN}\nold\n{END}"


def test_the_command_writes_the_section_and_every_diagnosis(tmp_path: Path) -> None:
    (tmp_path / "calibration.md").write_text("# Checks\n")
    options = parse(["--diagnosis", "--pairs", "1", "--jobs", "1", "--output", str(tmp_path)])
    assert options.diagnosed_pairs == 1
    assert calibrate_diagnosis(options, [Task(sample=Sample.SINGLE, ids=("head-scaled",))]) == 0
    assert "| 1 | 1 (100.0%) |" in (tmp_path / "calibration.md").read_text()
    lines = (tmp_path / "calibration-diagnosis.jsonl").read_text().splitlines()
    assert [json.loads(line)["causes"] for line in lines] == [["head-scaled"]]
