"""Runs on the twin of the GPU, and the CPU runs they equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.inference.reconstruction import Reconstruction
from tests import models


def equal(found: Reconstruction, expected: Reconstruction) -> None:
    for part in ("image", "std", "coarse"):
        a, b = (getattr(result, part) for result in (found, expected))
        if b is not None:
            np.testing.assert_array_equal(a, b, err_msg=part)


class Reconstructor(models.Reconstructor):
    """By all steps of the model; one without a denoiser takes no samples."""

    def __init__(self, bundle: Any, samples: int = 1, **options: Any) -> None:
        if bundle.model.network.denoiser is not None:
            options = {"preset": "paper", "samples": samples} | options
        super().__init__(bundle, **options)


def on_cpu(bundle: Any, volume: np.ndarray, samples: int, **call: Any) -> Reconstruction:
    engine = OnnxRuntimeEngine(bundle)
    return Reconstructor(bundle, engine=engine, samples=samples, seed=7, threads=1)(volume, **call)
