"""Compiling and exporting around a candidate: what is captured, what is compared, and that nothing is left behind."""

import logging
import warnings

import pytest
import torch
from torch import Tensor, nn

from vitbench import tracing
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.evidence import collecting
from vitbench.tracing import Logits, Way, compiled, exported


class Doubled(nn.Module):
    """Another function where it is compiled, so that it tells whether it was."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x if torch.compiler.is_compiling() else 2 * x


@pytest.fixture
def x() -> Tensor:
    return torch.arange(6.0).reshape(2, 3)


def test_a_compiled_model_runs_its_captured_graph(x: Tensor) -> None:
    with compiled(Doubled(), Way("eager")) as found:
        assert torch.equal(found.model(x), 3 * x)
        assert len(found.graphs) == 1


def test_a_model_that_is_not_captured_has_no_graphs(x: Tensor) -> None:
    class Hidden(nn.Module):
        @torch.compiler.disable
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    with compiled(Hidden(), Way("eager")) as found:
        assert torch.equal(found.model(x), 2 * x)
    assert found.graphs == []


def test_logs_are_as_before_and_compiled_code_is_forgotten(x: Tensor) -> None:
    before = logging.root.manager.disable
    for _ in range(2):
        with compiled(Doubled(), Way("eager")) as found:
            found.model(x)
            assert logging.root.manager.disable == logging.CRITICAL
        assert len(found.graphs) == 1  # captured anew, the second time too
    assert logging.root.manager.disable == before


def test_logs_are_as_before_a_failure() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no such path")

    before = logging.root.manager.disable
    with pytest.raises(ValueError, match="no such path"), compiled(Broken(), Way("eager")) as found:
        found.model(torch.zeros(2))
    assert logging.root.manager.disable == before


def test_warnings_are_not_shown_while_compiling(x: Tensor, recwarn: pytest.WarningsRecorder) -> None:
    with compiled(Doubled(), Way("eager")) as found:
        warnings.warn("from the compiler", stacklevel=1)
        found.model(x)
    assert [str(warning.message) for warning in recwarn] == []


def test_without_a_working_inductor_its_graphs_run_without_kernels(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_kernels_can_be_built", lambda: False)
    with collecting() as evidence, compiled(Doubled(), Way("inductor")) as found:
        assert torch.equal(found.model(x), 3 * x)
    assert evidence.notes == ["inductor compiles nothing here; judged with aot_eager"]


def test_an_exported_model_takes_another_batch_size(x: Tensor) -> None:
    class Scaled(nn.Module):
        def forward(self, model: nn.Module, images: Tensor) -> Tensor:
            return 2 * images

    class Adapter(ReferenceAdapter):
        def logits(self, model: nn.Module, images: Tensor) -> Tensor:
            return model(model, images)

    program = exported(Logits(Adapter(), Scaled()), x)
    assert torch.equal(program(torch.ones(5, 3)), torch.full((5, 3), 2.0))


def test_a_batch_size_that_is_baked_in_is_refused(x: Tensor) -> None:
    class Baked(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.reshape(int(images.shape[0]), -1)[: int(images.shape[0])] * int(images.shape[0])

    class Adapter(ReferenceAdapter):
        def logits(self, model: nn.Module, images: Tensor) -> Tensor:
            return model(images)

    with pytest.raises(Exception, match=r"[Cc]onstraint"):
        exported(Logits(Adapter(), Baked()), x)


def test_a_way_says_what_it_is() -> None:
    assert [str(Way("eager")), str(Way("inductor", dynamic=True))] == [
        "backend eager",
        "backend inductor, sizes as symbols",
    ]
