"""Memory of this process and of the batches that run on a CPU, in bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from petrt.diffusion.guides import NEIGHBOURS
from petrt.engines.base import Engine
from petrt.inference.cpu.worker import Shape
from petrt.model.spec import NetworkSpec, UNetSpec

# Of what is available, the share that reconstruction takes by default.
SHARE = 0.8
# Feature maps of base width at full resolution that an engine keeps for one image: skips, both sides of a
# convolution, scratch. Measured with ONNX Runtime on the paper's networks: 14 in the coarse network, 20 in
# the denoiser. Its arenas do not shrink, so both networks' count.
LIVE_MAPS = 20
# Bytes in memory for each byte of ONNX: weights, and what the engine packs of them. Measured: 1.8.
LOADED = 2.0
FLOAT = 4


def worker_bytes(engine: Engine, network: NetworkSpec, shape: Shape) -> int:
    """Bytes of one worker that runs batches of ``shape``: its buffers, exactly, and what the engine keeps
    for its calls, estimated (LIVE_MAPS)."""
    plane = shape.height * shape.width
    images = shape.slices * shape.samples
    # Per slice: x, spectrum, x_cp, mean, M2, the neighbours, and the Fourier transform in float64.
    planes = shape.slices * (5 + NEIGHBOURS) * FLOAT + shape.slices * 4 * 8
    planes += images * 4 * FLOAT if network.denoiser else 0  # r, eps, x0, noise
    kept = shape.slices * _maps(network.coarse) + images * _maps(network.denoiser)
    return plane * (planes + kept * FLOAT) + _guidance_bytes(engine, network, shape)


def _maps(unet: UNetSpec | None) -> int:
    return LIVE_MAPS * unet.base if unet else 0


def _guidance_bytes(engine: Engine, network: NetworkSpec, shape: Shape) -> int:
    """Features and maps between the networks."""
    if not (network.guide_count or network.denoiser):
        return 0
    channels = {"nas": NEIGHBOURS}
    inputs = {
        name: (shape.slices, channels.get(name, 1), shape.height, shape.width)[: len(dims)]
        for name, dims in engine.tensors("guidance")[0].items()
    }
    made = engine.output_shapes("guidance", inputs).values()
    return sum(math.prod(dims) for dims in made) * FLOAT


def resident() -> int | None:
    """Bytes of this process in memory now; None where Linux does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def available(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes this process can still take: what the system has, and no more than its control groups allow.

    None where Linux does not tell.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    return min([free, *_left_in_groups(proc, groups)])


def _left_in_groups(proc: Path, groups: Path) -> Iterator[int]:
    """What is left in each memory control group (version 1 or 2) above this process.

    Inside a container the path may be the host's, of which only the last part, "/", is mounted.
    """
    try:
        rows = [row.split(":", 2) for row in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, kinds, path in (row for row in rows if len(row) == 3):
        if kinds == "":
            base, names = groups, ("memory.max", "memory.current")
        elif "memory" in kinds.split(","):
            base, names = groups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        here = base / path.strip("/")
        for folder in (here, *here.parents):
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and used is not None:
                yield max(limit - used + _reclaimable(folder / "memory.stat"), 0)
            if folder == base:
                break


def _reclaimable(stat: Path) -> int:
    """Pages of files, which count as used but are given back when memory is wanted."""
    try:
        rows = dict(line.split(" ", 1) for line in stat.read_text().splitlines() if " " in line)
        return int(rows.get("total_inactive_file", rows.get("inactive_file", "0")))
    except (OSError, ValueError):
        return 0


def _number(path: Path) -> int | None:
    """The number in a file; None for "max" and for no file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
