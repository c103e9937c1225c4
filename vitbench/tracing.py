"""torch.compile and torch.export around a candidate's model, leaving no trace of their own."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.adapter import Adapter
from vitbench.errors import NotSupported, one_line
from vitbench.evidence import current_evidence


@dataclass(frozen=True)
class Way:
    """One way to compile: what becomes of a captured graph, and whether sizes are symbols from the start."""

    backend: str  # "eager" runs the graph as it is, "aot_eager" in torch's basic operations, "inductor" as kernels
    dynamic: bool | None = None  # None: sizes are fixed until others come, and symbols from then on

    def __str__(self) -> str:
        return f"backend {self.backend}{', sizes as symbols' if self.dynamic else ''}"


@dataclass
class Compiled:
    """A compiled model, and how many graphs were captured of it so far."""

    model: Any
    graphs: list[int] = field(default_factory=list)  # the number of operations in each


@contextmanager
def compiled(model: nn.Module, way: Way) -> Iterator[Compiled]:
    """The model behind torch.compile, which forgets all it compiled at the end and says nothing meanwhile."""
    with _quiet():
        from torch import _dynamo as dynamo  # noqa: PLC0415  # a second to import, for these requirements only

        backend = way.backend
        if backend == "inductor" and not _kernels_can_be_built():
            backend = "aot_eager"
            current_evidence().note("inductor compiles nothing here; judged with aot_eager")
        compile_graph = dynamo.lookup_backend(backend)
        found = Compiled(model=None)

        def capture(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
            found.graphs.append(len(graph.graph.nodes))
            return compile_graph(graph, inputs)

        try:
            try:
                found.model = torch.compile(model, backend=capture, dynamic=way.dynamic)
            except Exception as error:
                raise NotSupported(f"torch.compile() raised {type(error).__name__}: {one_line(error)}") from error
            yield found
        finally:
            dynamo.reset()


def of_any_batch(images: Tensor) -> Tensor:
    """A copy that tells torch.compile to make its batch a symbol at once, where the model lets it. Shapes kept."""
    from torch import _dynamo as dynamo  # noqa: PLC0415

    copied = images.clone()
    dynamo.maybe_mark_dynamic(copied, 0)
    return copied


class Logits(nn.Module):
    """Images to logits as one module, whatever the model itself takes and returns."""

    def __init__(self, adapter: Adapter, model: nn.Module) -> None:
        super().__init__()
        self.adapter, self.model = adapter, model

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        return self.adapter.logits(self.model, images)


def exported(model: nn.Module, images: Tensor) -> nn.Module:
    """The graph that torch.export makes of a module, for batches of any size. Raises whatever torch.export does."""
    with _quiet():
        any_batch = ({0: torch.export.Dim.DYNAMIC},)
        return torch.export.export(model, (images,), dynamic_shapes=any_batch).module()


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither log, warning nor graph on the terminal: what keeps a model from being traced is reported as a reason."""
    before, nowhere = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@cache
def _kernels_can_be_built() -> bool:
    """Whether inductor works at all here; it needs a C++ compiler."""
    try:
        torch.compile(lambda x: x + 1, backend="inductor")(torch.zeros(4))
    except Exception:  # noqa: BLE001  # whatever it is, no candidate is to blame
        return False
    return True
