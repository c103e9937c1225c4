"""Conformance: one module an area, one requirement a check."""
