"""Data sets: prepared, simulated, and opened for training."""
