"""Brings a volume to the grid and scale of the networks, and results back."""
