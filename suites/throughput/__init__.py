"""Throughput: how many images a second an implementation computes."""
