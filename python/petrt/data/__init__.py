"""Prepares, simulates and opens data sets for training."""
