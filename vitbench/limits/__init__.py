"""How fast a device can be: what its maker states, what is measured on it, and how far from both a figure lies."""
