"""Attention kernels of vitbench's own, as examples of a candidate. Nothing here is imported unless it is asked for."""
