"""Memory: how much a forward pass or a training step takes, and what takes it."""
