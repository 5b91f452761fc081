"""Floors from work and peaks that are round numbers."""

from __future__ import annotations

import pytest

from petrt.bench.floor import StageWork, add_floors, floor_seconds, work_of
from petrt.diffusion.noise_schedule import step_table
from petrt.flops import bundle_macs
from petrt.model.bundle import load_bundle


class Rates:
    """A machine of a hundred operations and ten bytes a second in memory, fifty in caches."""

    def gemm(self, dtype: str) -> float | None:
        return 100.0 if dtype == "fp32" else None

    def bandwidth(self, where: str) -> float:
        return {"memory": 10.0, "cache": 50.0}[where]


def test_floor_is_the_later_of_operations_and_bytes():
    assert floor_seconds(StageWork(1000, 10, "memory"), "fp32", Rates()) == 10
    assert floor_seconds(StageWork(1000, 500, "memory"), "fp32", Rates()) == 50
    assert floor_seconds(StageWork(0, 500, "cache"), "bf16", Rates()) == 10
    # Without a peak nothing is made up from the bytes alone.
    assert floor_seconds(StageWork(1000, 500, "memory"), "bf16", Rates()) is None


def record(precision: str) -> dict:
    stages = {
        "coarse": {"median_s": 4.0},
        "denoiser": {"median_s": 20.0},
        "loop": {"median_s": 1.0},
    }
    return {"precision": precision, "volume": {"median_s": 25.0}, "stages": stages}


WORK = {
    "coarse": StageWork(500, 10, "memory"),
    "denoiser": StageWork(1000, 10, "memory"),
    "loop": StageWork(0, 25, "cache"),
}


def test_shares_and_times_follow_from_the_floor():
    found = record("fp32")
    add_floors(found, WORK, Rates())
    coarse, loop = found["stages"]["coarse"], found["stages"]["loop"]
    # Faster than the direct count allows: an effective share above 1.
    assert coarse["floor_s"] == 5
    assert coarse["times_floor"] == 0.8
    assert coarse["peak_share"] == 1.25
    assert loop["floor_s"] == 0.5
    assert loop["times_floor"] == 2
    assert "peak_share" not in loop
    floor = found["floor"]
    assert floor["operations"] == 1500
    assert floor["floor_s"] == 15.5
    assert floor["peak_share"] == pytest.approx(1500 / 25 / 100)
    assert floor["networks_peak_share"] == 0.625  # 1500 in the 24 s of the two networks
    assert floor["peak_of"] == "fp32"


def test_networks_that_are_not_timed_apart_have_no_share():
    found = record("fp32")
    add_floors(found, {**WORK, "guidance": StageWork(500, 1, "memory")}, Rates())
    assert found["floor"]["networks_peak_share"] is None
    assert found["floor"]["operations"] == 2000


def test_a_precision_without_a_peak_has_no_floor_and_says_so():
    found = record("bf16")
    add_floors(found, WORK, Rates())
    assert found["floor"]["floor_s"] is None
    assert found["floor"]["peak_share"] is None
    assert "bf16 peak was not measured" in found["floor"]["peak_of"]
    assert found["stages"]["loop"]["times_floor"] == 2  # bytes need no such peak


def test_work_counts_calls_of_the_folded_networks(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    table = step_table(bundle.model.schedule, bundle.model.sampler)
    one = bundle_macs(bundle, 32, 32)
    work = work_of(bundle, table, (32, 32), slices=3, samples=2)
    calls = {"guidance": 3, "coarse": 3, "denoiser": 3 * 2 * table.steps}
    for name, count in calls.items():
        assert work[name].operations == 2 * count * one[name].count.all_macs
        # Weights are needed once, however often a network runs.
        assert work[name].bytes < count * one[name].bytes
    plane = 4 * 32 * 32
    assert work["guides"].bytes == 3 * 7 * plane
    # r drawn; 4 planes a step (DDPM reads no earlier x0); 6 for mean and deviation.
    assert work["loop"].bytes == 3 * 2 * plane * (1 + 4 * table.steps + 6)
