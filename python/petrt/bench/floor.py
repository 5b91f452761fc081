"""The least time that a machine's peaks allow, stage by stage.

A stage cannot take less than its operations over the peak rate of a matrix product in its precision,
nor less than the bytes it must move over the copy's bandwidth. Operations are 2 x the multiplications
of the direct computation, of the folded networks, as they run (petrt.flops). An engine that convolves
by Winograd's algorithm does fewer multiplications: its rate by the direct count is an *effective* one,
and its share of the peak may exceed 1.

Guides and loop have no such count (a Fourier transform, noise): for them bytes alone make the floor,
in the cores' own caches, where a slice fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from petrt.bench.timing import significant
from petrt.diffusion.guides import NEIGHBOURS
from petrt.diffusion.noise_schedule import StepTable, step_table
from petrt.flops import bundle_macs
from petrt.model.bundle import Bundle

FLOAT = 4  # bytes
NETWORKS = ("guidance", "coarse", "denoiser")
EFFECTIVE = (
    "rates and shares are effective: operations of the direct convolution over time; an engine that "
    "multiplies less (Winograd) may exceed 100 %"
)


class Rates(Protocol):
    """What petrt.bench.peaks.Peaks tells."""

    def gemm(self, dtype: str) -> float | None: ...
    def bandwidth(self, where: str) -> float: ...


@dataclass(frozen=True)
class StageWork:
    """Of one stage for a whole volume. ``where`` its bytes move: "memory" or "cache"."""

    operations: int
    bytes: int
    where: str


def work_of(
    bundle: Bundle, table: StepTable, size: tuple[int, int], slices: int, samples: int
) -> dict[str, StageWork]:
    """Stage -> work of a volume of ``slices`` x size. Weights are read once, images in each call."""
    height, width = size
    plane = FLOAT * height * width
    images = slices * samples
    calls = {"guidance": slices, "coarse": slices, "denoiser": images * table.steps}
    # Read the slice; write its neighbours and its spectrum.
    work = {"guides": StageWork(0, slices * plane * (1 + NEIGHBOURS + 1), "cache")}
    for name, each in bundle_macs(bundle, height, width).items():
        moved = each.weight_bytes + calls[name] * (each.input_bytes + each.output_bytes)
        work[name] = StageWork(calls[name] * each.count.flops, moved, "memory")
    if "denoiser" in work:
        work["loop"] = StageWork(0, images * plane * _loop_planes(table), "cache")
    return work


def _loop_planes(table: StepTable) -> int:
    """Planes read or written for one image: its steps, then mean and deviation (csrc ops.h)."""
    start, accumulate = 1, 6  # draw r; read r and x_cp, update mean and sum of squares
    planes = start + accumulate
    for _, _, _, _, c, _ in table.coefs:
        planes += 4 + (1 if c else 0)  # r read and written, eps read, x0 written (and read)
    return planes


def floor_seconds(work: StageWork, precision: str, rates: Rates) -> float | None:
    """Seconds on all threads; None where the peak of ``precision`` was not measured."""
    seconds = work.bytes / rates.bandwidth(work.where)
    if not work.operations:
        return seconds
    peak = rates.gemm(precision)
    return None if peak is None else max(seconds, work.operations / peak)


def add_all_floors(
    entries: Iterable[dict[str, Any]],
    bundle: Bundle,
    size: tuple[int, int],
    slices: int,
    rates: Rates,
) -> None:
    """``add_floors`` to the ``entries`` of several engines, each with its own samples and steps."""
    model = bundle.model
    for entry in entries:
        sampler = model.sampler.model_copy(update={"steps": entry["steps"]})
        table = step_table(model.schedule, sampler)
        add_floors(entry, work_of(bundle, table, size, slices, entry["samples"]), rates)


def add_floors(found: dict[str, Any], work: Mapping[str, StageWork], rates: Rates) -> None:
    """Put floors and shares of the peak into one candidate's record (petrt.bench.measure)."""
    precision, whole = found["precision"], found["volume"]["median_s"]
    peak = rates.gemm(precision)
    floors = {stage: floor_seconds(each, precision, rates) for stage, each in work.items()}
    for stage, floor in floors.items():
        if stage in found["stages"]:
            entry = found["stages"][stage]
            seconds, operations = entry["median_s"], work[stage].operations
            entry |= _against(seconds, operations, floor, peak)
    operations = sum(each.operations for each in work.values())
    known = [floor for floor in floors.values() if floor is not None]
    whole_floor = sum(known) if len(known) == len(floors) else None
    found["floor"] = {
        **_against(whole, operations, whole_floor, peak),
        "peak_of": precision if peak else f"the {precision} peak was not measured",
        "operations": operations,
        "networks_peak_share": _networks_share(found["stages"], work, peak),
    }


def _against(
    seconds: float, operations: int, floor: float | None, peak: float | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "floor_s": None if floor is None else significant(floor),
        "times_floor": None if not floor else significant(seconds / floor, 3),
    }
    if operations and seconds > 0:
        rate = operations / seconds
        entry["effective_ops_per_s"] = significant(rate)
        entry["peak_share"] = None if peak is None else round(rate / peak, 4)
    return entry


def _networks_share(
    stages: Mapping[str, Any], work: Mapping[str, StageWork], peak: float | None
) -> float | None:
    """Share of the peak while inside the networks; None where they are not timed apart."""
    inside = [name for name in NETWORKS if name in work]
    if peak is None or not all(name in stages for name in inside):
        return None
    seconds = sum(stages[name]["median_s"] for name in inside)
    operations = sum(work[name].operations for name in inside)
    return round(operations / seconds / peak, 4) if seconds > 0 else None
