"""A small Vision Transformer."""

from smallvit.model import SmallViT, resized_positions

__all__ = ["SmallViT", "resized_positions"]
