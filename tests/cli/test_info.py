"""petrt info: what this installation can do, for programs."""

from __future__ import annotations

import json

from petrt import __version__
from petrt.cli.app import run
from petrt.model.bundle import load_bundle


def test_programs_read_what_petrt_can_do(capsys):
    assert run(["info", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert printed.err == ""
    assert (found["format"], found["version"], found["petrt"]) == ("petrt-info", 1, __version__)
    assert {"name": "native", "device": "cpu"}.items() <= found["engines"][0].items()
    assert {each["name"] for each in found["engines"]} <= {*found["engine_names"]}
    assert found["devices"][0] == "cpu"
    assert found["presets"]["default"] in found["presets"]["names"]
    assert {"nifti", "dicom"} == {*found["formats"]["output"]}
    (demo,) = (each for each in found["models"] if each["name"] == "demo")
    assert demo["sha256"] == load_bundle("demo").identity
    assert demo["label"].endswith("not for diagnostic use")
    assert {"reconstruct", "info", "build-engine"} <= {*found["commands"]}
    assert found["exit_codes"]["input"] == 3


def test_people_read_it_as_lines(capsys):
    assert run(["info"]) == 0
    printed = capsys.readouterr().out
    assert f"{__version__}, not for diagnostic use" in printed
    assert "native" in printed


def test_engines_that_cannot_run_are_left_out(capsys, monkeypatch):
    from petrt.hardware import packages

    monkeypatch.setattr(packages, "onnxruntime", lambda: None)
    assert run(["info", "--json"]) == 0
    names = {each["name"] for each in json.loads(capsys.readouterr().out)["engines"]}
    assert "onnxruntime" not in names
    assert "native" in names
