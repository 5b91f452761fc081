"""The networks in 16 bit: a float32 ONNX graph of a bundle into a mixed-precision one."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "fp16", "bf16"]


def convert(model: bytes, graph: str, precision: Precision) -> bytes:
    """The serialised ONNX ``model`` of ``graph`` ("guidance", "coarse", "denoiser") in ``precision``.

    "fp32" returns ``model`` itself. Otherwise convolutions, products and sums are 16 bit, statistics
    of norms and softmax float32; inputs and outputs named ``features_*``, ``x_half`` and
    ``<block>.g1/.g2`` are 16 bit, all others float32. The same input gives the same bytes.
    Raises InputError for operators it does not know and for weights beyond the precision's range.
    """
    raise NotImplementedError
