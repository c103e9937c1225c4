"""What docs/checkpoints.md tells to type does what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.checkpoints import Checkpoint, load, save
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import exercised_weights

DOCUMENT = Path(__file__).parents[1] / "docs" / "checkpoints.md"
CONFIG = ViTConfig(image_size=(64, 64), patch_size=(32, 32), width=4, depth=1, num_heads=2, mlp_dim=4, num_classes=3)


def test_the_documents_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    save("ViT-B_16.npz", Checkpoint(CONFIG, exercised_weights(CONFIG, Conventions(), 0)))
    made: dict[str, Any] = {}
    exec(code, made)  # noqa: S102  # the document's own
    assert made["model"].config == CONFIG
    assert load("larger.safetensors").config.image_size == (384, 384)
    assert load("larger.safetensors").weights["position_embedding"].shape == (1, 145, 4)


def test_any_adapter_takes_the_weights_and_gives_them_back(tmp_path: Path) -> None:
    saved, adapter = Checkpoint(CONFIG, exercised_weights(CONFIG, Conventions(), 0)), ReferenceAdapter()
    save(tmp_path / "theirs.npz", saved)
    read = load(tmp_path / "theirs.npz")
    model = adapter.build(read.config).double()
    adapter.load(model, read.weights)
    save(tmp_path / "mine.npz", Checkpoint(read.config, adapter.export(model)))
    assert (tmp_path / "mine.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()
