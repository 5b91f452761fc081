"""The pipeline of an engine: on a CPU or on a GPU, with one way to run a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from petrt.diffusion.noise_schedule import StepTable
from petrt.engines.base import Engine
from petrt.errors import NonfiniteOutput
from petrt.inference.cpu.pipeline import Pipeline, cpu_pipeline
from petrt.model.bundle import Bundle

if TYPE_CHECKING:
    from petrt.inference.cuda.pipeline import DevicePipeline


def pipeline_of(
    bundle: Bundle,
    engine: Engine,
    table: StepTable,
    threads: int | None = None,
    batch: tuple[int, int] | None = None,
    memory: int | None = None,
    *,
    ours: bool = False,
) -> Pipeline | DevicePipeline:
    """The pipeline of ``engine`` where it runs; options as of ``petrt.Reconstructor``.

    ``ours``: the engine was chosen here, and may be opened again with more threads inside.
    """
    if engine.stream is None:
        return cpu_pipeline(bundle, engine, table, threads, batch, memory, ours=ours)
    from petrt.inference.cuda.pipeline import DevicePipeline  # needs petrt._cuda

    return DevicePipeline(bundle, engine, table, batch, memory)


def check_finite(
    results: Sequence[NDArray[np.float32]], name: str, bundle: Bundle, engine: Engine
) -> None:
    """Raise NonfiniteOutput, for volume ``name``, unless all ``results`` are finite."""
    bad = sum(r.size - int(np.count_nonzero(np.isfinite(r))) for r in results)
    if bad:
        raise NonfiniteOutput(
            f"{name}: non-finite output from model '{bundle.model.name}' on {engine.name}",
            "the model or its engine is broken; export it again",
            bad,
        )
