"""The parts of the regression gate (docs/gating.md); ``vitbench.gate`` is its command line."""
