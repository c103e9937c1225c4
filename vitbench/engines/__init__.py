"""What runs the cells of a plan: this machine, or the nodes of a cluster. Each tells the same events."""
