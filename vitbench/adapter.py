"""The contract between vitbench and a candidate: subclass ``Adapter``, or offer the same methods.

Three methods make a candidate: ``build``, ``load`` and ``logits``. Each optional hook unlocks requirements; one
that is left out makes them NOT OFFERED, never passed. ``docs/adapters.md`` leads through writing one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vitbench.errors import NotSupported
from vitbench.reference.config import Conventions, ViTConfig

__all__ = ["OPTIONAL_HOOKS", "Adapter", "Conventions", "Model", "NotSupported", "ViTConfig"]

Model = Any
"""Opaque to vitbench: a torch module, or any object that the adapter understands."""

OPTIONAL_HOOKS = (
    "export",
    "feature_map",
    "patch_tokens",
    "tokens",
    "block_outputs",
    "attention",
    "representation",
    "resize_position_embedding",
    "at_image_size",
    "unfused",
    "checkpointed",
)

FOREIGN_HOOKS = ("device", "synchronize", "value_and_grad")
"""What the harness knows by itself of a torch module, and has to be told of any other model."""

UNKNOWN = "unknown"
"""The version of what has none."""

Gradients = tuple[Any, Mapping[str, Any], Any]
"""Logits (B, K); the gradient of each canonical parameter; that of the images (B, C, H, W)."""


class Adapter:
    """What a package must offer to be judged and measured.

    The harness puts torch modules into ``eval()`` and moves them to its device and dtype (float64 for most
    requirements) after ``build``; any other model takes both from the tensors that ``load`` and ``logits`` get.
    Arrays returned may be torch tensors, or anything with ``__dlpack__`` or ``__array__``.
    """

    name: str = "unnamed"
    version: str = UNKNOWN  # of the package adapted
    conventions: Conventions = Conventions()
    framework: str = "torch"  # what the model computes with; torch's own switches and kernels are not asked of others
    configs: Sequence[ViTConfig] = ()  # all that there are, where a candidate has models of fixed sizes only
    batch: int | None = None  # images a pass, where a candidate takes that many and no other number
    inferred: Sequence[str] = ()  # of an adapter that vitbench inferred: what it assumed, a line each

    def build(self, config: ViTConfig) -> Model:
        """A model of these sizes, however initialised.

        Raises:
            NotSupported: the package has no such model; the reason is shown in the report.
        """
        raise NotImplementedError("an adapter must define build(config)")

    def load(self, model: Model, state: Mapping[str, Tensor]) -> None:
        """Put canonical parameters (``vitbench.reference.parameters``) into the model, in place."""
        raise NotSupported(f"{self.name} maps no canonical weights")

    def logits(self, model: Model, images: Tensor) -> Tensor:
        """The class scores before softmax. Shapes: (B, C, H, W) -> (B, K)."""
        result: Tensor = model(images)
        return result

    # Optional hooks. Overriding one offers it.

    def export(self, model: Model) -> Mapping[str, Tensor]:
        """The inverse of ``load``: the canonical parameters that the model holds now."""
        raise NotSupported(f"{self.name} exports no weights: its adapter has no export()")

    def feature_map(self, model: Model, images: Tensor) -> Tensor:
        """A hybrid's stem: what its patch embedding receives. Shapes: (B, C, H, W) -> (B, C', H', W')."""
        raise NotSupported(f"{self.name} does not show the feature map of a hybrid: its adapter has no feature_map()")

    def patch_tokens(self, model: Model, images: Tensor) -> Tensor:
        """x_p E + b, before class token and positions. Shapes: (B, C, H, W) -> (B, N, D)."""
        raise NotSupported(f"{self.name} does not show its patch tokens: its adapter has no patch_tokens()")

    def tokens(self, model: Model, images: Tensor) -> Tensor:
        """z_0: what the first encoder block receives. Shapes: (B, C, H, W) -> (B, N+1, D)."""
        raise NotSupported(f"{self.name} does not show its tokens: its adapter has no tokens()")

    def block_outputs(self, model: Model, images: Tensor) -> Sequence[Tensor]:
        """z_1 to z_L of one forward pass, before the final LayerNorm. Shapes: (B, C, H, W) -> L times (B, N+1, D)."""
        raise NotSupported(f"{self.name} does not show its blocks' outputs: its adapter has no block_outputs()")

    def attention(self, model: Model, images: Tensor) -> Sequence[Tensor]:
        """Softmax weights of every block. Shapes: (B, C, H, W) -> L times (B, h, N+1, N+1)."""
        raise NotSupported(f"{self.name} does not show its attention: its adapter has no attention()")

    def representation(self, model: Model, images: Tensor) -> Tensor:
        """y: the normalised, pooled vector that the head receives. Shapes: (B, C, H, W) -> (B, D)."""
        raise NotSupported(f"{self.name} does not show its representation: its adapter has no representation()")

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        """The package's own resizing of position embeddings. Shapes: (1, N+1, D) -> (1, N'+1, D)."""
        raise NotSupported(
            f"{self.name} offers no resizing of position embeddings: its adapter has no resize_position_embedding()"
        )

    def at_image_size(self, model: Model, image_size: tuple[int, int]) -> Model:
        """The same weights, ready for images of another size (H, W), the way the package does it."""
        raise NotSupported(f"{self.name} does not change its image size")

    def unfused(self, model: Model) -> Model:
        """The same weights with attention written out, where ``model`` uses a fused kernel; ``model`` stays as it is."""
        raise NotSupported(f"{self.name} has no other path of attention")

    def checkpointed(self, model: Model) -> Model:
        """The same weights with gradient checkpointing switched on; ``model`` stays as it is."""
        raise NotSupported(f"{self.name} has no gradient checkpointing")

    # For models that are no torch modules.

    def device(self, model: Model) -> str:
        """Where the model computes, as torch calls it: ``cpu``, ``cuda:0``. Other devices are then not offered."""
        raise NotSupported(f"{self.name} does not say where it computes: its adapter has no device()")

    def synchronize(self, model: Model, answer: Any) -> None:
        """Return once ``answer``, of ``logits(model, …)``, is computed: a framework may answer before that."""
        raise NotSupported(f"{self.name} does not say when it is done: its adapter has no synchronize()")

    def value_and_grad(self, model: Model, images: Tensor, cotangent: Tensor) -> Gradients:
        """One forward and one backward pass, as training makes them: with the configuration's dropout, if any.

        ``cotangent`` is the gradient of a loss with respect to the logits. Returns the logits of this pass, and the
        loss's gradients with respect to every canonical parameter, by name and in its shape, and to the images.

        Shapes: images (B, C, H, W), cotangent (B, K) -> (B, K), mapping, (B, C, H, W).
        """
        raise NotSupported(f"{self.name} shows no gradients: its adapter has no value_and_grad()")


def collect_inputs(modules: Sequence[torch.nn.Module], run: Any) -> list[Tensor]:
    """The first positional input that each module receives while ``run()`` runs, in the order of ``modules``."""
    # Before a module runs: it may write into what it was given, as a residual sum in place does.
    return _collect(modules, run, "register_forward_pre_hook", lambda inputs, *_output: inputs[0])


def collect_outputs(modules: Sequence[torch.nn.Module], run: Any, item: int = 0) -> list[Tensor]:
    """The output of each module while ``run()`` runs (``item`` of a tuple), in the order of ``modules``."""

    def pick(_inputs: Any, output: Any) -> Any:
        return output[item] if isinstance(output, tuple) else output

    return _collect(modules, run, "register_forward_hook", pick)


def _collect(modules: Sequence[torch.nn.Module], run: Any, register: str, pick: Any) -> list[Tensor]:
    """One value a module, in order; a module that is listed several times gives its calls one after the other."""
    calls: dict[torch.nn.Module, list[Tensor]] = {module: [] for module in modules}

    def hook(module: torch.nn.Module, *passed: Any) -> None:
        seen = pick(*passed)
        calls[module].append(seen.clone() if isinstance(seen, Tensor) else seen)  # a model may go on in its memory

    handles = [getattr(module, register)(hook) for module in calls]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    missing = [type(module).__name__ for module in calls if len(calls[module]) < list(modules).count(module)]
    if missing:
        raise NotSupported(f"these modules did not run in the forward pass: {', '.join(missing)}")
    return [calls[module].pop(0) for module in modules]
