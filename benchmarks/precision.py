"""What 16 bit costs in the image; no GPU is needed.

    python -m benchmarks.precision [--slices 4]

One sample through the whole reverse process from the same noise: the converted graphs on the torch
engine's CPU, which rounds where a GPU does and sums in float32, against ONNX Runtime in fp32.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import save
from benchmarks.latency.subject import make_subject
from petrt.cli.demo import DOSE, SEED
from petrt.data.simulate import simulate_subject
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.torch.engine import TorchEngine
from petrt.inference.reconstructor import Reconstructor
from petrt.inference.verify_engine import compare
from petrt.model.bundle import Bundle, load_bundle

PRECISIONS = ("fp32", "fp16", "bf16")


def images(bundle: Bundle, volume: np.ndarray) -> dict[str, Any]:
    """PSNR (protocol ``standard``) and change of the maximum, by precision."""
    steps = bundle.model.sampler.steps
    shape = (steps + 1, 1, volume.shape[2], 1, *volume.shape[:2])
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    shared = {"noise": noise, "allow_activity_change": True}
    one = {"preset": "paper", "samples": 1}
    runtime = Reconstructor(bundle, engine=OnnxRuntimeEngine(bundle), **one)
    expected = runtime(volume, **shared).image
    found = {}
    for precision in PRECISIONS:
        engine = TorchEngine(bundle, precision=precision)
        found_image = Reconstructor(bundle, engine=engine, **one)(volume, **shared).image
        result = compare(found_image, expected)
        psnr = result.psnr_db
        found[precision] = {
            "psnr_db": None if psnr is None or math.isinf(psnr) else round(psnr, 1),
            "suvmax_shift_percent": round(result.suvmax_shift_percent, 4),
        }
    return {"slices": volume.shape[2], "size": list(volume.shape[:2]), "precisions": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=4)
    options = parser.parse_args()
    person = simulate_subject(SEED, 0, doses=(DOSE,), shape=(128, 128, options.slices))
    found: dict[str, Any] = {"demo": images(load_bundle("demo"), person.low[DOSE])}
    with tempfile.TemporaryDirectory() as folder:
        subject = make_subject("paper", 128, options.slices, 10, Path(folder) / "bundle")
        found["paper size, random weights"] = images(load_bundle(subject.bundle), subject.volume)
    print(save("precision", {"what": __doc__.splitlines()[0], "images": found}))


if __name__ == "__main__":
    main()
