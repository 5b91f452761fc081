"""What a latency run on a CPU measures beside petrt's own engines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.latency.subject import Subject
from benchmarks.latency.unfolded import Unfolded
from benchmarks.latency.unfolded_onnx import onnx_networks
from petrt.bench.timing import Run
from petrt.hardware.cpu import default_threads

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
