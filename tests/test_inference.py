"""What is inferred of classes as people write them: their layouts, their conventions, and no defect explained away."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import inferable_models
import pytest
import torch

from vitbench.adapt import main as adapt
from vitbench.candidate import Candidate
from vitbench.cases import Case
from vitbench.errors import AdapterBroken, NotInferred
from vitbench.inference.apart import inferred, source_of
from vitbench.inference.inferring import Inferred, infer
from vitbench.inference.settling import best
from vitbench.inference.sketch import SMALL, Construction, Sketch
from vitbench.registry import inferred_code, resolve


def inferred_here(name: str, folder: Path) -> Inferred:
    source = source_of(f"inferable_models:{name}", "inferable_models", name)
    return infer(getattr(inferable_models, name), source, folder, lambda _step: None)


def disagreement(lines: tuple[str, ...]) -> list[str]:
    return [line for line in lines if line.startswith("no reading of its weights agrees")]


RIGHT = {
    "ViT": {"layer_norm_eps = 1e-06", "activation = gelu", "pool = class_token"},
    "PackedHeadByHead": {"rows of weight, packed of query, key and value: one head after the other"},
    "PackedFeatureByFeature": {
        "rows of weight, packed of query, key and value: query, key and value of a feature beside each other"
    },
    "PackedHeadsLast": {"rows of weight, packed of query, key and value: the heads of a feature beside each other"},
    "PackedValuesFirst": {"rows of weight, packed of value, key and query: all values, all keys, all queries"},
    "BuildsItself": set(),
    "WithoutNames": set(),
    "ResidualOutside": set(),
    "DropsHidden": set(),
    "InByOut": set(),
    "HeadsApart": set(),
    "ChannelsFirst": {"a patch is flattened as (C, P_h, P_w)"},
    "PixelsFirst": {"a patch is flattened as (P_h, P_w, C)"},
    "ColumnsFirst": {"a patch is flattened as (P_w, P_h, C)"},
    "Tanh": {"activation = gelu_tanh", "layer_norm_eps = 1e-05"},
    "Clip": {"activation = quick_gelu", "layer_norm_eps = 1e-12", "class_token_has_position = False"},
    "MeanOfPatches": {"pool = mean"},
    "FromConfig": set(),
    "FourWidths": set(),
    "make_vit": set(),
    "WithMask": {"the buffer attn.mask (1, 1) is left as it is"},
    "InAnotherStyle": {"attention.key.bias: the model has none", "class_token_has_position = False"},
    "SequenceFirst": set(),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_model_is_read_so_that_it_agrees_with_the_reference(name: str, tmp_path: Path) -> None:
    found = inferred_here(name, tmp_path)
    assert RIGHT[name] <= {line.partition(" (vitbench's default")[0] for line in found.assumed}
    assert not disagreement(found.assumed)


@pytest.mark.parametrize("name", ["KeysAsQueries", "NamesExchanged", "WithoutScale", "Relu", "LastToken"])
def test_no_reading_hides_a_defect(name: str, tmp_path: Path) -> None:
    assert disagreement(inferred_here(name, tmp_path).assumed)


def test_a_layout_is_seen_by_the_values_where_the_scores_are_wrong(tmp_path: Path) -> None:
    told = inferred_here("UnscaledInAnotherLayout", tmp_path).assumed
    assert "rows of weight, packed of query, key and value: one head after the other" in told
    assert (
        "the layout of query, key and value: only the values agree with the reference; the most usual of these was taken"
        in told
    )
    assert disagreement(told)


def test_a_block_that_returns_what_it_adds_is_shown_by_what_the_next_receives() -> None:
    trial = Candidate(resolve("inferable_models:ResidualOutside")).trial(Case(SMALL, batch=2, seed=0))
    for shown, expected in zip(trial.block_outputs(), trial.reference.block_outputs, strict=True):
        torch.testing.assert_close(shown, expected)


def test_dropout_of_a_part_is_not_offered_as_the_papers(tmp_path: Path) -> None:
    code = inferred_here("DropsHidden", tmp_path).code
    assert "dropout=0.0" in code
    for kind in ("dropout", "attention_dropout", "drop_path"):
        assert f"require(config.{kind} == 0, " in code


@pytest.mark.parametrize(("name", "shown"), [("LargeEpsilon", "0.001"), ("OddEpsilon", "1.05e-06")])
def test_an_epsilon_that_no_vision_transformer_has_is_told_and_not_assumed(
    name: str, shown: str, tmp_path: Path
) -> None:
    found = inferred_here(name, tmp_path)
    told = f"layer_norm_eps: 1e-06, though {shown} and {shown} was measured, which is no Vision Transformer's"
    assert told in found.assumed
    assert "conventions" not in found.code.replace("conventions = Conventions(head_init", "")


@pytest.mark.parametrize(("name", "random"), [("StartsAtZero", False), ("ViT", True)])
def test_how_the_head_starts_is_seen(name: str, random: bool, tmp_path: Path) -> None:
    assert ("head_init = random" in inferred_here(name, tmp_path).assumed) is random


@pytest.mark.parametrize(
    ("errors", "chosen", "agreed"),
    [
        ([0.3, 1e-14, 0.2], 1, True),  # exactly
        ([0.3, 1e-7, 0.2], 1, True),  # to float32, and nothing else comes near
        ([2e-7, 1e-7, 0.2], 0, False),  # two that float32 does not tell apart
        ([0.3, 1e-3, 0.2], 0, False),  # a defect
    ],
)
def test_a_reading_is_taken_where_it_alone_agrees(errors: list[float], chosen: int, agreed: bool) -> None:
    source = source_of("inferable_models:ViT", "inferable_models", "ViT")
    sketches = [
        Sketch(source=source, construction=Construction(arguments={}), output=str(number)) for number in range(3)
    ]
    answer = best(sketches, lambda one: errors[int(one.output)])
    assert (int(answer.sketch.output), answer.agreed) == (chosen, agreed)


REFUSED = {
    "NeedsMore": "what to give for tokenizer",
    "TwoClassTokens": "which of one, two is class_token",
    "TwoHeads": "what these tensors are: head_dist.weight (7, 40), another head.weight",
    "Downloads": "how to build it: it opens a connection, to ('weights.example.org', 443)",
    "DownloadsInSilence": "how to build it: it opens a connection, to ('weights.example.org', 443)",
    "TwoWidths": "which of embed_dim, dim is width",
    "Aborts": "how to build it: its process was killed by SIGABRT in __init__()",
    "Allocates": "how to build it: it needs more memory than so small a model may have",
    "Leaves": "how to build it: SystemExit: no licence",
    "Convolutions": "what these tensors are: ",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_said_in_one_message_with_an_adapter_to_go_on_from(name: str) -> None:
    with pytest.raises(NotInferred) as caught:
        inferred(getattr(inferable_models, name), source_of(f"inferable_models:{name}", "inferable_models", name))
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert text.startswith(f"inferable_models:{name} is no adapter, and none could be inferred for it\n  understood: ")
    assert f"  not understood: {REFUSED[name]}" in text
    assert f"from inferable_models import {name}\n" in text
    assert "class MyAdapter(Adapter):" in text


def test_a_constructor_that_hangs_is_ended_and_named() -> None:
    source = source_of("inferable_models:Hangs", "inferable_models", "Hangs")
    with pytest.raises(
        NotInferred, match=r"did not end within 3 s in __init__\(\) .* while building it with img_size="
    ):
        inferred(inferable_models.Hangs, source, step_limit_s=3.0)


def test_what_was_assumed_stands_on_the_adapter() -> None:
    adapter: Any = resolve("inferable_models:Tanh")
    assert "activation = gelu_tanh (vitbench's default: gelu)" in adapter.inferred
    assert (adapter.name, adapter.version) == ("inferable_models.Tanh", "unknown")
    assert adapter.conventions.activation == "gelu_tanh"


SMALL_SELECTION = ("VIT-PATCH-COUNT", "VIT-HEAD-LOGITS")


def test_a_class_is_judged_as_it_is_and_the_verdict_says_what_was_assumed(pytester: pytest.Pytester) -> None:
    models = Path(inferable_models.__file__)
    pytester.makepyfile(mine=models.read_text(encoding="utf-8"))
    selected = " or ".join(SMALL_SELECTION)
    options = ["--pyargs", "vitbench.suites.conformance", "-p", "no:cacheprovider", "-k", selected]
    done = pytester.run("pytest", *options, "--impl", "mine:Tanh")
    done.stdout.fnmatch_lines(
        [
            "*conformance of mine.Tanh (quick, seed 0)*",
            "assumed      layer_norm_eps = 1e-05 (vitbench's default: 1e-06)",
            "assumed      activation = gelu_tanh (vitbench's default: gelu)",
            "2 of * requirements were judged*",
        ]
    )
    assert done.ret == 0


def test_adapt_writes_the_adapter_that_the_class_is_judged_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "adapter.py"
    assert adapt(["inferable_models:Clip", "-o", str(file)]) == 0
    assert str(file) in capsys.readouterr().out
    kept, judged = resolve(str(file)), resolve("inferable_models:Clip")
    assert file.read_text(encoding="utf-8") == inferred_code("inferable_models:Clip")
    assert kept.conventions == judged.conventions
    assert (kept.inferred, bool(judged.inferred)) == ((), True)
    assert adapt(["inferable_models:Clip", "-o", str(file)]) == 2
    assert "is there already; --force writes over it" in capsys.readouterr().err


def test_what_a_class_prints_is_no_part_of_its_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    assert adapt(["inferable_models:Talks"]) == 0
    printed = capsys.readouterr()
    compile(printed.out, "adapter.py", "exec")
    assert "made with love" not in printed.out


def test_an_adapter_of_a_file_works_beside_it_whatever_the_file_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, adapter = tmp_path / "01-vit.py", tmp_path / "adapter.py"
    model.write_text("from inferable_models import ViT\n", encoding="utf-8")
    assert adapt([f"{model}:ViT", "-o", str(adapter)]) == 0
    assert "keep it beside" not in capsys.readouterr().out
    assert resolve(str(adapter)).conventions == resolve(f"{model}:ViT").conventions
    elsewhere = tmp_path / "kept"
    elsewhere.mkdir()
    assert adapt([f"{model}:ViT", "-o", str(elsewhere / "adapter.py")]) == 0
    assert f"keep it beside {model}." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [("made", "is a ViT without a method build(config); name the model's class"), ("Settings", "is a class without")],
)
def test_what_is_no_class_of_a_model_is_said_to_be_what_it_is(name: str, text: str) -> None:
    with pytest.raises(AdapterBroken, match=re.escape(text)):
        resolve(f"inferable_models:{name}")


def test_an_epsilon_that_cannot_be_measured_is_told_so(tmp_path: Path) -> None:
    told = [line for line in inferred_here("Probabilities", tmp_path).assumed if line.startswith("layer_norm_eps")]
    assert len(told) == 1
    assert "since nothing of the kind could be measured" in told[0]


def test_adapt_says_of_an_adapter_that_it_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert adapt(["reference"]) == 2
    assert "'reference' needs no adapter" in capsys.readouterr().err


def test_a_written_adapter_is_formatted_as_the_project_is(tmp_path: Path) -> None:
    for name in ("Clip", "PixelsFirst", "HeadsApart", "FromConfig", "PackedValuesFirst"):
        file = tmp_path / f"{name}.py"
        file.write_text(inferred_here(name, tmp_path).code, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "format", "--diff", "--line-length", "120", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_what_a_class_refuses_is_not_offered(tmp_path: Path) -> None:
    limits = ("square images only", "square patches only", "two heads or more", "three channels only")
    refusing, other = (inferred_here(name, tmp_path).code for name in ("SquaresAndSeveralHeads", "ViT"))
    assert [limit in refusing for limit in limits] == [True] * 4
    assert [limit in other for limit in limits] == [False] * 4


def test_a_model_whose_mlp_has_four_widths_is_judged_at_four_widths(tmp_path: Path) -> None:
    candidate = Candidate(resolve("inferable_models:FourWidths"))
    assert candidate.within_reach(SMALL).mlp_dim == 4 * SMALL.width
    assert candidate.within_reach(replace(SMALL, num_heads=1)).mlp_dim == 4 * SMALL.width
