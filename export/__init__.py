"""From a checkpoint to a bundle, and from a bundle to TensorRT engines.

Folding and ONNX need torch, which is loaded when ``export_bundle`` or ``export_model`` is first used.
Building engines (``petrt.export.tensorrt``) does not need it.
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
