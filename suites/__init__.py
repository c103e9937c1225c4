"""Checks and measurements, one folder a suite; shared machinery lives in the core."""
