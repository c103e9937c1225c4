"""What is wrong with a checkpoint."""

from vitbench.errors import UsageError


class CheckpointUnusable(UsageError):
    """A file of weights is missing, damaged, hostile, or of another model than was asked for."""
