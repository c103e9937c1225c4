"""Weights in files: the same in both formats to the bit, and nothing read that should not be."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vitbench.adapters.timm import TimmAdapter
from vitbench.checkpoints import Checkpoint, CheckpointUnusable, at_image_size, load, npz, save
from vitbench.checkpoints.checkpoint import _theirs
from vitbench.errors import OutputUnwritable
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.vit import ViT

CONFIG = ViTConfig(
    image_size=(16, 16), patch_size=(4, 4), channels=3, width=12, depth=2, num_heads=3, mlp_dim=7, num_classes=5
)
FORMATS = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
EMBEDDING, CLASS, QUERY = (
    "embedding/kernel",
    "cls",
    "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel",
)


def checkpoint(config: ViTConfig = CONFIG, dtype: torch.dtype = torch.float32, **conventions: Any) -> Checkpoint:
    return Checkpoint(config, exercised_weights(config, Conventions(**conventions), 0, dtype))


def same(first: Checkpoint, second: Checkpoint) -> bool:
    return list(first.weights) == list(second.weights) and all(
        torch.equal(weight, second.weights[name]) and weight.dtype == second.weights[name].dtype
        for name, weight in first.weights.items()
    )


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": "mlp"},
        {"image_size": (8, 24), "patch_size": (2, 4), "channels": 1},  # 4 × 6 patches
        {"image_size": (8, 32)},  # 2 × 8 patches: as many as 4 × 4
        {"num_heads": 1, "depth": 11},
    ],
)
def test_a_model_is_loaded_as_it_was_saved_to_the_bit(
    tmp_path: Path, suffix: str, dtype: torch.dtype, changes: dict[str, Any]
) -> None:
    saved = checkpoint(replace(CONFIG, **changes), dtype)
    save(tmp_path / f"model{suffix}", saved)
    found = load(tmp_path / f"model{suffix}")
    assert found.config == saved.config
    assert same(found, saved)


def test_one_format_is_as_good_as_the_other(tmp_path: Path) -> None:
    saved = checkpoint()
    save(tmp_path / "first.npz", saved)
    save(tmp_path / "second.safetensors", load(tmp_path / "first.npz"))
    save(tmp_path / "third.npz", load(tmp_path / "second.safetensors"))
    assert same(load(tmp_path / "third.npz"), saved)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "third.npz").read_bytes()


def test_bfloat16_and_what_the_authors_do_not_have_go_into_safetensors_alone(tmp_path: Path) -> None:
    for saved, message in (
        (checkpoint(dtype=torch.bfloat16), "is bfloat16, which numpy does not have"),
        (checkpoint(pre_norm=True), "pre_norm.weight has no name in the authors' .npz"),
    ):
        with pytest.raises(CheckpointUnusable, match=message):
            save(tmp_path / "model.npz", saved)
        save(tmp_path / "model.safetensors", saved)
        conventions = Conventions(pre_norm="pre_norm.weight" in saved.weights)
        assert same(load(tmp_path / "model.safetensors", conventions=conventions), saved)
    assert not list(tmp_path.glob("*npz*"))


def test_the_names_and_shapes_are_the_authors(tmp_path: Path) -> None:
    save(tmp_path / "model.npz", checkpoint(replace(CONFIG, head="mlp")))
    with np.load(tmp_path / "model.npz", allow_pickle=False) as found:
        shapes = {name: found[name].shape for name in found.files}
    block, attention = "Transformer/encoderblock_1", "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    assert len(shapes) == 4 + 2 * 16 + 6
    assert {
        "embedding/kernel": (4, 4, 3, 12),
        "cls": (1, 1, 12),
        "Transformer/posembed_input/pos_embedding": (1, 17, 12),
        f"{block}/LayerNorm_0/scale": (12,),
        f"{block}/LayerNorm_2/bias": (12,),
        f"{attention}/query/kernel": (12, 3, 4),
        f"{attention}/value/bias": (3, 4),
        f"{attention}/out/kernel": (3, 4, 12),
        f"{attention}/out/bias": (12,),
        f"{block}/MlpBlock_3/Dense_0/kernel": (12, 7),
        f"{block}/MlpBlock_3/Dense_1/kernel": (7, 12),
        "Transformer/encoder_norm/scale": (12,),
        "pre_logits/kernel": (12, 12),
        "head/kernel": (12, 5),
        "head/bias": (5,),
    }.items() <= shapes.items()


def test_timms_own_loader_reads_the_file_as_the_same_model(tmp_path: Path) -> None:
    config = replace(CONFIG, image_size=(32, 32))
    saved, adapter = checkpoint(config), TimmAdapter()
    save(tmp_path / "model.npz", saved)
    theirs = adapter.build(config).eval()
    theirs.load_pretrained(str(tmp_path / "model.npz"))
    assert all(torch.equal(weight, saved.weights[name]) for name, weight in adapter.export(theirs).items())
    ours = ViT(config)
    ours.load_state_dict(dict(saved.weights))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-4)


def test_timms_own_loader_resizes_positions_to_the_same_grid(tmp_path: Path) -> None:
    save(tmp_path / "model.npz", checkpoint())
    larger = at_image_size(CONFIG, (32, 24))
    theirs = TimmAdapter().build(larger)
    theirs.load_pretrained(str(tmp_path / "model.npz"))
    ours = load(tmp_path / "model.npz", larger, Conventions(position_resize="bilinear"))  # as timm does here
    assert torch.allclose(ours.weights["position_embedding"], theirs.pos_embed, atol=1e-6)


@FORMATS
def test_positions_are_resized_and_nothing_else_is_touched(tmp_path: Path, suffix: str) -> None:
    saved, larger = checkpoint(), at_image_size(CONFIG, (24, 32))
    save(tmp_path / f"model{suffix}", saved)
    found = load(tmp_path / f"model{suffix}", larger)
    assert found.config == larger
    table = resize_position_embedding(saved.weights["position_embedding"], (4, 4), (6, 8), "bilinear_corners")
    assert torch.equal(found.weights["position_embedding"], table)
    assert all(torch.equal(w, saved.weights[name]) for name, w in found.weights.items() if name != "position_embedding")


@FORMATS
def test_a_grid_of_as_many_patches_is_still_another_grid(tmp_path: Path, suffix: str) -> None:
    wide = replace(CONFIG, image_size=(8, 32))
    save(tmp_path / f"model{suffix}", checkpoint(wide))
    square = load(tmp_path / f"model{suffix}", at_image_size(wide, (16, 16)))
    expected = resize_position_embedding(
        checkpoint(wide).weights["position_embedding"], (2, 8), (4, 4), "bilinear_corners"
    )
    assert torch.equal(square.weights["position_embedding"], expected)


@FORMATS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 6}, "head"),
        ({"width": 24}, "has shape"),
        ({"depth": 3}, "lacks .*blocks?.2"),
        ({"depth": 1}, "has, and the model has not: .*blocks?.1.* and 12 more"),
        ({"num_heads": 4}, "has 3 heads, and the model 4"),
        ({"head": "mlp"}, "lacks (pre_logits/kernel|head.hidden.weight)"),
        ({"stem": "hybrid"}, "stem"),
    ],
)
def test_weights_of_another_model_are_refused(
    tmp_path: Path, suffix: str, changes: dict[str, Any], message: str
) -> None:
    save(tmp_path / f"model{suffix}", checkpoint())
    with pytest.raises(CheckpointUnusable, match=message.replace("blocks?.", "(blocks.|encoderblock_)")):
        load(tmp_path / f"model{suffix}", replace(CONFIG, **changes))


def arrays(**changes: Any) -> dict[str, Any]:
    """The entries of a sound file with some of them replaced, or left out by None."""
    buffer = io.BytesIO()
    npz.write(buffer, _theirs(checkpoint()), None)
    buffer.seek(0)
    with np.load(buffer) as found:
        entries = {name: found[name] for name in found.files} | changes
    return {name: value for name, value in entries.items() if value is not None}


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (exec, ("raise SystemExit('a pickle was run')",))


def header(dtype: str, shape: str) -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


def zipped(path: Path, entries: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in entries.items():
            buffer = io.BytesIO()
            if isinstance(value, bytes):
                buffer.write(value)
            else:
                np.lib.format.write_array(buffer, np.asarray(value), allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    return path


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a pickle": ({CLASS: np.array([Evil()], dtype=object)}, "cls.npy holds pickled Python objects.*refused"),
    "a bare pickle": ({CLASS: pickle.dumps(1)}, "cls.npy is no numpy array"),
    "integers": ({CLASS: np.zeros((1, 1, 12), np.int32)}, "cls is int32, expected one of float16"),
    "complex numbers": ({CLASS: np.zeros((1, 1, 12), np.complex64)}, "cls is complex64"),
    "raw bfloat16": ({CLASS: header("'|V2'", "(1, 1, 12)") + bytes(24)}, "bfloat16 is stored like that"),
    "a record": ({CLASS: np.zeros(3, [("a", "<f4")])}, "cls is"),
    "an impossible size": ({CLASS: header("'<f4'", "(1, 1, 99999999999999999999)")}, "says that it has shape"),
    "a negative size": ({CLASS: header("'<f4'", "(1, -1, 12)")}, "it is damaged"),
    "too little data": ({CLASS: header("'<f4'", "(1, 1, 12)") + bytes(47)}, "48 bytes, and there are 47"),
    "too much data": ({CLASS: header("'<f4'", "(1, 1, 12)") + bytes(49)}, "48 bytes, and there are 49"),
    "code as header": ({CLASS: header("__import__('os').getcwd()", "(1,)")}, "cls.npy is no numpy array"),
    "a long header": ({CLASS: header("'<f4'", "(" + "1, " * 9000 + ")")}, "cls.npy is no numpy array"),
    "a newer format": ({CLASS: b"\x93NUMPY\x09\x00" + bytes(99)}, "cls.npy"),
    "nothing": ({CLASS: b""}, "cls.npy is no numpy array"),
    "a missing weight": ({"head/bias": None}, "lacks head/bias"),
    "a missing size": ({EMBEDDING: None}, "has no embedding/kernel; it has Transformer"),
    "one weight more": ({"head/scale": np.zeros(3, np.float32)}, "has, and the model has not: head/scale"),
    "one axis less": ({QUERY: np.zeros((12, 12), np.float32)}, "query/kernel has shape .12, 12., expected 3 axes"),
    "another shape": (
        {CLASS: np.zeros((1, 1, 13), np.float32)},
        "cls has shape .1, 1, 13., and the model has .1, 1, 12.",
    ),
    "no size at all": ({EMBEDDING: np.zeros((0, 4, 3, 12), np.float32)}, "positive whole numbers"),
    "positions of no grid": (
        {"Transformer/posembed_input/pos_embedding": np.zeros((1, 8, 12), np.float32)},
        "the positions of 7 patches, which make no square",
    ),
    "no positions": ({"Transformer/posembed_input/pos_embedding": np.zeros(3, np.float32)}, "expected a table"),
    "a grid of words": ({"vitbench/grid": np.array(["2", "8"])}, "vitbench/grid must be two whole numbers"),
    "a negative grid": ({"vitbench/grid": np.array([-2, 8])}, "positive whole numbers"),
    "a grid cut short": ({"vitbench/grid": header("'<i8'", "(2,)") + bytes(8)}, "two whole numbers, got 8 bytes"),
    "a header without end": ({CLASS: header("'<f4'", "((1, 1, 12)")}, "cls.npy is no numpy array"),
    "a header of odd lines": ({CLASS: header("'<f4'", "(1,)}\n  x\n y")}, "cls.npy is no numpy array"),
    "a size of truth": (
        {CLASS: header("'<f4'", "(True, 1, 12)") + bytes(48)},
        "has shape .True, 1, 12.; it is damaged",
    ),
    "a grid beyond all": ({"vitbench/grid": np.array([2**62, 2**62])}, "no tensor can have the sizes"),
    "a size beyond all": ({"head/kernel": header("'<f4'", f"(0, {2**70})")}, "no tensor can have the sizes"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_with_its_reason(tmp_path: Path, what: str) -> None:
    changes, message = HOSTILE[what]
    with pytest.raises(CheckpointUnusable, match=message) as error:
        load(zipped(tmp_path / "model.npz", arrays(**changes)))
    assert "\n" not in str(error.value)


def test_a_sound_archive_of_numpys_own_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "model.npz", **arrays())
    assert same(load(tmp_path / "model.npz"), checkpoint())
    fortran = {name: np.asfortranarray(array) for name, array in arrays().items()}
    np.savez(tmp_path / "fortran.npz", **{name: array.astype(">f4") for name, array in fortran.items()})
    assert same(load(tmp_path / "fortran.npz"), checkpoint())


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_an_archive_that_is_cut_or_damaged_anywhere_says_so(tmp_path: Path, compression: int) -> None:
    whole = zipped(tmp_path / "whole.npz", arrays(), compression).read_bytes()
    damaged = tmp_path / "model.npz"
    for keep in range(0, len(whole), 397):
        damaged.write_bytes(whole[:keep])
        with pytest.raises(CheckpointUnusable, match=r"cut or damaged|cannot be unpacked"):
            load(damaged)
    for place in range(0, len(whole) - 30, 131):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = load(damaged)
        except CheckpointUnusable:
            continue
        assert same(found, checkpoint())  # what was damaged is not read: a date, a flag


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitbench.checkpoints.npz._UNSUSPICIOUS", 2**24)  # a gigabyte takes its time to pack
    bomb = tmp_path / "model.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("cls.npy", "w") as file:
        file.write(header("'<f4'", f"({2**22 + 2**20},)"))
        for _ in range(20):
            file.write(bytes(2**20))
    with pytest.raises(CheckpointUnusable, match=r"says that it unpacks to \d+; weights do not compress like that"):
        load(bomb)


def test_one_name_twice_and_what_is_no_array_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "model.npz", arrays())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("cls.npy", b"")
    with pytest.raises(CheckpointUnusable, match=r"holds 'cls.npy' twice"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../etc/passwd", b"")
    with pytest.raises(CheckpointUnusable, match="which is no array"):
        load(path)


def raw_safetensors(path: Path, text: str, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + data)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no safetensors file, or it is cut"),
        (b"\x80\x04\x95 a pickle of torch's", "no safetensors file"),
        (struct.pack("<Q", 2**63) + b"{}", "no safetensors file"),
        (struct.pack("<Q", 2) + b"{", "no safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointUnusable, match=message):
        load(tmp_path / "model.safetensors")


def test_a_safetensors_header_that_says_more_than_there_is_is_refused(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    path = raw_safetensors(tmp_path / "model.safetensors", json.dumps({"class_token": entry}), bytes(8))
    with pytest.raises(CheckpointUnusable, match="no safetensors file, or it is cut or damaged"):
        load(path)


def test_a_safetensors_file_that_is_cut_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(path, checkpoint())
    whole = path.read_bytes()
    for keep in range(0, len(whole), 397):
        path.write_bytes(whole[:keep])
        with pytest.raises(CheckpointUnusable, match="cut or damaged"):
            load(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "its metadata is no configuration of a ViT"),
        ("[]", "its metadata is no configuration"),
        ('{"width": 12}', "its metadata is no configuration"),
        ({"depth": 10**12}, "its metadata says depth 1000000000000, and it has"),
        ({"width": "wide"}, "width must be a positive whole number"),
        ({"num_heads": 5}, "num_heads 5 does not divide width 12"),
        ({"num_classes": 4}, "head.weight has shape .5, 12., and the model has .4, 12."),
        (None, "does not say of which sizes it is; name a configuration"),
    ],
)
def test_metadata_that_cannot_be_is_refused(tmp_path: Path, metadata: Any, message: str) -> None:
    good = {"image_size": [16, 16], "patch_size": [4, 4], "width": 12, "depth": 2, "num_heads": 3, "mlp_dim": 7}
    if isinstance(metadata, dict):
        metadata = json.dumps(good | {"num_classes": 5} | metadata)
    given = {} if metadata is None else {"vitbench": metadata}
    save_file(dict(checkpoint().weights), tmp_path / "model.safetensors", given)
    with pytest.raises(CheckpointUnusable, match=message):
        load(tmp_path / "model.safetensors")


def test_a_safetensors_file_of_somebody_elses_is_read_with_the_sizes_named(tmp_path: Path) -> None:
    save_file(dict(checkpoint().weights), tmp_path / "model.safetensors")
    assert same(load(tmp_path / "model.safetensors", CONFIG), checkpoint())
    larger = load(tmp_path / "model.safetensors", at_image_size(CONFIG, (24, 24)))
    assert larger.weights["position_embedding"].shape == (1, 37, 12)
    save_file({"class_token": torch.zeros(1, 1, 12, dtype=torch.int8)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointUnusable, match="class_token is I8, expected one of F16"):
        load(tmp_path / "model.safetensors", CONFIG)


@FORMATS
def test_a_file_that_cannot_be_read_or_written_says_why(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(CheckpointUnusable, match=r"cannot read .*none.*: .*o such file"):
        load(tmp_path / f"none{suffix}")
    with pytest.raises(OutputUnwritable, match=r"cannot write .*: No such file or directory"):
        save(tmp_path / "nowhere" / f"model{suffix}", checkpoint())
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(CheckpointUnusable):
        load(tmp_path / f"folder{suffix}")


def test_another_suffix_or_weights_of_another_size_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnusable, match=r"ends in '.pt', expected .npz or .safetensors"):
        save(tmp_path / "model.pt", checkpoint())
    wrong: dict[str, Tensor] = {**checkpoint().weights, "head.bias": torch.zeros(6)}
    with pytest.raises(CheckpointUnusable, match=r"head.bias has shape \(6,\), and the configuration .* \(5,\)"):
        save(tmp_path / "model.npz", Checkpoint(CONFIG, wrong))


def test_a_file_that_was_there_stays_where_saving_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.npz"
    save(path, checkpoint())
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.lib.format.write_array", full)
    with pytest.raises(OutputUnwritable, match="No space left on device"):
        save(path, checkpoint())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.npz"]
