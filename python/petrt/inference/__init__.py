"""Volumes through the networks: the reconstructor and a pipeline for each device."""
