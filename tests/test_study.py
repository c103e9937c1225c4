"""What a study records: packed arrays, and records that come back from a file as they went in."""

import base64
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sample_runs import header, run_of
from sample_studies import studies, study

from vitbench import options, suite
from vitbench.measurement import unstudied
from vitbench.plan import Cell
from vitbench.progress import result_text, title
from vitbench.records import Outcome
from vitbench.results import from_line, to_line
from vitbench.study import NamedArray
from vitbench.suite import Ending
from vitbench.summary.studies import study_lines


def test_an_array_comes_back_as_it_was_packed_and_numpy_reads_it_too() -> None:
    numbers = [0.5, -1.25, math.inf, 3.0, 1e-30, 7.0]
    packed = NamedArray.of("a", ("row", "column"), (2, 3), numbers, unit="pixels")
    assert packed.numbers == pytest.approx(numbers)
    read = np.frombuffer(base64.b64decode(packed.values), "<f4").reshape(packed.shape)
    assert read.tolist() == [packed.numbers[:3], packed.numbers[3:]]


def test_a_not_a_number_stays_one() -> None:
    assert math.isnan(NamedArray.of("a", ("x",), (1,), [math.nan]).numbers[0])


def test_an_array_of_another_size_than_its_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"array 'a': 3 numbers and axes \['x'\] for shape \[2\]"):
        NamedArray.of("a", ("x",), (2,), [1, 2, 3])
    damaged = replace(NamedArray.of("a", ("x",), (2,), [1, 2]), shape=(3,))
    with pytest.raises(ValueError, match=r"array 'a' holds 8 bytes for shape \[3\]"):
        _ = damaged.numbers


def test_a_study_comes_back_from_its_line() -> None:
    for record in studies():
        assert to_line(from_line(to_line(record))) == to_line(record)


def test_a_run_keeps_the_last_word_of_each_study(tmp_path: Path) -> None:
    first, second = study(notes=()), study(notes=("again",))
    run = run_of([header(planned=[first.cell]), first, second], tmp_path)
    assert [(record.cell, list(record.notes)) for record in run.studies] == [(first.cell, ["again"])]
    assert run.studies[0].arrays[0].numbers == [0, 1, 2, 3, 4, 5]


def test_a_study_that_found_nothing_says_why() -> None:
    cell = Cell(suite="paper/transfer", implementation="timm", name="timm")
    lost = unstudied(cell, Ending(outcome=Outcome.CRASHED, reason="killed by SIGSEGV", duration_s=1.0))
    assert result_text(lost) == "crashed: killed by SIGSEGV"
    assert title(cell) == "paper/transfer timm"


def test_the_terminal_names_each_figure_and_what_is_not_offered() -> None:
    shown = Console(file=io.StringIO(), width=120)
    study_lines(studies(), shown)
    assert shown.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "paper/transfer timm: 2 figures, 2 curves, 1 array; not offered: attention rollout",
        "  fine-tuned: accuracy 0.910 (0.880 – 0.940), 3 seeds",
        "  from scratch: accuracy not finite",
        "  a study of this size shows trends, no more",
        "paper/transfer vit_pytorch: not supported: no at_image_size()",
        "  a study of this size shows trends, no more",
    ]


def test_a_group_of_suites_stands_for_all_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("paper/one", "paper/two", "plain"):
        home = tmp_path / name
        home.mkdir(parents=True)
        for place in {home, home.parent} - {tmp_path}:
            (place / "__init__.py").touch()
        (home / "suite.py").touch()
    monkeypatch.setattr(suite, "_home", lambda: [str(tmp_path)])
    assert suite.names() == ["paper/one", "paper/two", "plain"]
    assert suite.groups() == {"paper": ["paper/one", "paper/two"]}
    assert suite.expanded(["plain", "paper"]) == ["plain", "paper/one", "paper/two"]


def test_no_study_is_in_a_plain_run() -> None:
    assert not [name for name in options.DEFAULT_SUITES if name.startswith("paper")]
