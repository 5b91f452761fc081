"""What a latency run on a CPU measures beside petrt's own engines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from subject import Subject
from timing import Run
from unfolded import Unfolded
from unfolded_onnx import onnx_networks

from petrt.build.quantize import weight_bits
from petrt.build.quantize_ranges import Observer
from petrt.build.quantize_search import quantize_all
from petrt.bundle import Bundle
from petrt.engines.base import Engine
from petrt.engines.installed import cpu_here, quantized_engine
from petrt.engines.select import default_threads
from petrt.reconstructor import Reconstructor

EAGER, ORT_LOOP = "eager", "onnxruntime loop"


def baselines(
    subject: Subject, slices: int, folder: Path, names: Sequence[str] = (EAGER, ORT_LOOP)
) -> dict[str, Run]:
    """Loops over ``slices`` of the subject by name: the unfolded networks in float32, one slice a call.

    Each takes all cores, as PyTorch and ONNX Runtime do unless told otherwise. ``folder`` takes ONNX
    files. "compiled" is eager's loop under torch.compile, which takes minutes on its first run.
    """
    planes = subject.planes[:slices]
    runs: dict[str, Run] = {}
    for name in names:
        networks = onnx_networks(subject, folder) if name == ORT_LOOP else None
        loop = Unfolded(subject, "cpu", compiled=name == "compiled", networks=networks)
        runs[name] = partial(_on_all_cores, loop, planes)
    return runs


def _on_all_cores(loop: Unfolded, planes: NDArray[np.float32]) -> None:
    """petrt's torch engine sets the threads of the thread that calls it; the baseline sets its own."""
    torch.set_num_threads(default_threads())
    loop(planes)


def quantized(bundle: Bundle, engine: str, volume: NDArray[np.float32]) -> Engine:
    """An int8 engine with every layer that is worth it in 8 bit, calibrated on two slices of ``volume``.

    For its time only: nothing verifies the image, which random weights would not allow.
    """
    observer = Observer(bundle)
    Reconstructor(bundle, engine=observer, threads=default_threads())(volume[:, :, :2])
    bits = weight_bits(cpu_here().isa)
    graphs: dict[str, Any] = quantize_all(
        bundle, observer.ranges, [], bits, engine == "onnxruntime"
    )
    return quantized_engine(bundle, "openvino" if engine == "openvino" else "onnxruntime", graphs)
