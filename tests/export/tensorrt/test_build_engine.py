"""petrt build-engine: a real engine of TensorRT-RTX, built on a CPU by the command itself."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from petrt.cli.app import run
from petrt.engines.store.folder import installed, load_graphs, load_timing_cache
from petrt.engines.store.record import RECORD
from petrt.model.bundle import GRAPHS, load_bundle
from tests.export.tensorrt import rtx

COMMAND = rtx.python("-m", "petrt", "build-engine")
SMALL = ["--gpu", "rtx40", "--size", "32x32", "--slices", "2", "--precision", "fp16"]
ON_THE_PAGE = "petrt build-engine demo --gpu rtx40,rtx50"


def run_in(cache: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    return rtx.run(command, cache / "home", PETRT_CACHE=str(cache))


@pytest.fixture(scope="module")
def built(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """An engine folder that ``petrt build-engine`` filled, and what the command said."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, run_in(cache, [*COMMAND, str(tiny_bundle), *SMALL])


@pytest.fixture
def cache(built, monkeypatch) -> Path:
    monkeypatch.setenv("PETRT_CACHE", str(built[0]))
    return built[0]


@rtx.needs_rtx
@pytest.mark.slow
def test_the_command_of_the_page_builds_the_demo_model_for_two_gpus(tmp_path, monkeypatch):
    """As a user runs it, on a machine without a GPU."""
    assert f"    {ON_THE_PAGE} " in (rtx.ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    script, *arguments = shlex.split(ON_THE_PAGE)
    done = run_in(tmp_path, [str(Path(sys.executable).parent / script), *arguments])
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path))
    (entry,), broken = installed()
    assert broken == []
    assert done.stdout == f"{entry.folder}\n"
    record, demo = entry.record, load_bundle("demo")
    assert (record.engine, record.precision) == ("tensorrt-rtx", "bf16")
    assert record.targets == ((8, 9), (12, 0))
    assert record.engine_version == importlib.metadata.version("tensorrt-rtx")
    profile = record.profile
    assert (profile.slices, profile.samples) == ((16,) * 3, (1,) * 3)
    assert (profile.height, profile.width) == tuple((n,) * 3 for n in demo.model.domain.matrix)
    assert {path.name for path in entry.folder.iterdir()} == {RECORD, *record.files}
    assert all(plan.startswith(b"vtrt") for plan in load_graphs(entry, demo).values())
    assert stat.S_IMODE(entry.folder.stat().st_mode) == 0o700
    assert not list((tmp_path / "home").rglob("*"))


@rtx.needs_rtx
@pytest.mark.usefixtures("cache")
def test_a_real_engine_is_installed_unverified_with_a_true_record(built, tiny_bundle):
    tiny, done = load_bundle(tiny_bundle), built[1]
    assert done.returncode == 0, done.stderr
    (entry,), broken = installed()
    assert broken == []
    assert done.stdout == f"{entry.folder}\n"
    assert "building tiny, TensorRT-RTX" in done.stderr
    assert "no such GPU here; it will be verified at first use" in done.stderr
    record = entry.record
    assert (record.engine, record.precision) == ("tensorrt-rtx", "fp16")
    assert record.targets == ((8, 9),)
    assert record.model.sha256 == tiny.identity
    assert str(record.profile) == "slices 2, samples 1, size 32x32"
    assert (record.verified, record.gpu) == (None, None)
    plans = load_graphs(entry, tiny)
    assert set(plans) == set(GRAPHS)
    assert all(plan.startswith(b"vtrt") for plan in plans.values())
    assert load_timing_cache(entry)


@rtx.needs_rtx
def test_what_is_installed_is_kept_and_listed(tiny_bundle, cache, built, capsys):
    command = [*COMMAND, str(tiny_bundle), *SMALL]
    before = {path: path.stat().st_mtime_ns for path in (cache / "engines").rglob("*")}
    again = run_in(cache, command)
    assert again.returncode == 0, again.stderr
    assert "is installed already" in again.stderr
    assert again.stdout == built[1].stdout
    dry = run_in(cache, [*command, "--slices", "1,2,8", "--dry-run"])
    assert dry.stdout.startswith("would build tiny, TensorRT-RTX")
    assert dry.stdout.endswith("profile: slices 2 -> 1,2,8\n")
    assert {path: path.stat().st_mtime_ns for path in (cache / "engines").rglob("*")} == before
    assert run(["build-engine", "--list"]) == 0
    text = capsys.readouterr().out
    for word in ("tiny", "TensorRT-RTX", "fp16", "8.9", "slices 2", "no"):
        assert word in text


@rtx.needs_rtx
def test_ctrl_c_leaves_nothing(tiny_bundle, tmp_path):
    command, place = [*COMMAND, str(tiny_bundle), "--gpu", "rtx40"], rtx.environment(tmp_path)
    process = subprocess.Popen(command, env=place, cwd=rtx.ROOT, stderr=subprocess.PIPE, text=True)
    while "building tiny" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode not in (0, 4)
    assert [path for path in (tmp_path / "engines").iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "no model given"),
        (["demo", "--slices", "1,2"], 2, "--slices is '1,2'; give one number"),
        (["demo", "--slices", "4,2,8", "--gpu", "rtx40"], 2, "--slices is 4,2,8; give one"),
        (["demo", "--samples", "0", "--gpu", "rtx40"], 2, "--samples is 0; give one"),
        (["demo", "--size", "30x32", "--gpu", "rtx40"], 2, "--size is 30x32: this model"),
        (["demo", "--size", "32"], 2, "--size is '32'"),
        (
            ["demo", "--compatible", "all"],
            2,
            "Invalid value for '--compatible': 'all' is not one of",
        ),
        (["demo", "--workspace", "-1"], 2, "--workspace is -1"),
        (["demo", "--gpu", "rtx20"], 2, "--gpu is 'rtx20'"),
        (
            ["demo", "--engine", "fast", "--gpu", "rtx40"],
            2,
            "Invalid value for '--engine': 'fast' is not",
        ),
        (["absent"], 3, "no model 'absent'"),
        (["demo"], 4, "no driver here; --gpu rtx40"),
        (["demo", "--gpu", "rtx40"], 4, "TensorRT-RTX is not installed; pip install"),
    ],
)
def test_errors_are_one_line_with_the_exit_code(options, code, message, capsys, monkeypatch):
    monkeypatch.setattr("petrt.hardware.gpus.list_gpus", list)
    monkeypatch.setattr("petrt.hardware.gpus.why_none", lambda: "no driver here")
    monkeypatch.setattr("petrt.engines.tensorrt.engine.is_installed", lambda kind: False)
    assert run(["build-engine", *options]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"petrt: error: {message}")


def test_the_list_names_what_is_broken(tmp_path, monkeypatch, capsys):
    from tests.engines.store.records import put

    monkeypatch.setenv("PETRT_CACHE", str(tmp_path))
    entry = put()
    (entry.folder / "engine.json").write_text(json.dumps({}))
    assert run(["build-engine", "--list"]) == 0
    captured = capsys.readouterr()
    assert "cannot be used: engine.json is not the record of an engine" in captured.err
