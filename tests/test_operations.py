"""What a model does in torch's basic operations: fused kernels, memory kept for the way back, work done again."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from vitbench.candidate import Candidate
from vitbench.cases import Case
from vitbench.deviations import BANK, DeviantAdapter
from vitbench.operations import fused_attention_kernels, kept_for_the_way_back
from vitbench.reference.config import ViTConfig
from vitbench.trial import Trial

CONFIG = ViTConfig(
    image_size=(4, 6), patch_size=(2, 3), channels=3, width=8, depth=2, num_heads=2, mlp_dim=16, num_classes=5
)


class Layers(nn.Module):
    """Three layers, each of them kept or computed again."""

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)))
        self.reentrant = reentrant

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)[:, :6] + self.layers[0][0].bias
        for layer in self.layers:
            x = layer(x) if self.reentrant is None else checkpoint(layer, x, use_reentrant=self.reentrant)
        return x[:, :5]


def trial_of(model: nn.Module) -> Trial:
    candidate = Candidate(DeviantAdapter(BANK["unfused-still-fused"]))
    trial = candidate.trial(Case(CONFIG, batch=2, seed=0))
    return trial.of(model.double())


def test_layers_that_are_kept_are_not_computed_again() -> None:
    assert not kept_for_the_way_back(trial_of(Layers()), Tensor.sum).computed_again


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_layers_keep_less_and_are_computed_again(reentrant: bool) -> None:
    plain, checkpointed = (kept_for_the_way_back(trial_of(Layers(r)), Tensor.sum) for r in (None, reentrant))
    assert checkpointed.bytes < plain.bytes
    assert checkpointed.computed_again


def test_a_fused_kernel_is_seen() -> None:
    trial = Candidate(DeviantAdapter(BANK["unfused-still-fused"])).trial(Case(CONFIG, batch=2, seed=0))
    assert fused_attention_kernels(trial) == ["aten::_scaled_dot_product_flash_attention_for_cpu"]


def test_torchs_own_attention_written_out_is_no_fused_kernel() -> None:
    class Written(nn.Module):
        def forward(self, images: Tensor) -> Any:
            x = images.flatten(2)[:, None, :, :5]
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                return scaled_dot_product_attention(x, x, x)[:, 0, 0]

    assert fused_attention_kernels(trial_of(Written())) == []
