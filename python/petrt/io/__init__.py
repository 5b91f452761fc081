"""Volumes and files: NIfTI in and out, atomic writes, names that are safe to print."""
