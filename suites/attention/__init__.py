"""Attention: how fast each kernel is on a ViT's shapes, beside how far it is from float64."""
