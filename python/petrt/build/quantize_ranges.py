"""Calibration: the ranges of the networks' values over the whole reverse loop.

A copy of each graph also gives the smallest and the largest value of what its convolutions read and
write. It runs inside petrt's own pipeline, guidance, coarse and every step of the denoiser, so that
what is measured is what the networks will see. Kept are two numbers a tensor, never the tensor.

Ranges hold every value that was seen. Narrower ones, of the least squared error of each tensor, were
tried on the demo model (7-bit weights, every layer in 8 bit, one sample at 1/100, 1/20 and 1/4 dose):
they agree less with float32, 48.0 to 49.0 dB instead of 48.8 to 50.5, and 51.6 to 52.7 instead of 57.0
to 57.8 where results are not rounded. Of PSNR against the full dose neither lost less throughout.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from petrt.build.quantize import Range, convolutions
from petrt.build.verify import reference_subject, slice_size, trained_doses, voxel_of
from petrt.bundle import GRAPHS, Bundle
from petrt.engines.base import Buffers
from petrt.engines.onnxruntime import OnnxRuntimeEngine, import_onnxruntime
from petrt.engines.select import default_threads
from petrt.errors import InputError, UsageError
from petrt.geometry import plan
from petrt.reconstructor import Reconstructor
from petrt.scaling import scale_of
from petrt.volumes import load

Ranges = dict[str, dict[str, Range]]  # graph -> tensor
Step = Callable[[int, int], None]

SEED = 40260711  # of subjects that verification never sees
SLICES = 16  # about so many of each of the user's volumes, spread over all of it


class Observer(OnnxRuntimeEngine):
    """ONNX Runtime in float32 that notes the ranges of what the convolutions of ``bundle`` read and
    write. ``ranges`` depends on the calls made, not on their order or their threads."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.ranges: Ranges = {}
        self._copies: dict[str, tuple[Any, list[str]]] = {}
        self._lock = threading.Lock()
        for graph in GRAPHS:
            model = bundle.onnx(graph)
            if model is None:
                continue
            layers = [layer for layer in convolutions(model, graph) if layer.worth]
            names = list(dict.fromkeys(n for each in layers for n in (each.source, each.result)))
            self.ranges[graph] = {}
            self._copies[graph] = _session(_with_extremes(model, names)), names

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        session, names = self._copies[graph]
        kept, results = self.ranges[graph], list(outputs)
        extremes = [f"{name}.{end}" for name in names for end in ("low", "high")]

        def run() -> None:
            values = session.run([*results, *extremes], dict(inputs))
            for name, value in zip(results, values, strict=False):
                outputs[name][...] = value
            found = np.array([float(value) for value in values[len(results) :]]).reshape(-1, 2)
            if not np.isfinite(found).all():
                raise InputError(f"{graph}: a calibration volume gives values that are not finite")
            with self._lock:
                for name, (low, high) in zip(names, found, strict=True):
                    before = kept.get(name, Range(low, high))
                    kept[name] = Range(min(before.low, low), max(before.high, high))

        return run


@dataclass(frozen=True)
class Calibration:
    """What the ranges come from: simulated volumes of ``bundle``'s doses, and the user's ``paths``."""

    paths: tuple[Path, ...] = ()

    @property
    def text(self) -> str:
        """For the record: nothing of a volume but the digest of its bytes."""
        if not self.paths:
            return "simulated"
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(hashlib.sha256(_bytes(path)).digest())
        return f"simulated and {len(self.paths)} given, sha256 {digest.hexdigest()[:16]}"

    def ranges(self, bundle: Bundle, step: Step) -> Ranges:
        """The ranges over all volumes. Raises InputError for one that cannot be read."""
        observer = Observer(bundle)
        doses = trained_doses(bundle.model)
        total = len(doses) + len(self.paths)
        for count, dose in enumerate(doses):
            step(count, total)
            subject = reference_subject(
                slice_size(bundle.model), voxel_of(bundle.model), (dose,), SEED + count
            )
            _run(bundle, observer, count)(subject.low[dose], dose=1 / dose)
        for count, path in enumerate(self.paths, len(doses)):
            step(count, total)
            for grid in _grids(bundle, path):
                every = max(1, -(-len(grid) // SLICES))
                _run(bundle, observer, count).on_grid(grid, every=every)
        step(total, total)
        return observer.ranges


def _run(bundle: Bundle, engine: Observer, seed: int) -> Reconstructor:
    return Reconstructor(bundle, engine=engine, seed=seed, threads=default_threads())


def _grids(bundle: Bundle, path: Path) -> Sequence[NDArray[np.float32]]:
    """The frames of a volume as the networks take them, [Z, H, W]; one without a scale is left out."""
    loaded, model = load(path), bundle.model
    placement = plan(
        loaded.frames[0].shape, loaded.affine_mm, model.domain.voxel_mm,
        multiple=2**model.network.scales, name=loaded.name,
    )  # fmt: skip
    scales = [scale_of(f, model.scale, loaded.voxel_mm) for f in loaded.frames]
    return [
        placement.to_network(frame) / np.float32(scale)
        for frame, scale in zip(loaded.frames, scales, strict=True)
        if scale
    ]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "give NIfTI files") from error


def _with_extremes(model: bytes, names: list[str]) -> bytes:
    """``model`` that also gives ``name.low`` and ``name.high`` of each of ``names``."""
    made = onnx.load_model_from_string(model)
    for name in names:
        for kind, end in (("ReduceMin", "low"), ("ReduceMax", "high")):
            result = f"{name}.{end}"
            made.graph.node.append(helper.make_node(kind, [name], [result], keepdims=0))
            made.graph.output.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, ()))
    return bytes(made.SerializeToString())


def _session(model: bytes) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
