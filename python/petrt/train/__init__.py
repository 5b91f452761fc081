"""Training (needs torch): configuration, data, losses and the loop."""
