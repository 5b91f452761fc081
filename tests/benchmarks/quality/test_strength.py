"""Strength in the benchmark: its ends are the input's and the model's numbers, and it is drawn and tabled."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import strength
from benchmarks.quality.cases import View, simulated
from benchmarks.quality.model import Settings, reconstruct
from benchmarks.quality.scores import score
from petrt.data.simulate import write_dataset
from petrt.model.bundle import load_bundle


@pytest.fixture(scope="module")
def measured(tmp_path_factory, tiny_bundle):
    folder = tmp_path_factory.mktemp("subjects")
    write_dataset(folder, [900], 2023, (100,), shape=(40, 40, 12))
    case = simulated(folder)(900, 100)
    settings = Settings(3, 0, 1, {100: View()})
    bundle = load_bundle(tiny_bundle)
    return bundle, case, settings, strength.measure(bundle, case, settings)


def test_the_ends_are_the_input_and_the_model(measured):
    bundle, case, settings, found = measured
    numbers = found.methods
    assert len(numbers) == 2 * 11
    low = score(case.low, case)
    for what in ("model", "coarse"):
        assert numbers[f"{what} 0"]["standard.psnr"] == pytest.approx(low["standard.psnr"])
    done = reconstruct(bundle, case, settings, samples=3, preset="fast")
    expected = score(done.image, case)["standard.psnr"]
    assert numbers["model 1"]["standard.psnr"] == pytest.approx(expected)
    assert numbers["model 1"]["covered"] == pytest.approx(90, abs=0.1)
    # Noise is a distance from the truth: along a line it is convex.
    noise = [numbers[strength.name_of("coarse", each)]["noise"] for each in strength.STRENGTHS]
    assert (np.diff(noise, 2) > -1e-3).all()


def test_it_is_tabled_and_drawn(measured, tmp_path):
    numbers = measured[-1].methods
    means = {
        name: {k: [v, None] for k, v in each.items() if v is not None}
        for name, each in numbers.items()
    }
    section = {
        "subjects": ["sub-0900"],
        "mean_sd": {"1/100": means},
        "settings": {"model": "tiny", "view": {"1/100": "whole volume"}},
    }
    rows = [line for line in strength.table(section, "1/100") if line.startswith("| 0.5 |")]
    assert len(rows) == 1
    assert f"{means['model 0.5']['noise'][0]:.1f}" in rows[0]
    strength.save_strength(tmp_path / "s.png", section)
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"
