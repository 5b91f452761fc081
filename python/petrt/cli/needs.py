"""Optional parts, asked for before they are imported."""

from __future__ import annotations

import importlib.util

from petrt.errors import UsageError


def need_torch(command: str) -> None:
    """Raise UsageError, with the way to get it, where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise UsageError(f"{command} needs PyTorch", "pip install 'petrt[train]'")
