"""Measurements behind the figures in the README, each run by ``python -m`` from the repository's root."""
