"""Models to copy from, each in one file with its adapter."""
