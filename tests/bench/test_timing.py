"""Statistics, turns and lines, on clocks that are not the machine's."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.bench.timing import Times, fit_line, interleaved


class FakeClock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.time, self.log = 0.0, []

    def now(self) -> float:
        return self.time

    def work(self, name: str, seconds: float):
        def run() -> None:
            self.log.append(name)
            self.time += seconds

        return run

    def measure(self, run) -> float:
        begun = self.time
        run()
        return self.time - begun


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_quantiles_are_times_that_were_measured():
    times = Times([5.0, 1.0, 4.0, 2.0, 3.0, 10.0, 7.0, 8.0, 9.0, 6.0])
    assert times.median == 5.5
    assert (times.quantile(0.1), times.p90) == (1.0, 9.0)
    assert times.record() == {"median_s": 5.5, "p10_s": 1.0, "p90_s": 9.0, "repeats": 10}
    assert Times([3.0]).record() == {"median_s": 3.0, "p10_s": 3.0, "p90_s": 3.0, "repeats": 1}


def test_candidates_take_turns_and_warm_up_apart(clock):
    candidates = {"a": clock.work("a", 1.0), "b": clock.work("b", 2.0)}
    times = interleaved(
        candidates, 2, warm_up=2, clock=clock.measure, before_round=clock.work("peak", 9.0)
    )
    assert clock.log == ["a", "a", "b", "b", "peak", "a", "b", "peak", "a", "b"]
    assert times["a"].seconds == [1.0, 1.0]  # neither warm-up nor what runs before a round
    assert times["b"].seconds == [2.0, 2.0]


@pytest.mark.parametrize(("deadline", "rounds"), [(100.0, 5), (9.0, 3), (8.9, 2), (-1.0, 1)])
def test_no_round_begins_that_would_end_after_the_deadline(clock, deadline, rounds):
    candidates = {"a": clock.work("a", 1.0), "b": clock.work("b", 2.0)}
    times = interleaved(
        candidates, 5, warm_up=0, clock=clock.measure, deadline=deadline, now=clock.now
    )
    assert [len(each.seconds) for each in times.values()] == [rounds, rounds]


def test_points_on_a_line_deviate_by_nothing():
    line = fit_line([2, 4, 8], [5, 9, 17])
    assert (line.intercept, line.slope) == (pytest.approx(1), pytest.approx(2))
    assert line.deviation < 1e-12


def test_a_point_off_the_line_shows_relative_to_its_size():
    x = np.arange(1, 9)
    y = 3.0 * x
    y[3] *= 1.10
    line = fit_line(x, y)
    assert 0.05 < line.deviation < 0.10  # the line gives way a little
    scaled = fit_line(1000 * x, 1e-6 * y)
    assert scaled.deviation == pytest.approx(line.deviation)


def test_lines_of_nothing_and_of_too_few_points():
    assert fit_line([1, 2, 3], [0, 0, 0]).deviation == 0
    assert fit_line([1, 2, 3], [0, 0, 1]).deviation > 0.3
    with pytest.raises(ValueError, match="three points"):
        fit_line([1, 2], [1, 2])
