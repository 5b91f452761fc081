"""The search for the layers that cost most."""

from __future__ import annotations

import pytest

from petrt.build.quantize_search import Layer, Search

LAYERS: list[Layer] = [("coarse", f"layer{i}") for i in range(64)]


class Image:
    """Errors that add up; counts how often it is asked."""

    def __init__(self, costs: dict[Layer, float]) -> None:
        self.costs, self.asked = costs, 0

    def __call__(self, layers) -> float:
        self.asked += 1
        return sum(self.costs.get(layer, 1e-6) for layer in layers)


def test_two_bad_layers_are_found_in_few_reconstructions():
    image = Image({LAYERS[40]: 1.0, LAYERS[3]: 0.5})
    search = Search([LAYERS], image)
    search.relax(0.01)
    assert search.kept == [LAYERS[40], LAYERS[3]]
    assert image.asked == search.measured <= 1 + 2 * 2 * 6
    assert search.remaining == pytest.approx(62e-6, rel=0.1)
    assert not search.exhausted


def test_no_more_is_kept_than_the_target_asks_for_but_always_one():
    search = Search([LAYERS[:32], [], LAYERS[32:]], Image({LAYERS[40]: 1.0, LAYERS[3]: 0.5}))
    search.relax(0.6)
    assert search.kept == [LAYERS[40]]
    search.relax(10.0)
    assert search.kept == [LAYERS[40], LAYERS[3]]


def test_in_the_end_everything_is_kept():
    search = Search([LAYERS[:5]], Image({}))
    steps: list[int] = []
    search.relax(0.0, steps.append)
    assert sorted(search.kept) == sorted(LAYERS[:5])
    assert search.exhausted
    assert search.remaining == 0
    assert steps == sorted(steps)
