"""A small Vision Transformer."""

from smallvit.model import SmallViT

__all__ = ["SmallViT"]
