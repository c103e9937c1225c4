"""An option that an adapter never looks at is not offered; one that it passes on, or may pass on, is judged."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from vitbench.adapter import NotSupported
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate
from vitbench.reference.config import ViTConfig
from vitbench.reference.vit import ViT
from vitbench.watching import OPTIONS, ignored_options

PLAIN = ViTConfig(image_size=(4, 4), patch_size=(2, 2), width=8, depth=1, num_heads=2, mlp_dim=8)
KEPT: list[Any] = []


@pytest.mark.parametrize(
    ("build", "ignored"),
    [
        (lambda config: config.width, set(OPTIONS)),
        (lambda config: (config.pool, config.drop_path), set(OPTIONS) - {"pool", "drop_path"}),
        (asdict, set()),
        (vars, set()),
        (lambda config: replace(config, depth=2), set()),
        (KEPT.append, set()),  # it may be read when the model runs
    ],
    ids=["none", "two", "asdict", "vars", "replace", "kept"],
)
def test_an_option_is_ignored_where_it_is_neither_read_nor_kept(build: Any, ignored: set[str]) -> None:
    assert ignored_options(build, PLAIN)[1] == ignored


class Plain(ReferenceAdapter):
    """An author's first adapter: sizes only, whatever else is asked for."""

    def build(self, config: ViTConfig) -> ViT:
        sizes = ("image_size", "patch_size", "channels", "width", "depth", "num_heads", "mlp_dim", "num_classes")
        return ViT(ViTConfig(**{name: getattr(config, name) for name in sizes}), self.conventions)


@pytest.mark.parametrize("option", [{"pool": "mean"}, {"head": "mlp"}, {"dropout": 0.3}, {"drop_path": 0.1}])
def test_a_candidate_that_ignores_an_option_does_not_offer_it(option: dict[str, Any]) -> None:
    candidate = Candidate(Plain())
    for _ in range(2):  # also the second time
        with pytest.raises(NotSupported, match=rf"^build\(\) never looks at config\.{next(iter(option))}$"):
            candidate.build(replace(PLAIN, **option))
    assert candidate.build(PLAIN) is not None


def test_a_candidate_that_reads_an_option_is_asked_for_it() -> None:
    candidate = Candidate(ReferenceAdapter())
    for _ in range(2):
        assert candidate.build(replace(PLAIN, pool="mean", dropout=0.2)).config.pool == "mean"
