"""petrt doctor as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from petrt.cli.app import run
from tests.hardware.stub_nvml import TWO_GPUS, compile_nvml


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))


def test_report_for_reading_and_for_programs(capsys):
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("petrt", "driver", "CUDA module", "engine cache", "onnxruntime", "auto picks"):
        assert word in text
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["auto"]["model"] == "demo"


def test_a_named_model_is_chosen_for_and_a_bad_one_is_an_input_error(tiny_bundle, capsys):
    assert run(["doctor", "--json", "--model", str(tiny_bundle)]) == 0
    assert json.loads(capsys.readouterr().out)["auto"]["model"] == str(tiny_bundle)
    assert run(["doctor", "--model", "absent"]) == 3
    assert "no model 'absent'" in capsys.readouterr().err


def doctor(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "petrt", "doctor", *options]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_gpus_of_the_driver_are_shown(tmp_path):
    done = doctor(LD_LIBRARY_PATH=str(compile_nvml(tmp_path, TWO_GPUS)))
    for words in ("NVIDIA H100 80GB HBM3, compute capability 9.0", "RTX 4090", "petrt[cuda]"):
        assert words in done.stdout
    assert "Traceback" not in done.stderr


def test_broken_packages_make_no_traceback(tmp_path):
    for name in ("torch", "cupy", "tensorrt", "tensorrt_rtx"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('broken')")
    done = doctor("--json", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    states = {f"{p['name']} {p['device']}": p["state"] for p in json.loads(done.stdout)["engines"]}
    assert states["torch cpu"] == "broken"
    assert "Traceback" not in done.stderr
