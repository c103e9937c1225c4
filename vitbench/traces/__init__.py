"""Traces by torch's profiler, taken after the timing, and their tables by torch-tb-profiler's parser."""
