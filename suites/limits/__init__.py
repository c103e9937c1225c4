"""Limits: what the device does at most, for the other suites' figures to be set against."""
