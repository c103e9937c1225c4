"""Under which conditions a figure arose: what the device, the machine and others on it did while it was sampled."""
