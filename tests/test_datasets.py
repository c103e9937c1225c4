"""IDX files and data sets: read as they are, refused with a reason where they are damaged."""

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitbench.datasets import Labelled, dataset, require_digits
from vitbench.errors import UsageError
from vitbench.idx import DataUnusable, read_idx
from vitbench.options import parse
from vitbench.preflight import question

PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 2, 3) * 10
LABELS = np.array([0, 1, 2, 1], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, *, compressed: bool = False, **replaced: bytes) -> Path:
    contents = {
        "train-images-idx3-ubyte": idx(PIXELS),
        "train-labels-idx1-ubyte": idx(LABELS),
        "t10k-images-idx3-ubyte": idx(PIXELS[:2]),
        "t10k-labels-idx1-ubyte": idx(LABELS[:2]),
    }
    for name, data in (contents | replaced).items():
        (folder / f"{name}{'.gz' if compressed else ''}").write_bytes(gzip.compress(data) if compressed else data)
    return folder


@pytest.mark.parametrize("compressed", [False, True])
def test_a_folder_of_idx_files_is_read_as_images_from_minus_1_to_1(tmp_path: Path, compressed: bool) -> None:
    found = dataset(write(tmp_path, compressed=compressed))
    assert (found.classes, found.channels, found.image_size) == (3, 1, (2, 3))
    assert (len(found.train), len(found.test)) == (4, 2)
    expected = torch.tensor(PIXELS / 255 * 2 - 1, dtype=torch.float32)[:, None]
    assert torch.allclose(found.train.images, expected, atol=1e-6)
    assert found.train.labels.tolist() == [0, 1, 2, 1]
    assert str(found) == f"{tmp_path.name}: 4 + 2 images of 2×3, 3 classes"


def test_the_digest_tells_data_apart(tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    first, same = dataset(write(tmp_path)), dataset(write(tmp_path / "same", compressed=True))
    changed = PIXELS.copy()
    changed[3, 1, 2] += 1
    other = dataset(write(tmp_path / "other", **{"train-images-idx3-ubyte": idx(changed)}))
    assert first.digest == same.digest != other.digest


DAMAGES = {
    "cut data": (idx(PIXELS)[:-5], "cut or damaged: its header says 4 × 2 × 3 = 24 bytes"),
    "cut header": (idx(PIXELS)[:7], "is cut: it ends within its header"),
    "empty": (b"", "is cut: it ends within its header"),
    "more data": (idx(PIXELS) + b"x", "and there are more"),
    "a picture": (b"\x89PNG\r\n\x1a\n0000", "is no IDX file: it begins with 89 50 4e 47, expected 00 00 08 03"),
    "labels for images": (idx(LABELS), "holds unsigned bytes in 1 dimensions, expected unsigned bytes in 3"),
    "floats": (b"\0\0\x0d\x03" + idx(PIXELS)[4:], "holds floats in 3 dimensions"),
    "impossible sizes": (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 28), "bytes can; it is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_file_says_what_is_wrong(tmp_path: Path, damage: str, compressed: bool) -> None:
    data, message = DAMAGES[damage]
    with pytest.raises(DataUnusable) as error:
        dataset(write(tmp_path, compressed=compressed, **{"train-images-idx3-ubyte": data}))
    assert message in str(error.value)
    assert "train-images-idx3-ubyte" in str(error.value)


def test_a_gzip_that_is_cut_or_damaged_says_so(tmp_path: Path) -> None:
    data = gzip.compress(idx(np.random.default_rng(0).integers(0, 255, (50, 9, 9), dtype=np.uint8)))
    broken = data[:200] + bytes(20) + data[220:]
    for damaged in (data[:-400], broken, data[:12]):
        (tmp_path / "images").write_bytes(damaged)
        with pytest.raises(DataUnusable, match="cut"):
            read_idx(tmp_path / "images", 3)


def test_sizes_that_no_compression_reaches_are_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 60_000, 2800, 2800)))
    with pytest.raises(DataUnusable, match=r"more than its .* bytes can"):
        read_idx(tmp_path / "bomb", 3)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(
        gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2000, 1024, 1024) + bytes(2**22)) * 500
    )
    with pytest.raises(DataUnusable, match=r"2000 × 1024 × 1024 = 2097152000 bytes, more than its \d+ bytes can"):
        read_idx(tmp_path / "bomb", 3)


def test_a_name_that_no_folder_can_have_is_refused() -> None:
    with pytest.raises(DataUnusable, match=r"cannot look into a{200}: File name too long"):
        dataset("a" * 5000)


def test_classes_without_a_test_image_cannot_be_judged_by(tmp_path: Path) -> None:
    pixels, labels = np.zeros((10, 4, 4), np.uint8), np.arange(10, dtype=np.uint8) % 5
    files = {
        "train-images": idx(pixels),
        "train-labels": idx(labels),
        "t10k-images": idx(pixels),
        "t10k-labels": idx(labels % 3),
    }
    found = dataset(
        write(tmp_path, **{f"{name}-idx{3 if 'images' in name else 1}-ubyte": data for name, data in files.items()})
    )
    with pytest.raises(
        DataUnusable, match="has no test image of the classes 3 to 4, so that nothing could be judged by them"
    ):
        found.split(0.6)


def test_what_is_not_there_lists_the_names_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataUnusable, match="has no training images: none of train-images-idx3-ubyte, "):
        dataset(tmp_path)
    with pytest.raises(DataUnusable, match=r"cannot read .*nowhere: No such file"):
        read_idx(tmp_path / "nowhere", 1)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"t10k-labels-idx1-ubyte": idx(np.array([0, 7], dtype=np.uint8))}, "test label 7 is out of range"),
        (
            {"train-labels-idx1-ubyte": idx(np.array([0, 9, 9, 1], dtype=np.uint8))},
            "no image of 2, 3, 4, 5 and 3 more$",
        ),
        ({"train-labels-idx1-ubyte": idx(np.zeros(4, dtype=np.uint8))}, "the training labels go from 0 to 0"),
        ({"train-labels-idx1-ubyte": idx(LABELS[:3])}, "has 4 training images and 3 training labels"),
        (
            {"t10k-images-idx3-ubyte": idx(PIXELS[:2, :, :2])},
            r"training images of \(2, 3\) pixels, test images of \(2, 2\)",
        ),
        (
            {"t10k-images-idx3-ubyte": idx(PIXELS[:0]), "t10k-labels-idx1-ubyte": idx(LABELS[:0])},
            "has 0 test images and 0 test labels",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(tmp_path: Path, replaced: dict[str, bytes], message: str) -> None:
    with pytest.raises(DataUnusable, match=message):
        dataset(write(tmp_path, **replaced))


def test_that_there_are_no_digits_is_known_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'vitbench\[paper\]', or name a folder"):
        require_digits()


@pytest.mark.parametrize(
    ("suite", "data", "asked"),
    [("paper", "", True), ("paper/data_scaling", "fashion-mnist", False), ("paper/inner_views", "", False)],
)
def test_only_what_trains_on_them_asks_for_the_digits(suite: str, data: str, *, asked: bool) -> None:
    assert question(replace(parse(["--suite", suite]), data=data)).digits is asked


def test_the_digits_need_no_file_and_are_parted_the_same_each_time() -> None:
    pytest.importorskip("sklearn")
    first, second = dataset(), dataset()
    assert str(first) == "digits: 1297 + 500 images of 8×8, 10 classes"
    assert torch.equal(first.test.images, second.test.images)
    assert (float(first.train.images.min()), float(first.train.images.max())) == (-1, 1)
    assert first.digest == second.digest


def test_a_smaller_subset_is_the_beginning_of_a_larger_one_with_the_same_seed() -> None:
    whole = Labelled(torch.arange(20.0).reshape(20, 1, 1, 1), torch.arange(20))
    assert whole.first_of(12, 3).labels[:5].tolist() == whole.first_of(5, 3).labels.tolist()
    assert whole.first_of(12, 3).labels.tolist() != whole.first_of(12, 4).labels.tolist()
    with pytest.raises(DataUnusable, match="21 images were asked for, and there are 20"):
        whole.first_of(21, 0)


def test_at_most_so_many_are_always_the_same() -> None:
    whole = Labelled(torch.arange(20.0).reshape(20, 1, 1, 1), torch.arange(20))
    assert whole.at_most(20) is whole.at_most(99) is whole
    assert whole.at_most(3).labels.tolist() == whole.first_of(3, 0).labels.tolist()


def test_some_classes_alone_are_numbered_from_0_again() -> None:
    part = Labelled(torch.arange(5.0).reshape(5, 1, 1, 1), torch.tensor([0, 3, 4, 2, 3])).of_classes(range(3, 5))
    assert (part.labels.tolist(), part.images.flatten().tolist()) == ([0, 1, 0], [1, 2, 4])


def test_resizing_keeps_a_constant_image_and_the_number() -> None:
    images = Labelled(torch.full((2, 1, 8, 8), 0.25), torch.tensor([0, 1]))
    assert torch.allclose(images.resized((12, 6)).images, torch.full((2, 1, 12, 6), 0.25))
    assert images.resized((8, 8)) is images
    step = Labelled(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([0]))
    assert step.resized((1, 4)).images.flatten().tolist() == [0, 0.25, 0.75, 1]
    fine = Labelled(torch.tensor([[[[0.0, 1.0] * 4]]]), torch.tensor([0]))
    assert fine.resized((1, 4)).images.flatten().tolist() == pytest.approx([3 / 7, 0.5, 0.5, 4 / 7])  # antialiased
