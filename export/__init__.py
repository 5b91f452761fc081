"""Exports a checkpoint to a bundle, and builds TensorRT engines from a bundle.

``export_bundle`` and ``export_model`` load torch at their first use. Building engines
(``petrt.export.tensorrt``) does not need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from petrt.export.bundle import export_bundle, export_model

__all__ = ["export_bundle", "export_model"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from petrt.export import bundle

    return getattr(bundle, name)
