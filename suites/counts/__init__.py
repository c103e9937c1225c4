"""Counts: what a model does in a forward pass or a training step, in numbers that are the same on every run."""
