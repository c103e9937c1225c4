"""Weights in files: the ``.npz`` of the paper's authors, and safetensors. ``docs/checkpoints.md`` leads through both.

>>> saved = load("B_16.npz")                              # sizes and weights, by the canonical names
>>> larger = load("B_16.npz", at_image_size(saved.config, (384, 384)))  # positions resized as in section 3.2
>>> save("mine.safetensors", larger)

Neither format can run code when it is read: pickled objects are refused, and what a file says of its sizes is held
against the file before anything is allocated.
"""

from vitbench.checkpoints.checkpoint import Checkpoint, at_image_size, load, save
from vitbench.checkpoints.errors import CheckpointUnusable

__all__ = ["Checkpoint", "CheckpointUnusable", "at_image_size", "load", "save"]
