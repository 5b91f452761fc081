"""Records of runs, and lines through them, of reconstructions that only say they took time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from petrt.bench import scaling
from petrt.bench.measure import Subject, measure_volumes, open_subject, record, stage_times
from petrt.bench.scaling import Axis, Base, measure_axis, measure_threads, thread_counts

BASE = Base(size=(32, 32), slices=4, samples=1, steps=5, threads=2, multiple=8)


class FakeReconstructor:
    """Says that it took what its case costs: so much a slice, and a denoiser's step."""

    def __init__(self, case: Base, bend: float = 0.0) -> None:
        self.case, self._bend, self.runs = case, bend, 0

    def __call__(self, volume):
        self.runs += 1
        case = self.case
        images = case.slices * case.samples * case.steps
        denoiser = images * (1 + self._bend * images) / case.threads
        coarse = 3.0 * case.slices / case.threads
        seconds = {"coarse": coarse, "denoiser": denoiser, "loop": 1e-6 * images, "outside": 0.5}
        return SimpleNamespace(
            stats={
                "engine": {"name": "fake", "version": "1", "precision": "fp32"},
                "device": "cpu",
                "threads": case.threads,
                "schedule": {"workers": case.threads, "threads_per_call": 1},
                "grid": {"network": [case.slices, *case.size]},
                "samples": case.samples,
                "sampler": {"kind": "ddpm", "steps": case.steps},
                "seconds": {**seconds, "total": sum(seconds.values())},
            }
        )


def told(run: Subject) -> float:
    """The time that the last run said it took."""
    run()
    return run.stats[-1]["seconds"]["total"]


def test_a_subject_keeps_the_records_of_what_was_timed_alone():
    subject = open_subject(lambda: FakeReconstructor(BASE), np.zeros((32, 32, 4), np.float32))
    assert subject.load_s >= 0
    assert len(subject.stats) == 1  # the first run, which is not among the timed ones
    times = measure_volumes({"a": subject}, 3, warm_up=2, clock=told)
    assert len(subject.stats) == len(times["a"].seconds) == 3
    assert subject.reconstructor.runs == 1 + 2 + 3


def test_a_record_tells_stages_calls_and_shares():
    subject = Subject(FakeReconstructor(BASE), None, load_s=1.5, first_run_s=2.5)
    times = measure_volumes({"a": subject}, 3, clock=told)
    found = record(subject, times["a"])
    assert found["engine"] == "fake"
    assert found["volume"]["median_s"] == pytest.approx(10 + 6 + 0.5, rel=1e-3)
    denoiser = found["stages"]["denoiser"]
    assert denoiser["calls"] == 4 * 1 * 5
    assert denoiser["call_s"] == pytest.approx(1.0)  # on one of the two workers
    assert found["stages"]["coarse"]["call_s"] == pytest.approx(3.0)
    assert sum(stage["share"] for stage in found["stages"].values()) == pytest.approx(1, abs=1e-3)
    assert "guidance" not in found["stages"]  # a pipeline tells what it knows
    assert "calls" not in found["stages"]["outside"]


def test_stages_that_some_runs_do_not_tell_are_left_out():
    seconds = [{"seconds": {"coarse": 1.0, "loop": 2.0}}, {"seconds": {"coarse": 3.0}}]
    assert {n: t.seconds for n, t in stage_times(seconds).items()} == {"coarse": [1.0, 3.0]}


def test_axes_hold_whole_rounds_and_fitting_sizes():
    axes = {axis.name: axis for axis in scaling.axes(BASE)}
    assert list(axes["slices"].points) == [2, 4, 6, 8]
    assert list(axes["samples"].points) == [1, 2, 3, 4]
    assert list(axes["steps"].points) == [1, 2, 3, 4, 5]
    sizes = [case.size for case in axes["pixels"].points.values()]
    assert sizes == [(16, 16), (24, 24), (32, 32), (40, 40)]
    assert list(axes["pixels"].points) == [256, 576, 1024, 1600]


@pytest.mark.parametrize("name", ["slices", "samples", "steps"])
def test_proportional_cost_lies_on_a_line_stage_by_stage(name):
    axis = next(axis for axis in scaling.axes(BASE) if axis.name == name)
    found = measure_axis(FakeReconstructor, axis, 2, clock=told)
    assert found["repeats"] == 2
    assert set(found["seconds"]) == {"coarse", "denoiser", "loop", "outside", "volume"}
    assert found["short"] == ["loop"]
    assert max(found["deviation_percent"].values()) < 0.01
    assert found["fastest_percent"].keys() == found["deviation_percent"].keys()
    slope = found["line"]["denoiser"]["slope_s"]
    grows = {"slices": 5 / 2, "samples": 20 / 2, "steps": 4 / 2}
    assert slope == pytest.approx(grows[name], rel=1e-3)


def test_cost_that_bends_is_told_in_percent():
    axis = next(axis for axis in scaling.axes(BASE) if axis.name == "slices")
    found = measure_axis(lambda case: FakeReconstructor(case, bend=0.05), axis, 1, clock=told)
    assert found["deviation_percent"]["denoiser"] > 5
    assert found["deviation_percent"]["coarse"] < 0.01


def test_two_points_make_no_line():
    found = measure_axis(FakeReconstructor, Axis("slices", {2.0: BASE, 4.0: BASE}), 1, clock=told)
    assert found["deviation_percent"] == {}
    assert len(found["seconds"]["volume"]) == 2


def test_threads_tell_what_each_of_them_gains():
    found = measure_threads(FakeReconstructor, BASE, [1, 2, 4], 1, clock=told)
    # 32 s of work that divides, and half a second that does not.
    wholes = [32.5, 16.5, 8.5]
    assert found["seconds"]["volume"] == pytest.approx(wholes, rel=1e-3)
    gains = [32.5 / (n * s) for n, s in zip((1, 2, 4), wholes, strict=True)]
    assert found["efficiency"] == pytest.approx(gains, abs=1e-3)
    assert thread_counts(1) == [1]
    assert thread_counts(6) == [1, 2, 4, 6]
