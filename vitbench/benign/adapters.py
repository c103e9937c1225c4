"""The model as packages write it, behind the contract, in every layout of its parameters and way of being called."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from vitbench.adapter import Adapter, Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, copy_into, module_views, qkv_views, require
from vitbench.benign.module import PackageViT, Style
from vitbench.deviations import DeviantAdapter
from vitbench.reference.vit import ViT


class RewrittenAdapter(DeviantAdapter):
    """The reference rewritten as its equal; where that has put a kernel for its attention, it is not written out."""

    def unfused(self, model: ViT) -> ViT:
        require("vit.multi_head_self_attention" not in self._deviation.replaces, "no other path of attention")
        return super().unfused(model)


class StyledAdapter(MappedAdapter):
    """``PackageViT`` in one style."""

    conventions = Conventions(head_init="random")

    def __init__(self, name: str, style: Style | None = None) -> None:
        self.name, self.style = name, style or Style()

    def build(self, config: ViTConfig) -> Any:
        require(config.stem == "patch", "patches of pixels only")
        require(config.drop_path == 0, "no drop path")
        require(config.dropout == config.attention_dropout, "one rate for every dropout")
        return PackageViT(config, self.conventions, self.style)

    def views(self, model: Any) -> dict[str, Tensor]:
        """Of what is stored; ``load`` and ``export`` translate the rest."""
        config, projection = model.config, model.patch_embedding.proj
        weight = projection.weight.detach()
        if self.style.pixels_last:
            weight = weight.unflatten(1, (*config.patch_size, config.channels)).permute(0, 3, 1, 2)
        views = {"patch_embedding.weight": weight, "patch_embedding.bias": projection.bias.detach()}
        views |= {name: parameter.detach() for name, parameter in model.named_parameters(recurse=False)}
        views |= module_views({"norm": model.norm, "head": model.head})
        if config.head == "mlp":
            views |= module_views({"head.hidden": model.hidden[0]})
        for i, block in enumerate(model.blocks):
            views |= self._block_views(f"blocks.{i}.", block)
        return views

    def _block_views(self, prefix: str, block: Any) -> dict[str, Tensor]:
        modules = {"norm1": block.norm1, "norm2": block.norm2, "mlp.fc1": block.linear1, "mlp.fc2": block.linear2}
        if self.style.attention == "separate":
            own = block.attention
            parts = {"query": own.query, "key": own.key, "value": own.value, "output": own.output}
            return module_views({**modules, **{f"attention.{name}": part for name, part in parts.items()}}, prefix)
        if self.style.attention == "packed":
            output, packed = block.attention.output, (block.attention.qkv.weight, block.attention.qkv.bias)
        else:
            own = block.attention if self.style.attention == "library" else block.self_attn
            output, packed = own.out_proj, (own.in_proj_weight, own.in_proj_bias)
        views = module_views({**modules, "attention.output": output}, prefix)
        return views | qkv_views(f"{prefix}attention.", weight=packed[0], bias=packed[1])

    def load(self, model: Any, state: Mapping[str, Tensor]) -> None:
        stored = dict(state)
        first, table = stored.pop("class_token"), stored.pop("position_embedding")
        positions = table[:, 1:]
        if self.style.table_on_grid:
            positions = positions[0].T.unflatten(1, model.config.grid)
        apart = {} if self.style.folded else {"first_position": table[:, :1]}
        first = first + table[:, :1] if self.style.folded else first
        kept = {name: w for name, w in stored.items() if self.style.key_bias or not name.endswith(".key.bias")}
        copy_into(self.views(model), {**kept, "first": first, "positions": positions, **apart})

    def export(self, model: Any) -> dict[str, Tensor]:
        stored = super().export(model)
        first, positions = stored.pop("first"), stored.pop("positions")
        if self.style.table_on_grid:
            positions = positions.flatten(1).T[None]
        row = stored.pop("first_position", torch.zeros_like(first))
        return {**stored, "class_token": first, "position_embedding": torch.cat([row, positions], dim=1)}

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.outputs_of([model.patch_embedding], model, images)[0]

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self._batch_first(self.inputs_of([model.blocks[0]], model, images))[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        return self._batch_first(self.outputs_of(model.blocks, model, images))

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        require(self.style.attention == "separate", "the kernel never forms the weights")
        return self.outputs_of([block.attention.softmax for block in model.blocks], model, images)

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.hidden], model, images)[0]

    def _batch_first(self, tensors: list[Tensor]) -> list[Tensor]:
        return [z.transpose(0, 1) for z in tensors] if self.style.sequence_first else tensors


class AnySizeAdapter(StyledAdapter):
    """A model that takes images of every size as it is, and resizes its positions in each call."""

    def __init__(self, name: str) -> None:
        super().__init__(name, Style(any_size=True, attention="library"))

    def at_image_size(self, model: Any, image_size: tuple[int, int]) -> Any:
        del image_size
        return copy.deepcopy(model)


def _queries_scaled(state: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    return {name: w * factor if ".query." in name else w for name, w in state.items()}


class RearrangedHeadsAdapter(StyledAdapter):
    """Heads in the opposite order, which is the model's own affair; the scale of attention within the query's weights."""

    def __init__(self, name: str) -> None:
        super().__init__(name, Style(key_bias=False, prescaled=True))

    def load(self, model: Any, state: Mapping[str, Tensor]) -> None:
        scaled = _queries_scaled(state, model.config.head_dim**-0.5)
        super().load(model, _heads_reversed(scaled, model.config.num_heads))

    def export(self, model: Any) -> dict[str, Tensor]:
        scaled = _heads_reversed(super().export(model), model.config.num_heads)
        return _queries_scaled(scaled, model.config.head_dim**0.5)


def _heads_reversed(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """Queries', keys' and values' features, and the output projection's columns, head by head from the last."""
    found = dict(state)
    for name, w in state.items():
        if name.endswith("attention.output.weight"):
            found[name] = w.unflatten(1, (heads, -1)).flip(1).flatten(1)
        elif ".attention." in name and not name.endswith("output.bias"):
            found[name] = w.unflatten(0, (heads, -1)).flip(0).flatten(0, 1)
    return found


class VmapAdapter(StyledAdapter):
    """A model of one image, mapped over the batch, as equinox has it; model and images in the channels-last layout."""

    def build(self, config: ViTConfig) -> Any:
        return super().build(config).to(memory_format=torch.channels_last)

    def logits(self, model: Any, images: Tensor) -> Tensor:
        def of_one(image: Tensor) -> Any:
            return functional_call(model, dict(model.named_parameters()), (image[None],))[0]

        return torch.vmap(of_one, randomness="different")(images.contiguous(memory_format=torch.channels_last))

    def inputs_of(self, modules: Any, model: Any, images: Tensor) -> list[Tensor]:
        return StyledAdapter("unmapped", self.style).inputs_of(modules, model, images)

    def outputs_of(self, modules: Any, model: Any, images: Tensor, item: int = 0) -> list[Tensor]:
        return StyledAdapter("unmapped", self.style).outputs_of(modules, model, images, item)


class CompiledAdapter(StyledAdapter):
    """The model behind ``torch.compile``; stages are watched in the model that was compiled."""

    def __init__(self, name: str, backend: str) -> None:
        super().__init__(name, Style(attention="packed"))
        self._backend = backend

    def build(self, config: ViTConfig) -> Any:
        torch._dynamo.reset()  # noqa: SLF001  # else the ninth configuration would quietly run uncompiled
        return torch.compile(super().build(config), backend=self._backend)

    def views(self, model: Any) -> dict[str, Tensor]:
        return super().views(model._orig_mod)  # noqa: SLF001

    def inputs_of(self, modules: Any, model: Any, images: Tensor) -> list[Tensor]:
        return super().inputs_of(modules, model._orig_mod, images)  # noqa: SLF001

    def outputs_of(self, modules: Any, model: Any, images: Tensor, item: int = 0) -> list[Tensor]:
        return super().outputs_of(modules, model._orig_mod, images, item)  # noqa: SLF001


class LazyModel:
    """No torch module: an object that makes one when it is first given weights or images."""

    def __init__(self, config: ViTConfig) -> None:
        self.config = config
        self.module: Any = None


class LazyAdapter(Adapter):
    """Makes its model late, in the dtype of the first tensor it sees."""

    conventions = StyledAdapter.conventions

    def __init__(self, name: str) -> None:
        self.name, self._inner = name, RearrangedHeadsAdapter(name)

    def build(self, config: ViTConfig) -> LazyModel:
        self._inner.build(config)  # for its refusals
        return LazyModel(config)

    def load(self, model: LazyModel, state: Mapping[str, Tensor]) -> None:
        self._inner.load(self._made(model, state["norm.bias"]), state)

    def export(self, model: LazyModel) -> dict[str, Tensor]:
        return self._inner.export(self._made(model, torch.empty(0)))

    def logits(self, model: LazyModel, images: Tensor) -> Tensor:
        return self._inner.logits(self._made(model, images), images)

    def _made(self, model: LazyModel, like: Tensor) -> Any:
        if model.module is None:
            model.module = self._inner.build(model.config).to(like).eval()
        return model.module


class SinglePrecisionAdapter(Adapter):
    """An engine that computes in float32 whatever it is given, and answers in the dtype that it was asked in."""

    conventions = StyledAdapter.conventions

    def __init__(self, name: str) -> None:
        self.name, self._inner = name, StyledAdapter(name)

    def build(self, config: ViTConfig) -> LazyModel:
        require(config.dropout == 0, "for inference: no dropout")
        model = LazyModel(config)
        model.module = self._inner.build(config).float().eval()
        return model

    def load(self, model: LazyModel, state: Mapping[str, Tensor]) -> None:
        self._inner.load(model.module, state)

    def export(self, model: LazyModel) -> dict[str, Tensor]:
        return {name: w.double() for name, w in self._inner.export(model.module).items()}

    def logits(self, model: LazyModel, images: Tensor) -> Tensor:
        return self._inner.logits(model.module, images.float()).to(images.dtype)

    def patch_tokens(self, model: LazyModel, images: Tensor) -> Tensor:
        return self._inner.patch_tokens(model.module, images.float()).to(images.dtype)

    def tokens(self, model: LazyModel, images: Tensor) -> Tensor:
        return self._inner.tokens(model.module, images.float()).to(images.dtype)

    def block_outputs(self, model: LazyModel, images: Tensor) -> list[Tensor]:
        return [z.to(images.dtype) for z in self._inner.block_outputs(model.module, images.float())]

    def attention(self, model: LazyModel, images: Tensor) -> list[Tensor]:
        return [weights.to(images.dtype) for weights in self._inner.attention(model.module, images.float())]

    def representation(self, model: LazyModel, images: Tensor) -> Tensor:
        return self._inner.representation(model.module, images.float()).to(images.dtype)
