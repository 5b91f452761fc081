"""The curve of the samplers: measured with the tiny networks, and judged from made-up numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import run as quality
from benchmarks.quality import samplers as quality_samplers
from benchmarks.quality.bars import bars
from benchmarks.quality.curve import preset, table
from benchmarks.quality.differences import differences
from benchmarks.quality.report import write
from benchmarks.quality.results import Results
from benchmarks.quality.samplers import Setting, curve, worth
from petrt.data.simulate import write_dataset
from petrt.diffusion.presets import PRESETS
from petrt.model.spec import CalibrationSpec, SamplerSpec

OWN = SamplerSpec(kind="ddpm", steps=10)
FAST = PRESETS["fast"]
FIVE = Setting("ddpm", 5, 2).name
SUBJECTS = ["sub-0900", "sub-0901", "sub-0902"]


@pytest.fixture
def short(monkeypatch) -> None:
    """Few settings, timed once."""
    walks = {"ddpm": (10, 2), "mean": (1,)}
    monkeypatch.setattr(quality_samplers, "WALKS", walks)
    monkeypatch.setattr(quality_samplers, "WITH_MANY", walks)
    monkeypatch.setattr(quality_samplers, "REPEATS", 1)


@pytest.mark.slow
def test_the_curve_is_measured_written_and_drawn(short, tmp_path, tiny_bundle, monkeypatch):
    write_dataset(tmp_path / "in", [900, 901], 2023, (20, 100), shape=(40, 40, 12))

    def run(*sections: str) -> dict:
        arguments = [
            *sections,
            "--subjects",
            2,
            "--subjects-dir",
            tmp_path / "in",
            "--doses",
            100,
            20,
            "--model",
            tiny_bundle,
            "--samples",
            3,
            "--threads",
            1,
            "--work",
            tmp_path / "work",
            "--out",
            tmp_path / "out",
        ]
        monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, arguments)])
        quality.main()
        return json.loads((tmp_path / "out" / "quality.json").read_text())

    # model and samplers share no code but the runtime: the same means must come out.
    found = run("model", "samplers")["sections"]
    numbers, ours = (found[name]["values"]["1/100"] for name in ("samplers", "model"))
    settings = [s.name for s in curve(OWN, 3)]
    assert set(numbers) == {"coarse", *settings}
    assert len(settings) == 9
    pairs = {"DDPM-10, 1 sample": "one sample", "DDPM-10, 3 samples": "AMS-3", "coarse": "coarse"}
    for name, same in pairs.items():
        assert numbers[name]["standard.psnr"] == ours[same]["standard.psnr"]
    assert numbers["DDPM-10, 3 samples"]["sd"] == ours["AMS-3"]["sd"]
    assert "sd" not in numbers["DDPM-2, 1 sample"]
    # At the other dose the presets alone.
    assert set(found["samplers"]["values"]["1/20"]) == {
        "coarse",
        *(f"{walk}, {n} samples" for walk in ("DDPM-10", "one-step mean") for n in (2, 3)),
    }
    times = found["samplers"]["seconds"]
    assert set(times["of"]) == set(settings)
    assert all(each["median_s"] > 0 for each in times["of"].values())
    for name in ("samplers.png", "quality.md"):
        assert 0 < (tmp_path / "out" / name).stat().st_size < 400_000
    # Kept: running it again measures nothing, neither images nor times.
    monkeypatch.setattr(quality_samplers, "measure", None)
    monkeypatch.setattr(quality_samplers, "timing", None)
    assert run("samplers")["sections"]["samplers"] == found["samplers"]


def test_the_curve_holds_what_is_compared():
    found = curve(OWN, 8)
    assert len(set(found)) == len(found) == len({s.name for s in found})
    for samples in (1, 2):
        assert {(s.kind, s.steps) for s in found if s.samples == samples} == {
            *(("ddpm", n) for n in (10, 9, 5, 3, 2)),
            *(("ddim", n) for n in (10, 5, 3, 2)),
            *(("dpmpp2m", n) for n in (10, 5, 3, 2)),
            ("mean", 1),
        }
    # Whatever a model's own sampler is, it is there with every number of samples.
    for own in (OWN, SamplerSpec(kind="ddim", steps=7), SamplerSpec(kind="mean", steps=1)):
        for samples in (1, 2, 8):
            assert Setting(own.kind, own.steps, samples) in curve(own, 8)
    assert Setting("ddim", 5, 2).evaluations == 10
    assert Setting("dpmpp2m", 3, 1).name == "DPM-Solver++-3, 1 sample"
    assert Setting("mean", 1, 2).name == "one-step mean, 2 samples"


def full_and_error(scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A full dose, an image that is off by ``scale`` x noise, and the noise's standard deviation."""
    rng = np.random.default_rng(0)
    full = rng.uniform(0.2, 1, (30, 30, 30)).astype(np.float32)
    std = rng.uniform(0.01, 0.03, full.shape).astype(np.float32)
    error = scale * std * rng.standard_normal(full.shape)
    return full, (full + error).astype(np.float32), std


def test_worth_of_a_std_that_means_what_it_says():
    full, image, std = full_and_error(1.0)
    found = worth(image, std, full)
    assert found["coverage"] == pytest.approx(90, abs=0.6)
    assert found["factor"] == pytest.approx(1, abs=0.02)
    assert found["width"] == pytest.approx(1.645 * std.mean() / full.max(), rel=0.02)
    assert 0.2 < found["rank"] < 0.4
    assert found["own_coverage"] is None
    # Twice the error: the factor says so, and a calibration of 2 covers again.
    fitted = CalibrationSpec(factor=2, level=0.9, sampler=OWN, samples=2, subjects=1)
    full, image, std = full_and_error(2.0)
    twice = worth(image, std, full, fitted)
    assert twice["factor"] == pytest.approx(2, abs=0.04)
    assert twice["coverage"] == pytest.approx(58.9, abs=1)
    assert twice["own_coverage"] == pytest.approx(90, abs=0.6)


def test_a_std_that_knows_more_has_narrower_intervals():
    full, image, std = full_and_error(1.0)
    shuffled = np.random.default_rng(1).permutation(std.ravel()).reshape(std.shape)
    known, blind = worth(image, std, full), worth(image, shuffled, full)
    assert known["width"] < blind["width"]
    assert abs(blind["rank"]) < 0.02


def test_no_spread_has_no_worth():
    full, image, std = full_and_error(1.0)
    found = worth(image, np.zeros_like(std), full)
    assert (found["sd"], found["coverage"]) == (0, 0)
    assert (found["factor"], found["width"], found["rank"]) == (None, None, None)


def section(**psnr: list[float]) -> dict:
    """A section ``samplers`` of three subjects: fast, paper's equals and coarse, by their PSNR."""
    names = {
        "fast": Setting(FAST.sampler.kind, FAST.sampler.steps, 8).name,
        "five": FIVE,
        "alike": Setting("ddpm", 10, 2).name,
        "many": Setting("ddpm", 10, 8).name,
        "coarse": "coarse",
    }
    values = {names[key]: {"standard.psnr": column} for key, column in psnr.items()}
    means = {
        name: {k: [float(np.mean(v)), 0.1] for k, v in columns.items()}
        for name, columns in values.items()
    }
    times = {s.name: {"median_s": 0.01 * s.evaluations, "repeats": 1} for s in curve(OWN, 8)}
    return {
        "subjects": SUBJECTS,
        "values": {"1/100": values},
        "mean_sd": {"1/100": means},
        "settings": {
            "model": "m",
            "samples": 8,
            "sampler": OWN.model_dump(),
            "view": {"1/100": "whole volume"},
        },
        "seconds": {"what": "s", "engine": "e", "matrix": [8, 8], "of": times},
    }


BASE = np.array([30.0, 31.0, 32.5])


def verdict(gains: list[float]) -> dict:
    made = section(fast=list(BASE + gains), many=list(BASE))
    found = {bar["what"]: bar for bar in bars(Results({"samplers": made}))}
    return found["fast - paper, 8 and 8 samples"]


def test_fast_is_held_to_a_tenth_of_a_decibel_with_its_interval():
    near = verdict([-0.01, 0.0, 0.01])
    assert near["got"] == pytest.approx(0)
    assert near["met"] is True
    assert verdict([-0.2, -0.2, -0.2])["met"] is False
    # A mean of -0.05 dB that three subjects do not tell from -0.1 dB.
    assert verdict([-0.15, -0.05, 0.05])["met"] is False
    assert {b["met"] for b in bars(Results({})) if b["what"].startswith("fast")} == {None}


def test_the_default_is_held_to_a_fifth_of_the_time_of_all_steps():
    def verdict(seconds: float) -> dict:
        made = section(many=list(BASE))
        made["seconds"]["default_share"] = seconds
        found = {bar["what"]: bar for bar in bars(Results({"samplers": made}))}
        return found["time of the default over all steps"]

    assert (verdict(0.19)["met"], verdict(0.21)["met"], verdict(0.19)["got"]) == (True, False, 0.19)
    own = {s.name: {"median_s": 0.1 + 0.01 * s.evaluations} for s in curve(OWN, 8)}
    assert quality_samplers._share(OWN, own) == pytest.approx(0.18 / 0.9)
    assert quality_samplers._share(OWN, {}) is None


def test_each_setting_is_compared_with_as_many_samples_and_with_the_most():
    made = section(
        five=list(BASE - 0.2), alike=list(BASE), many=list(BASE + 0.1), coarse=list(BASE + 0.3)
    )
    found = {d["what"]: d["mean"] for d in differences(Results({"samplers": made}))}
    assert found == {
        f"{FIVE} - DDPM-10, 2 samples": pytest.approx(-0.2),
        f"{FIVE} - DDPM-10, 8 samples": pytest.approx(-0.3),
        "DDPM-10, 2 samples - DDPM-10, 8 samples": pytest.approx(-0.1),
        "coarse - DDPM-10, 8 samples": pytest.approx(0.2),
    }
    assert preset(made, "paper", 8) == Setting("ddpm", 10, 8)
    assert preset(made, "fast") == Setting(FAST.sampler.kind, FAST.sampler.steps, 8)


def test_the_table_says_it_all_once(tmp_path):
    made = section(five=list(BASE - 0.2), alike=list(BASE), many=list(BASE + 0.1))
    lines = table(Results({"samplers": made}), "1/100")
    row = next(line for line in lines if line.startswith(f"| {FIVE}"))
    assert "| 10 | 0.100 | 30.967 | -0.200 (-0.200 … -0.200) | -0.300" in row
    own = next(line for line in lines if line.startswith("| DDPM-10, 8"))
    assert "| 80 | 0.800 | 31.267 |  |  |" in own
    write(tmp_path, {"samplers": made})
    text = (Path(tmp_path) / "quality.md").read_text()
    assert text.count(f"| {FIVE} ") == 1
