"""The networks of a bundle, bound to the buffers of one batch: guidance -> coarse -> denoiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from petrt._core import slice_weights
from petrt.arrays import Array
from petrt.diffusion.guides import NEIGHBOURS
from petrt.diffusion.noise_schedule import StepTable
from petrt.engines.base import Buffers, Engine, is_feature
from petrt.model.bundle import Bundle
from petrt.model.spec import ModelSpec, NetworkSpec

Run = Callable[[], None]
# (shape, dtype) -> a new buffer that the engine can bind.
Allocate = Callable[[tuple[int, ...], str], Any]
# (graph, inputs, outputs) -> one forward.
Bind = Callable[[str, Buffers, Buffers], Run]


@dataclass(frozen=True)
class ReverseProcess:
    """What all batches of a model share: its spec, the step table, and the noise bias of each step
    [steps, channels]. Without a denoiser ``table`` and ``film`` are None, and ``model`` has none."""

    model: ModelSpec
    table: StepTable | None
    film: Array | None

    @classmethod
    def of(cls, bundle: Bundle, table: StepTable | None) -> ReverseProcess:
        """``table``: None leaves the denoiser of the bundle out."""
        model = bundle.model
        if table is None or model.network.denoiser is None:
            network = model.network.model_copy(update={"denoiser": None})
            return cls(model.model_copy(update={"network": network}), None, None)
        return cls(model, table, bundle.noise_bias(table.levels))


def noise_reach(model: ModelSpec) -> int:
    """How many slices to each side a slice's noise takes streams from; ids begin there."""
    return len(slice_weights(model.noise_sigma_z)) - 1


class Loop(Protocol):
    """The buffers of a reverse loop, on a CPU or a GPU, that the denoiser reads and writes."""

    @property
    def r(self) -> Any: ...
    @property
    def eps(self) -> Any: ...
    @property
    def film_row(self) -> Any: ...


@dataclass(frozen=True)
class Forwards:
    """``per_slice``: guidance and coarse network, which run once a batch. ``denoise``: the denoiser, which
    runs once a reverse step; None without one."""

    per_slice: list[Run]
    denoise: Run | None


def wire(
    engine: Engine,
    network: NetworkSpec,
    images: Mapping[str, Any],
    loop: Loop | None,
    allocate: Allocate,
    bind: Bind,
) -> Forwards:
    """Bind every graph; features and maps between them get buffers of their own.

    ``images``: x, nas, spectrum and x_cp, each [slices, C, H, W], and dose [slices].
    """
    per_slice: list[Run] = []
    produced: dict[str, Any] = {}
    if network.guide_count or network.denoiser:
        inputs = {name: images[name] for name in engine.tensors("guidance")[0]}
        shapes = engine.output_shapes("guidance", {k: tuple(v.shape) for k, v in inputs.items()})
        dtypes = engine.dtypes("guidance")
        produced = {name: allocate(shape, dtypes[name]) for name, shape in shapes.items()}
        per_slice.append(bind("guidance", inputs, produced))
    if network.coarse:
        features = {name: buffer for name, buffer in produced.items() if is_feature(name)}
        reads = network.coarse_reads
        per_slice.append(
            bind("coarse", {reads: images[reads], **features}, {"x_cp": images["x_cp"]})
        )
    if loop is None:
        return Forwards(per_slice, None)
    maps = {name: buffer for name, buffer in produced.items() if not is_feature(name)}
    inputs = {"r": loop.r, "film": loop.film_row, **maps}
    return Forwards(per_slice, bind("denoiser", inputs, {"eps": loop.eps}))


def guidance_sizes(
    engine: Engine, network: NetworkSpec, slices: int, height: int, width: int
) -> dict[str, int]:
    """Numbers in each feature and map between the networks, for ``slices`` of ``height`` x ``width``."""
    if not (network.guide_count or network.denoiser):
        return {}
    channels = {"nas": NEIGHBOURS}
    inputs = {
        name: (slices, channels.get(name, 1), height, width)[: len(dims)]  # of the dose: (slices,)
        for name, dims in engine.tensors("guidance")[0].items()
    }
    shapes = engine.output_shapes("guidance", inputs)
    return {name: math.prod(shape) for name, shape in shapes.items()}
