"""Detects this machine's CPU, memory, GPUs and packages."""
