"""Looks inside a trained model: filters, positions, attention distance and attention rollout (section 4.5)."""
