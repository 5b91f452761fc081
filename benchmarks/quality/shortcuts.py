"""Shortcuts through the ten steps, beside all of them and one step: what each keeps, and what it costs.

*Late start*: only the last steps, from the coarse prediction with as much noise as the first of them expects,
r_t = sqrt(1 - gamma_t) z. *Reuse*: the U-Net computes what lies below full resolution at every n-th step only
and takes it from the last such step at the others (Ma et al., "DeepCache", CVPR 2024).

Each is run sample by sample, so that means over regions are judged (``spheres``). All draw the same noise, in
antithetic pairs. These loops are the benchmark's own: petrt has none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.quality import spheres
from benchmarks.quality.cases import QualityCase
from benchmarks.quality.model import Settings
from benchmarks.quality.samplers import LEVEL
from benchmarks.quality.scores import Numbers, plain_psnr
from benchmarks.quality.store import Measured
from petrt._core import slice_weights
from petrt.arrays import Array, Array64
from petrt.bench.timing import interleaved
from petrt.diffusion.dose import settle
from petrt.diffusion.noise_schedule import StepTable, gammas, step_table
from petrt.engines.base import Buffers, Engine
from petrt.engines.native.engine import NativeEngine
from petrt.evaluation.calibration import active_voxels, coverage
from petrt.imaging.scaling import scale_of
from petrt.inference.cpu.parallelism import Shape
from petrt.inference.cpu.worker import Clock, Worker
from petrt.inference.forward import ReverseProcess
from petrt.model.bundle import Bundle
from petrt.model.network import Network
from petrt.model.spec import SamplerSpec
from petrt.model.steps import Linear, Split, Step, weights_of

SLAB = 32  # slices, in the middle of the head: a sphere of 100 ml fits in
TIMED_SLICES, REPEATS = 2, 5


@dataclass(frozen=True)
class Way:
    """``last``: how many of the steps are walked, None for a single one-step estimate. ``every``: at which of
    them the deep part of the denoiser is computed."""

    last: int | None
    every: int = 1

    def name(self, own: SamplerSpec) -> str:
        if self.last is None:
            return "one-step mean"
        if self.last < own.steps:
            return f"late start, last {self.last} of {own.steps} steps"
        return f"{own.steps} steps" + (f", deep part every {self.every}" if self.every > 1 else "")


def ways(own: SamplerSpec) -> list[Way]:
    """All that is compared, for a model whose own sampler is ``own``."""
    late = [Way(n) for n in (5, 3, 2, 1) if n < own.steps]
    return [Way(own.steps), Way(own.steps, 2), Way(own.steps, 5), *late, Way(None)]


def measure(bundle: Bundle, case: QualityCase, settings: Settings) -> Measured:
    """Every way on the slab in the middle of the case's view."""
    seen, planes, scale = _slab(bundle, case, settings)
    measured = Measured()
    own, count = bundle.model.sampler, settings.samples
    for way in ways(own):
        walk = Walk.of(bundle, way)
        drawn = walk.samples(planes, count, settings.seed, 1 / case.dose)
        images = np.ascontiguousarray(drawn.transpose(0, 2, 3, 1)) * scale
        mean, std = images.mean(axis=0), images.std(axis=0, ddof=1)
        numbers: Numbers = {"standard.psnr": plain_psnr(mean, seen.full)}
        numbers["evaluations"] = walk.evaluations * count
        numbers["coverage"] = 100 * coverage(active_voxels(mean, std, seen.full), LEVEL)
        numbers |= spheres.worth(spheres.means(images, seen.full, seen.voxel_mm))
        measured.methods[f"{way.name(own)}, {count} samples"] = numbers
    return measured


def timing(bundle: Bundle, case: QualityCase, settings: Settings) -> Measured:
    """Seconds a slice of every way on one thread, in turn."""
    _, planes, _ = _slab(bundle, case, settings)
    own, planes = bundle.model.sampler, planes[:TIMED_SLICES]
    candidates: dict[str, Callable[[], Any]] = {}
    for way in ways(own):
        walk = Walk.of(bundle, way)
        name = f"{way.name(own)}, {settings.samples} samples"
        candidates[name] = lambda walk=walk: walk.samples(
            planes, settings.samples, settings.seed, 1 / case.dose
        )
    times = interleaved(candidates, REPEATS)
    seconds = {name: each.median / len(planes) for name, each in times.items()}
    notes = {
        "what": "seconds a slice, one thread, medians in turn",
        "matrix": list(planes.shape[1:]),
    }
    return Measured({}, {**notes, "of": seconds})


def _slab(
    bundle: Bundle, case: QualityCase, settings: Settings
) -> tuple[QualityCase, Array, np.float32]:
    """The case cut to the slab, its scaled planes [Z, H, W], and their scale."""
    scale = np.float32(scale_of(case.low, bundle.model.scale, case.voxel_mm))
    seen = replace(settings.views[case.dose], every=1).cut(case)
    first = max(0, (seen.low.shape[2] - SLAB) // 2)
    names = ("low", "full", "truth") + (("labels",) if seen.labels is not None else ())
    parts = {n: np.ascontiguousarray(getattr(seen, n)[:, :, first : first + SLAB]) for n in names}
    seen = replace(seen, **parts)
    return seen, np.ascontiguousarray(seen.low.transpose(2, 0, 1)) / scale, scale


@dataclass
class Walk:
    """One way through the steps of a bundle. ``start``: the standard deviation of the noise it starts from.
    ``evaluations``: of the denoiser for a sample, a part of it counted by its share of the operations."""

    process: ReverseProcess
    engine: Engine
    start: float
    evaluations: float

    @classmethod
    def of(cls, bundle: Bundle, way: Way) -> Walk:
        model = bundle.model
        if way.last is None:
            table = step_table(model.schedule, SamplerSpec(kind="mean", steps=1))
            return cls(ReverseProcess.of(bundle, table), NativeEngine(bundle), 1.0, 1.0)
        table = step_table(model.schedule, model.sampler)
        skipped = table.steps - way.last
        start = 1.0
        if skipped:
            gamma = gammas(model.schedule, model.sampler.steps)[::-1]
            start = float(np.sqrt(1 - gamma[skipped]))
            table = StepTable(table.levels[skipped:], table.coefs[skipped:])
        process = ReverseProcess.of(bundle, table)
        if way.every == 1:
            return cls(process, NativeEngine(bundle), start, float(way.last))
        engine = ReusingEngine(bundle, way.last, way.every)
        whole = -(-way.last // way.every)
        return cls(process, engine, start, whole + (way.last - whole) * engine.share)

    def samples(self, planes: Array, count: int, seed: int, dose: float) -> Array:
        """``count`` samples of the scaled ``planes`` [Z, H, W]: [count, Z, H, W], in antithetic pairs."""
        table = self.process.table
        assert table is not None
        depth, height, width = planes.shape
        found = np.empty((count, depth, height, width), np.float32)
        std = np.empty((1, height, width), np.float32)
        worker = Worker(self.process, self.engine, Shape(1, 1, height, width), Clock())
        told = settle(dose, self.process.model)
        weights = slice_weights(self.process.model.noise_sigma_z)
        reach, shape = len(weights) - 1, (table.steps + 1, 1, 1, 1, height, width)
        for z in range(depth):
            worker.prepare(planes, z, told)
            ids = np.array([z + reach], np.int64)
            for pair in range(-(-count // 2)):
                noise = coherent(weights, shape, seed, z + reach, pair)
                noise[0] *= np.float32(self.start)
                for n, signed in zip(range(2 * pair, count), (noise, -noise), strict=False):
                    worker.sample(1, seed, ids, signed)
                    worker.finish(found[n, z : z + 1], std, np.empty_like(std))
        return found


def coherent(weights: Array64, shape: tuple[int, ...], seed: int, number: int, pair: int) -> Array:
    """N(0, 1) noise of slice ``number``, combined along z as the model's own (petrt._core.slice_weights)."""
    noise, reach = np.zeros(shape, np.float32), len(weights) - 1
    for k in range(-reach, reach + 1):
        stream = np.random.default_rng([seed, number + k, pair])
        noise += np.float32(weights[abs(k)]) * stream.standard_normal(shape, np.float32)
    return noise


class ReusingEngine(NativeEngine):
    """Computes what lies below full resolution in the denoiser at every ``every``-th of ``steps`` calls.

    ``share``: what a call without it costs, as a part of a whole one, by multiplications.
    """

    def __init__(self, bundle: Bundle, steps: int, every: int) -> None:
        super().__init__(bundle)
        self._steps_walked, self._every = steps, every
        self._whole, self._shallow = split(bundle.network("denoiser"))
        for network in (self._whole, self._shallow):
            self._open(network.name, SimpleNamespace(network=lambda _, found=network: found))  # type: ignore[arg-type]
        self.share = _products(self._shallow) / _products(self._whole)

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        if graph != "denoiser":
            return super().bind(graph, inputs, outputs)
        height, width = inputs["r"].shape[2:]
        sizes = {"images": inputs["r"].shape[0], "slices": inputs["x_half"].shape[0]}
        shapes = self._whole.sized({**sizes, "height": height, "width": width})
        kept = {}
        for name in self._whole.outputs.keys() - {"eps"}:
            images, channels, rows, columns = shapes[name]
            kept[name] = np.zeros((images, rows, columns, channels), np.float32)
        read = {n: b for n, b in inputs.items() if n in self._shallow.inputs}
        whole = super().bind(self._whole.name, inputs, {**outputs, **kept})
        shallow = super().bind(self._shallow.name, {**read, **kept}, outputs)
        calls = 0

        def run() -> None:
            nonlocal calls
            step = calls % self._steps_walked
            calls += 1
            (shallow if step % self._every else whole)()

        return run


def split(network: Network) -> tuple[Network, Network]:
    """The whole denoiser with the deep values that are kept as further outputs, and the shallow rest that
    takes them as inputs. Deep is what has fewer rows than the image, and what follows from it alone."""
    deep: set[str] = set()
    rest: list[Step] = []
    for step in network.steps:
        outs, reads = _outs(step), _reads(step)
        images = [name for name in reads if len(network.dims[name]) == 4]
        below = all(
            len(network.dims[out]) == 4 and network.dims[out][2] != "height" for out in outs
        )
        if below or (images and all(name in deep for name in images)):
            deep |= {out for out in outs if len(network.dims[out]) == 4}
        else:
            rest.append(step)
    read = {name for step in rest for name in _reads(step)}
    kept = {name: network.dims[name] for name in sorted(read & deep)}
    inputs = {name: dims for name, dims in network.inputs.items() if name in read}
    weights = {n: network.weights[n] for step in rest for n in weights_of(step)}
    whole = replace(network, name="denoiser_whole", outputs={**network.outputs, **kept})
    shallow = Network("denoiser_shallow", {**inputs, **kept}, network.outputs, tuple(rest), weights)
    return whole, shallow


def _outs(step: Step) -> list[str]:
    return list(step.outs) if isinstance(step, Split) else [step.out]


def _reads(step: Step) -> list[str]:
    """The values that a step reads, weights left out."""
    assert not isinstance(step, Linear)  # levels and their layers are folded into the noise bias
    names = ("x", "a", "b", "map", "bias", "qkv")
    found = [getattr(step, n) for n in names if hasattr(step, n)] + list(getattr(step, "parts", ()))
    return [name for name in found if name is not None and name not in weights_of(step)]


def _products(network: Network) -> float:
    """Multiplications of the convolutions, in units of those of a plane."""
    total = 0.0
    for step in network.steps:
        if step.kind == "conv":
            dims = network.dims[step.out]
            over = int(str(dims[2]).partition("/")[2] or 1)
            total += network.weights[step.weight].size / over**2
    return total
