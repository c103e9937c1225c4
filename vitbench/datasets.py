"""Labelled images for the suites that train: scikit-learn's digits, or a folder of IDX files as Fashion-MNIST comes."""

import hashlib
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from vitbench.errors import UsageError
from vitbench.idx import FILES, DataUnusable, idx_file, read_idx

DIGITS = "digits"
_DIGITS_TEST = 500  # of 1797
_FEWEST_TO_SPLIT = 4  # classes: two and two
_SHOWN = 4  # labels in an error


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images and the class of each."""

    images: Tensor  # (B, C, H, W), float32, from -1 to 1
    labels: Tensor  # (B), int64

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, where: Tensor) -> "Labelled":
        """Those at these places, or where a mask is true."""
        return Labelled(self.images[where], self.labels[where])

    def first_of(self, count: int, seed: int) -> "Labelled":
        """So many of them, drawn at random; a smaller number draws the first of a larger one.

        Raises:
            DataUnusable: there are not so many.
        """
        if count > len(self):
            raise DataUnusable(f"{count} images were asked for, and there are {len(self)}; take fewer, or more data")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.at(order[:count])

    def at_most(self, count: int) -> "Labelled":
        """All of them, or so many where there are more; always the same."""
        return self if count >= len(self) else self.first_of(count, 0)

    def of_classes(self, classes: range) -> "Labelled":
        """Those of these classes, which are numbered from 0 again."""
        kept = self.at((self.labels >= classes.start) & (self.labels < classes.stop))
        return replace(kept, labels=kept.labels - classes.start)

    def resized(self, size: tuple[int, int]) -> "Labelled":
        """The images at another resolution (H, W): bilinear, antialiased where that is smaller."""
        if tuple(self.images.shape[2:]) == size:
            return self
        return replace(self, images=interpolate(self.images, size=size, mode="bilinear", antialias=True))

    def coloured(self, channels: int) -> "Labelled":
        """Grey images for a model that takes so many colours only."""
        if self.images.shape[1] == channels:
            return self
        return replace(self, images=self.images[:, :1].expand(-1, channels, -1, -1).contiguous())

    def to(self, device: str) -> "Labelled":
        """The same on a device."""
        return Labelled(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to train on and images to judge by."""

    name: str
    classes: int
    train: Labelled
    test: Labelled
    digest: str  # of every image and label: what two runs must share to be compared

    @property
    def channels(self) -> int:
        """C."""
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W), as they come."""
        height, width = self.train.images.shape[2:]
        return int(height), int(width)

    def split(self, share: float) -> tuple[range, range]:
        """The classes in two parts, to transfer from the first to the second; ``share`` of them are in the first.

        Raises:
            DataUnusable: there are too few classes for two parts that each tell some apart, or no image to judge one by.
        """
        if self.classes < _FEWEST_TO_SPLIT:
            raise DataUnusable(
                f"{self.name} has {self.classes} classes; to transfer from some to others takes four or more"
            )
        first = round(share * self.classes)
        parts = range(first), range(first, self.classes)
        for part in parts:
            if not len(self.test.of_classes(part)):
                raise DataUnusable(
                    f"{self.name} has no test image of the classes {part.start} to {part.stop - 1}, so that nothing could be "
                    "judged by them; are training and test files of the same data?"
                )
        return parts

    def __str__(self) -> str:
        height, width = self.image_size
        return f"{self.name}: {len(self.train)} + {len(self.test)} images of {height}×{width}, {self.classes} classes"


def dataset(folder: Path | str = "") -> Dataset:
    """The IDX files of a folder, or scikit-learn's digits where none is named.

    Raises:
        DataUnusable: files are missing, damaged or contradict each other; or scikit-learn is not installed.
    """
    return idx_folder(Path(folder)) if str(folder) not in ("", DIGITS) else digits()


def require_digits() -> None:
    """Find out before anything is trained; without importing scikit-learn.

    Raises:
        UsageError: it is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError(_NO_DIGITS)


_NO_DIGITS = (
    "the paper's suites train on scikit-learn's digits, and scikit-learn is not installed; "
    "pip install 'vitbench[paper]', or name a folder of IDX files with --data"
)


def digits() -> Dataset:
    """1797 handwritten digits of 8×8 pixels; a quarter, drawn once and for all, is kept for judging."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as error:
        raise DataUnusable(_NO_DIGITS) from error
    found = load_digits()
    pixels, labels = np.asarray(found.images).astype(np.uint8), np.asarray(found.target)
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = order[:_DIGITS_TEST], order[_DIGITS_TEST:]
    return _dataset(DIGITS, (pixels[train], labels[train]), (pixels[test], labels[test]), white=16)


def idx_folder(folder: Path) -> Dataset:
    """The four files of MNIST, Fashion-MNIST or their like, compressed or not.

    Raises:
        DataUnusable: see ``dataset``.
    """
    read = {part: read_idx(idx_file(folder, part), dimensions) for part, (_, dimensions) in FILES.items()}
    halves = []
    for which in ("training", "test"):
        images, labels = read[f"{which} images"], read[f"{which} labels"]
        if len(images) != len(labels) or not images.size:
            raise DataUnusable(f"{folder} has {len(images)} {which} images and {len(labels)} {which} labels")
        halves.append((images, labels))
    (train, _), (test, _) = halves
    if train.shape[1:] != test.shape[1:]:
        raise DataUnusable(f"{folder} has training images of {train.shape[1:]} pixels, test images of {test.shape[1:]}")
    return _dataset(folder.resolve().name, halves[0], halves[1], white=255)


Half = tuple[NDArray[np.uint8], NDArray[np.integer]]


def _dataset(name: str, train: Half, test: Half, white: int) -> Dataset:
    classes = int(train[1].max()) + 1
    missing = sorted(set(range(classes)) - set(train[1].tolist()))
    if missing or classes < 2:  # noqa: PLR2004
        raise DataUnusable(
            f"{name}: the training labels go from 0 to {classes - 1}, and there is no image of "
            f"{', '.join(map(str, missing[:_SHOWN])) or '1'}{f' and {len(missing) - _SHOWN} more' if len(missing) > _SHOWN else ''}"
        )
    beyond = sorted(set(test[1].tolist()) - set(range(classes)))
    if beyond:
        raise DataUnusable(
            f"{name}: test label {beyond[0]} is out of range; the training labels are 0 to {classes - 1}"
        )
    digest = hashlib.sha256()
    for pixels, labels in (train, test):
        digest.update(pixels.tobytes())
        digest.update(labels.astype(np.int64).tobytes())
    return Dataset(name, classes, _labelled(train, white), _labelled(test, white), digest.hexdigest()[:16])


def _labelled(half: Half, white: int) -> Labelled:
    pixels, labels = half
    images = torch.from_numpy(pixels.astype(np.float32)).unsqueeze(1)
    return Labelled(images.mul_(2 / white).sub_(1), torch.from_numpy(labels.astype(np.int64)))
