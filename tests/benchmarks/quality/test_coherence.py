"""The benchmark of coherent noise, with the tiny networks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import coherence
from benchmarks.quality.cases import View, simulated
from benchmarks.quality.model import Settings
from petrt import _core
from petrt.data.simulate import write_dataset
from petrt.model.spec import MapSpec, SamplerSpec, UncertaintySpec
from tests.evaluation.uncertainty.fits import FIT


def test_correlations_of_slices_apart_are_those_of_the_noise() -> None:
    volume = np.empty((40, 30, 30), np.float32)
    for z, plane in enumerate(volume):
        _core.normals(1, 20 + z, 0, 0, plane.reshape(-1), sigma_z=1.3)
    found = coherence.correlations(volume, np.ones(volume.shape, bool))
    expected = [np.exp(-(m**2) / (4 * 1.3**2)) for m in coherence.APART]
    assert found == pytest.approx(expected, abs=0.03)


def test_widths_are_compared_and_drawn(tmp_path, tiny_bundle, monkeypatch) -> None:
    write_dataset(tmp_path / "in", [900], 2023, (100,), shape=(40, 40, 12))
    options = ["--subjects-dir", tmp_path / "in", "--model", tiny_bundle, "--out", tmp_path]
    arguments = [*options, "--samples", 4, "--threads", 1]
    monkeypatch.setattr("sys.argv", ["coherence", *map(str, arguments)])
    coherence.main()
    found = json.loads((tmp_path / "coherence.json").read_text())
    independent, coherent = found["widths"]
    assert independent["sigma_z"] == 0
    assert independent["noise"] == [0, 0, 0]
    assert coherent["sigma_z"] == found["fitted_sigma_z"] > 0.5
    assert coherent["noise"][0] == pytest.approx(independent["error"][0], abs=0.002)
    assert coherent["deviation"][0] > independent["deviation"][0] + 0.3
    assert (tmp_path / "coherence.png").read_bytes().startswith(b"\x89PNG")
    assert found["calibrated_std"] is None  # this model has no fit


def test_the_calibrated_map_is_judged_where_the_model_has_one(tmp_path, tiny) -> None:
    write_dataset(tmp_path, [900], 2023, (100,), shape=(40, 40, 12))
    case = simulated(tmp_path)(900, 100)
    process = {"sampler": "mean", "steps": 1}
    of_the_image = MapSpec(constant=-4, samples=0, image=0.5)
    fit = FIT.model_copy(update={"sampler": SamplerSpec(kind="mean", steps=1), "map": of_the_image})
    spec = UncertaintySpec(level=0.9, subjects=3, doses=(0.01, 0.1), volumes_ml=(1, 2), fits=(fit,))
    model = tiny.model.model_copy(update={"uncertainty": spec})
    bundle = replace(tiny, manifest=tiny.manifest.model_copy(update={"model": model}))
    found = coherence.calibrated(bundle, case, Settings(4, 0, 1, {100: View(head=True)}), process)
    assert found is not None
    assert len(found) == len(coherence.APART)
    assert found[0] > found[-1]
