"""A whole run of petrt bench in Python: real, tiny, and with engines that are missing or fail."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from petrt.bench import peaks, plan, report, run, startup
from petrt.bench.plan import SECTIONS, Settings
from petrt.bench.plot import picture
from petrt.bench.run import Bench
from petrt.engines.candidates import Missing
from petrt.errors import DeviceError

KEYS = {
    "format",
    "version",
    "machine",
    "model",
    "settings",
    "device",
    "candidates",
    "absent",
    "peaks",
    "memory",
    "startup",
    "scaling",
    "skipped",
    "warnings",
    "notes",
}
ENTRY = {
    "engine",
    "version",
    "precision",
    "device",
    "threads",
    "schedule",
    "samples",
    "steps",
    "load_s",
    "first_run_s",
    "volume",
    "slice_s",
    "stages",
    "floor",
}
STAGES = {"guides", "guidance", "coarse", "denoiser", "loop", "outside"}


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    """Peaks of small products, in float32; few processes; a cache of its own."""
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(peaks, "GEMM_SIZE", 64)
    monkeypatch.setattr(peaks, "DTYPES", ("fp32", "bf16"))
    monkeypatch.setattr(run, "STARTS", 1)


@pytest.fixture
def settings() -> Settings:
    return Settings(
        size=(32, 32),
        slices=2,
        device="cpu",
        engines=("onnxruntime",),
        threads=1,
        repeats=2,
        budget=60,
    )


@pytest.mark.slow
def test_a_real_run_fills_every_section(tiny_bundle, settings):
    settings = replace(settings, repeats=1)
    said: list[str] = []
    result = Bench(str(tiny_bundle), settings, said.append).run()
    assert said == list(SECTIONS)
    assert set(result) == KEYS
    assert result["skipped"] == {}
    json.dumps(result, allow_nan=False)
    (name, entry), *others = result["candidates"].items()
    assert not others
    assert set(entry) == ENTRY
    assert set(entry["stages"]) == STAGES
    for stage in ("guidance", "coarse", "denoiser"):
        known = entry["stages"][stage]
        assert known["times_floor"] > 0
        assert known["peak_share"] > 0
        assert known["call_s"] > 0
    assert entry["volume"]["repeats"] == 1
    assert entry["schedule"]["workers"] == 1
    assert len(result["peaks"]["sampled"]["fp32"]) == 1  # once a round
    assert result["memory"][name]["peak_MiB"] > 30
    assert result["startup"]["process_to"]["first slice"]["repeats"] == 1
    for axis in ("slices", "samples", "steps", "pixels"):
        assert {"guidance", "denoiser", "volume"} <= set(result["scaling"][axis]["seconds"])
    text = report.text(result)
    for word in ("/ floor", "of peak", "peak memory", "cold process", "steps", "Winograd"):
        assert word in text
    assert picture(result).startswith(b"\x89PNG")


def test_an_engine_that_fails_to_open_is_absent_and_the_others_go_on(
    tiny_bundle, settings, monkeypatch, caplog
):
    original = Bench.reconstructor

    def reconstructor(self, candidate, **changes):
        if candidate.engine == "torch":
            raise DeviceError("PyTorch is broken", "reinstall it")
        return original(self, candidate, **changes)

    monkeypatch.setattr(Bench, "reconstructor", reconstructor)
    chosen = replace(settings, engines=("torch", "onnxruntime"), sections=("volume",), repeats=1)
    result = Bench(str(tiny_bundle), chosen, lambda name: None).run()
    assert [e["engine"] for e in result["candidates"].values()] == ["onnxruntime"]
    assert [(a["reason"], a["hint"]) for a in result["absent"]] == [
        ("PyTorch is broken", "reinstall it")
    ]
    assert "absent: torch fp32" in report.text(result)
    assert set(result["skipped"]) == set(SECTIONS) - {"volume"}
    assert picture(result).startswith(b"\x89PNG")
    only = replace(chosen, engines=("torch",))
    with pytest.raises(DeviceError, match=r"no engine runs here: .*PyTorch is broken"):
        Bench(str(tiny_bundle), only, lambda name: None).run()


def test_nothing_to_measure_is_an_error_with_the_reasons(tiny_bundle, settings, monkeypatch):
    def none(bundle, gpu, names, precision):
        return iter([Missing(name, f"{name} is not installed", "pip") for name in names])

    monkeypatch.setattr(plan, "candidates", none)
    with pytest.raises(DeviceError, match="onnxruntime is not installed"):
        Bench(str(tiny_bundle), settings, lambda name: None)


def test_a_budget_that_is_used_up_leaves_out_what_follows(tiny_bundle, settings, monkeypatch):
    result = Bench(str(tiny_bundle), replace(settings, budget=0), lambda name: None).run()
    assert set(result["skipped"]) == set(SECTIONS)
    assert all("budget of 0 s" in why for why in result["skipped"].values())
    assert set(result) == KEYS
    assert "left out: scaling" in report.text(result)


def test_rounds_end_with_half_of_the_budget(tiny_bundle, settings, monkeypatch):
    monkeypatch.setattr(run, "measure_peaks", lambda threads: pytest.fail("not asked for"))
    chosen = replace(settings, sections=("volume",), repeats=10**6, budget=0.5)
    result = Bench(str(tiny_bundle), chosen, lambda name: None).run()
    (entry,) = result["candidates"].values()
    assert 1 <= entry["volume"]["repeats"] < 10**6
    assert "floor" not in entry  # without peaks there is none


def test_engines_are_not_told_over_and_over(tiny_bundle, settings, caplog):
    caplog.set_level(logging.INFO, "petrt")
    Bench(str(tiny_bundle), replace(settings, sections=("volume",)), lambda name: None).run()
    assert not [r for r in caplog.records if "engine:" in r.getMessage()]


def test_import_time_is_that_of_fresh_interpreters():
    assert 0 < startup.import_times(1).median < 5
