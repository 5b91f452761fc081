"""Installed engines: folders, records, and which of them fits."""
