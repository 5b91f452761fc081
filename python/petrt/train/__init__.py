"""Training: configuration, data, losses and the loop. Needs torch."""
