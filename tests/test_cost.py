"""What a model costs in closed form, against torch's own counter and by hand."""

from dataclasses import replace
from math import prod
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from vitbench.reference import cost
from vitbench.reference.attention import attention
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.vit import ViT
from vitbench.registry import resolve

SMALL = ViTConfig(
    image_size=(6, 8), patch_size=(2, 4), channels=2, width=6, depth=2, num_heads=3, mlp_dim=7, num_classes=5
)
CONFIGS = [
    SMALL,
    replace(SMALL, head="mlp"),
    replace(SMALL, pool="mean", depth=1),
    replace(SMALL, image_size=(2, 4), num_heads=1, channels=1),  # one patch
    replace(SMALL, width=24, num_heads=4, mlp_dim=5, depth=3, num_classes=1, image_size=(16, 16), patch_size=(4, 2)),
]
FOR_PEERS = ViTConfig(image_size=(32, 32), patch_size=(8, 8), width=24, depth=2, num_heads=3, mlp_dim=48, num_classes=7)

pytestmark = pytest.mark.usefixtures("one_thread")


def counted(model: nn.Module, images: torch.Tensor, *, training: bool = False) -> int:
    """What torch counts, with attention unfused: of a fused CPU kernel it counts nothing (pytorch #195460)."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        answer = model(images)
        if training:
            (answer if isinstance(answer, torch.Tensor) else answer.logits).sum().backward()
    return int(counter.get_total_flops())


def images_for(config: ViTConfig, batch: int) -> torch.Tensor:
    return torch.randn(batch, config.channels, *config.image_size)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_forward_pass_is_what_torch_counts(config: ViTConfig, batch: int) -> None:
    with torch.no_grad():
        assert cost.forward(config, batch, 4).flops == counted(ViT(config), images_for(config, batch))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_training_step_is_what_torch_counts(config: ViTConfig, batch: int) -> None:
    model = ViT(config, Conventions(head_init="random"))
    assert cost.training_step(config, batch, 4).flops == counted(model, images_for(config, batch), training=True)


@pytest.mark.parametrize("name", ["timm", "torchvision", "vit_pytorch", "transformers"])
def test_a_peer_does_the_same_work(name: str) -> None:
    """Their patch embedding is a convolution, their attention torch's own; the products are the same."""
    pytest.importorskip(name)
    model: Any = resolve(name).build(FOR_PEERS)
    with torch.no_grad():
        assert counted(model.eval(), images_for(FOR_PEERS, 2)) == cost.forward(FOR_PEERS, 2, 4).flops


def test_timm_trains_with_the_same_work() -> None:
    pytest.importorskip("timm")
    model: Any = resolve("timm").build(FOR_PEERS)
    assert counted(model, images_for(FOR_PEERS, 2), training=True) == cost.training_step(FOR_PEERS, 2, 4).flops


@pytest.mark.parametrize("config", CONFIGS)
def test_attention_alone_is_what_torch_counts(config: ViTConfig) -> None:
    shape = (2, config.num_heads, config.num_tokens, config.head_dim)
    query, key, value = (torch.randn(shape, requires_grad=True) for _ in range(3))
    with FlopCounterMode(display=False) as counter:
        output = attention(query, key, value)
        forward = counter.get_total_flops()
        output.sum().backward()
    assert cost.attention_forward(config, 2, 2).flops == forward == sdpa_flop_count(shape, shape, shape)
    assert cost.attention_backward(config, 2, 2).flops == counter.get_total_flops() - forward


def test_a_fused_kernel_is_said_to_recompute_one_product_of_five() -> None:
    """The difference to torch's count of a fused backward pass, which is the kernels' work and not the model's."""
    from torch.utils.flop_counter import sdpa_backward_flop_count

    shape = (2, SMALL.num_heads, SMALL.num_tokens, SMALL.head_dim)
    fused = sdpa_backward_flop_count(shape, shape, shape, shape)
    assert 4 * fused == 5 * cost.attention_backward(SMALL, 2, 2).flops


def test_a_blocks_attention_is_that_share_of_the_model() -> None:
    one_block_less = replace(SMALL, depth=1)
    block = cost.forward(SMALL, 1, 4).flops - cost.forward(one_block_less, 1, 4).flops
    linear = 2 * (4 * 7 * 6 * 6 + 2 * 7 * 6 * 7)
    assert block == linear + cost.attention_forward(SMALL, 1, 4).flops


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_least_bytes_of_a_forward_pass_are_those_of_weights_images_and_logits(
    config: ViTConfig, dtype: torch.dtype
) -> None:
    model, images = ViT(config).to(dtype), images_for(config, 3).to(dtype)
    with torch.no_grad():
        tensors = [*model.parameters(), images, model(images)]
    assert cost.forward(config, 3, dtype.itemsize).least_bytes == sum(tensor.nbytes for tensor in tensors)


def test_conventions_count_where_they_have_parameters() -> None:
    lean = Conventions(qkv_bias=False, patch_bias=False)
    fewer = cost.parameter_count(SMALL) - cost.parameter_count(SMALL, lean)
    assert cost.forward(SMALL, 1, 4).least_bytes - cost.forward(SMALL, 1, 4, lean).least_bytes == 4 * fewer


def test_a_training_step_moves_parameters_and_optimizer_states_there_and_back() -> None:
    parameters, images = cost.parameter_count(SMALL), 3 * 2 * 6 * 8
    assert cost.training_step(SMALL, 3, 4, optimizer_states=0).least_bytes == 4 * (2 * parameters + images)
    assert cost.training_step(SMALL, 3, 4).least_bytes == 4 * (6 * parameters + images)


def test_attention_moves_its_inputs_and_outputs() -> None:
    tensor = 2 * prod((3, SMALL.num_tokens, SMALL.width))  # bytes of one in half precision, batch 3
    assert cost.attention_forward(SMALL, 3, 2).least_bytes == 4 * tensor
    assert cost.attention_backward(SMALL, 3, 2).least_bytes == 7 * tensor


def test_attentions_intensity_in_half_precision_is_half_a_flop_a_token() -> None:
    """4T²D operations over 8TD bytes: T/2, so it is bound by memory where sequences are short."""
    assert cost.attention_forward(SMALL, 5, 2).intensity == SMALL.num_tokens / 2


def test_a_larger_batch_does_more_with_the_weights_it_has_read() -> None:
    assert cost.forward(SMALL, 8, 4).intensity > cost.forward(SMALL, 1, 4).intensity
