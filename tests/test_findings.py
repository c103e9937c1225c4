"""The pages of docs/findings name lines of packages: those of the versions that are installed."""

import importlib.util
import re
from importlib import metadata
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[1] / "docs" / "findings"
PACKAGES = {  # page: top-level module, distribution
    "timm": ("timm", "timm"),
    "torchvision": ("torchvision", "torchvision"),
    "transformers": ("transformers", "transformers"),
    "vit_pytorch": ("vit_pytorch", "vit-pytorch"),
    "open_clip": ("open_clip", "open-clip-torch"),
    "labml_nn": ("labml_nn", "labml-nn"),
    "vformer": ("vformer", "vformer"),
    "pytorch_pretrained_vit": ("pytorch_pretrained_vit", "pytorch-pretrained-vit"),
    "vision_transformer_pytorch": ("vision_transformer_pytorch", "vision-transformer-pytorch"),
    "keras_hub": ("keras_hub", "keras-hub"),
}
PLACE = re.compile(r"`([\w/]+\.py):(\d+)`")
QUOTED = re.compile(r"`([\w/]+\.py):(\d+)`\s+\(`([^`]+)`\)|\(`([\w/]+\.py):(\d+)`,\s+`([^`]+)`\)")


def text_of(page: str) -> str:
    return (PAGES / f"{page}.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_index_and_about_a_package() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README", "inferred"}
    assert pages == set(PACKAGES)
    index = text_of("README")
    for page in pages:
        version = text_of(page).splitlines()[0].removeprefix("# ").split(",")[0]
        assert f"[{version}]({page}.md)" in index


@pytest.mark.parametrize("page", PACKAGES)
def test_every_line_that_a_page_names_is_quoted_once_at_least(page: str) -> None:
    text = text_of(page)
    quoted = {(match[1] or match[4], match[2] or match[5]) for match in QUOTED.finditer(text)}
    assert quoted
    assert {(match[1], match[2]) for match in PLACE.finditer(text)} == quoted


@pytest.mark.parametrize("page", PACKAGES)
def test_the_lines_are_those_of_the_version_judged(page: str) -> None:
    module, distribution = PACKAGES[page]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        pytest.skip(f"{distribution} is not installed")
    text = text_of(page)
    if text.splitlines()[0].split()[2].rstrip(",") != metadata.version(distribution):
        pytest.skip(f"{distribution} {metadata.version(distribution)} is not the version judged")
    sources = Path(spec.origin).parents[1]
    for match in QUOTED.finditer(text):
        path, number, code = [part for part in match.groups() if part]
        line = (sources / path).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert code in line, f"{path}:{number} reads {line.strip()!r}"
