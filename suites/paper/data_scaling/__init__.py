"""Section 4.3 in miniature: what more images to pre-train on do for Vision Transformers, and for ResNets."""
