"""From checkpoint to bundle: exact folding, ONNX, verification. Needs PyTorch and ONNX Runtime."""

from petrt.export.onnx import export_bundle, export_model

__all__ = ["export_bundle", "export_model"]
