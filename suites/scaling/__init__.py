"""Scaling: what a training step costs when several workers share it."""
