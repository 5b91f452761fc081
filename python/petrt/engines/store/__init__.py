"""Installed engines: their folders and records, and the choice of the one that fits."""
