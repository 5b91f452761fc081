"""What plans of TensorRT for RTX cost to build, and the activation memory they ask for; no GPU is needed.

    pip install tensorrt-rtx==1.7.1.116
    python -m benchmarks.rtx_builds [--precision bf16] [--models demo paper]

Each network is built for compute capability 8.9 and 12.0 four times: for one size of each dimension, which
is the default, and for ranges of slices, of height and width, and of all with samples. Activation memory is
what TensorRT says of a plan when it has built it: of its largest size. Times are those of a machine that
may be busy with other things.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.common import save
from benchmarks.latency.subject import make_subject
from petrt.errors import DeviceError
from petrt.export.tensorrt.plan import build_plan
from petrt.export.tensorrt.profile import Profile, default_profile
from petrt.model.bundle import GRAPHS, Bundle, load_bundle
from petrt.model.half_precision import Precision

TARGETS = ((8, 9), (12, 0))
SIZES = (64, 128, 192)
SLICES = (1, 8, 16)


def profiles(bundle: Bundle) -> dict[str, Profile]:
    """The default and what ranges in its place are measured; the last was the default once."""
    fixed = default_profile(bundle.model)
    slices = replace(fixed, slices=SLICES)
    return {
        "fixed": fixed,
        "range of slices": slices,
        "range of sizes": replace(fixed, height=SIZES, width=SIZES),
        "ranges of all": replace(slices, samples=(1, 1, 4), height=SIZES, width=SIZES),
    }


class ActivationMemory(logging.Handler):
    """The last figure that TensorRT's log has named; None before."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.bytes: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"Total Activation Memory: (\d+) bytes", record.getMessage())
        if found:
            self.bytes = int(found[1])


@contextmanager
def listening() -> Iterator[ActivationMemory]:
    logger, handler = logging.getLogger("petrt"), ActivationMemory()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def measure(trt: Any, model: bytes, profile: Profile) -> dict[str, Any]:
    """One build: seconds, bytes of the plan and of its activations, or why there is none."""
    with listening() as memory:
        try:
            plan = build_plan(trt, model, profile, targets=TARGETS)
        except DeviceError as error:
            return {"refused": error.message}
    return {
        "seconds": round(plan.seconds, 1),
        "plan_MB": round(len(plan.data) / 1e6, 1),
        "activations_MB": None if memory.bytes is None else round(memory.bytes / 1e6, 1),
        "images_at_most": profile.images[2],
    }


def measure_bundle(trt: Any, bundle: Bundle, precision: Precision) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for case, profile in profiles(bundle).items():
        graphs = {}
        for graph in GRAPHS:
            model = bundle.onnx(graph, precision)
            assert model is not None
            graphs[graph] = measure(trt, model, profile)
            print(bundle.model.name, case, graph, graphs[graph], flush=True)
        found[case] = {"profile": asdict(profile), "graphs": graphs}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"), default="bf16")
    parser.add_argument("--models", nargs="+", choices=("demo", "paper"), default=["demo", "paper"])
    options = parser.parse_args()
    trt = importlib.import_module("tensorrt_rtx")
    found: dict[str, Any] = {}
    if "demo" in options.models:
        found["demo"] = measure_bundle(trt, load_bundle("demo"), options.precision)
    if "paper" in options.models:
        with tempfile.TemporaryDirectory() as folder:
            subject = make_subject("paper", 128, 1, 10, Path(folder) / "bundle")
            bundle = load_bundle(subject.bundle)
            found["paper size, random weights"] = measure_bundle(trt, bundle, options.precision)
    head = {
        "what": __doc__.splitlines()[0],
        "tensorrt_rtx": trt.__version__,
        "precision": options.precision,
        "compute_capabilities": ["{}.{}".format(*target) for target in TARGETS],
    }
    print(save("tensorrt_rtx_builds", {**head, "models": found}))


if __name__ == "__main__":
    main()
