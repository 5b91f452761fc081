"""Measurements behind the figures in docs/, each run by ``python -m`` from the repository's root."""
