"""Any torch candidate by way of its ONNX export: what the exporter makes of it, judged as ONNX Runtime runs it."""

import contextlib
import io
import logging
import warnings
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from vitbench.adapter import Adapter, NotSupported, ViTConfig
from vitbench.errors import AdapterBroken, one_line
from vitbench.onnx_files.adapter import Model, OnnxAdapter, Reading, read, same_as
from vitbench.onnx_files.reading import NoViT
from vitbench.reference.parameters import exercised_weights
from vitbench.tracing import Logits

_SMALL = ViTConfig(
    image_size=(12, 8), patch_size=(4, 4), channels=3, width=24, depth=2, num_heads=3, mlp_dim=40, num_classes=5
)
_SQUARE = replace(_SMALL, image_size=(12, 12))
_SEED = 1  # of the weights that are exported: no two are the same, so that the exporter keeps them apart


class ExportedAdapter(OnnxAdapter):
    """``--impl onnx:NAME``: the torch candidate NAME, exported by ``torch.onnx`` once for each of a few configurations.

    Its conventions are those that NAME declares, not those that are written in the file: an export that changes one is a defect
    of the export.
    """

    def __init__(self, inner: Adapter) -> None:
        self.inner, self.name = inner, f"onnx:{inner.name}"
        self.conventions = replace(inner.conventions, head_init="random")  # its weights are not its own
        self._readings: dict[ViTConfig, Reading] = {}

    @cached_property
    def configs(self) -> tuple[ViTConfig, ...]:  # type: ignore[override]
        """A rectangular image where NAME takes one, of both poolings and both heads where it has them."""
        plain = _SMALL if self._builds(_SMALL) else _SQUARE
        others = replace(plain, pool="mean"), replace(plain, head="mlp")
        return (plain, *(one for one in others if self._builds(one)))

    def build(self, config: ViTConfig) -> Model:
        one = same_as(config, self.configs)
        if one is None:
            raise NotSupported("exports of a few sizes only")
        if one not in self._readings:
            self._readings[one] = self._exported(one)
        return Model(self._readings[one])

    def file(self) -> bytes:
        """The export of the first of these configurations, with random weights.

        Raises:
            NotSupported: it is no torch module, or the exporter refuses it.
        """
        content: bytes = self._export(self.configs[0]).SerializeToString()
        return content

    def _builds(self, config: ViTConfig) -> bool:
        try:
            return isinstance(self.inner.build(config), nn.Module)
        except Exception:  # noqa: BLE001  # for whatever reason; without a plain model, build() tells
            return False

    def _export(self, config: ViTConfig) -> Any:
        model = self.inner.build(config)
        if not isinstance(model, nn.Module):
            raise NotSupported(f"{self.inner.name} is no torch module that could be exported")
        model = model.eval()
        self.inner.load(model, exercised_weights(config, self.conventions, _SEED, torch.float32))
        return export(Logits(self.inner, model), config)

    def _exported(self, config: ViTConfig) -> Reading:
        try:
            reading = read(self._export(config))
        except NoViT as error:
            raise NotSupported(f"its export {error}") from error
        if reading.config != config:
            raise AdapterBroken(f"the export of {self.inner.name} computes {reading.config}, expected {config}")
        return replace(reading, conventions=self.conventions)


def export(module: nn.Module, config: ViTConfig) -> Any:
    """A module's ONNX model for any batch, by torch's exporter; it must have its weights.

    Raises:
        NotSupported: the exporter refuses it.
    """
    images = torch.zeros(2, config.channels, *config.image_size)
    quiet = logging.getLogger("torch.onnx")
    before, quiet.disabled = quiet.disabled, True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, (images,), dynamo=True, verbose=False, dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
    except Exception as error:
        raise NotSupported(f"torch.onnx.export() raised {type(error).__name__}: {one_line(error)}") from error
    finally:
        quiet.disabled = before
    if program is None:
        raise NotSupported("torch.onnx.export() returned nothing")
    return program.model_proto
