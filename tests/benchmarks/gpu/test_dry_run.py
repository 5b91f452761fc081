"""benchmarks/gpu.sh as a user runs it, without a GPU: both stages, each step for real or with a stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
FILES = {
    "gpu_dry_run_1.json",
    "gpu_dry_run_1.log",
    "gpu_dry_run_2.json",
    "gpu_dry_run_2.log",
    "gpu_dry_run.json",
    "gpu_dry_run.txt",
}


def environment(folder: Path, twin: Path | None = None) -> dict[str, str]:
    made = {
        **os.environ,
        "PYTHON": sys.executable,
        "OUT": str(folder / "out"),
        "WORK": str(folder / "work"),
        "OMP_NUM_THREADS": "1",
    }
    return made | ({"PETRT_TWIN": str(twin)} if twin else {})


@pytest.mark.slow
def test_a_whole_dry_run(tmp_path, cuda_twin, request):
    """One test, not many on a fixture: workers of pytest-xdist would each make the run again."""
    twin = request.config.cache.mkdir("cuda_twin")
    done = subprocess.run(
        ["bash", str(SCRIPT), "--dry-run"],
        env=environment(tmp_path, twin),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    said, out = done.stdout + done.stderr, tmp_path / "out"
    assert done.returncode == 0, said
    few_flat_files_came_out(out)
    assert (out / "gpu_dry_run.txt").read_text().strip() in said
    result = json.loads((out / "gpu_dry_run.json").read_text())
    every_step_ran_or_says_what_stood_in(result)
    every_section_has_numbers_and_no_bar_a_verdict(result)
    times_were_taken_with_nothing_beside(result)
    assert "===== times: ok =====" in (out / "gpu_dry_run_1.log").read_text()


def few_flat_files_came_out(out: Path) -> None:
    files = {path.name: path.stat().st_size for path in out.iterdir()}
    assert set(files) == FILES
    assert max(files.values()) < 16 << 20
    for name in files:
        if name.endswith(".json"):
            json.loads((out / name).read_text())


def every_step_ran_or_says_what_stood_in(result: dict) -> None:
    assert [stage["stage"] for stage in result["stages"]] == [1, 2]
    steps = [step for stage in result["stages"] for step in stage["steps"]]
    assert all(stage["dry_run"] for stage in result["stages"])
    for step in steps:
        assert step["state"] == "ok", step
        assert ("stand_in" in step) == (step["step"] != "packages")
    tests = {step["step"]: step.get("tests", "") for step in steps}
    for name in ("kernels", "engines-bf16", "memcheck", "racecheck"):
        assert "passed" in tests[name], name
        assert "failed" not in tests[name], name


def every_section_has_numbers_and_no_bar_a_verdict(result: dict) -> None:
    from benchmarks.latency import gpu_sections

    assert result["failed"] == result["skipped"] == {}
    for section in gpu_sections.ON_GPU:
        assert result[section.__name__], section.__name__
    assert {row["verdict"] for row in result["rows"]} == {"none: a dry run"}
    assert result["environment"]["gpu"]["name"] == "stand-in"
    compiled = result["compiled"]
    assert compiled["same_image_after"] is True
    assert {"before", "after", "pipeline", "volume"} <= set(compiled)


def times_were_taken_with_nothing_beside(result: dict) -> None:
    for stage in result["stages"]:
        steps = {step["step"]: step for step in stage["steps"]}
        begun = steps["times"]["begun_s"]
        for name, step in steps.items():
            if name != "times":
                assert step["begun_s"] + step["seconds"] <= begun + 0.3, name


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_a_result_and_no_process(tmp_path, cuda_twin):
    with subprocess.Popen(
        ["bash", str(SCRIPT), "--dry-run", "--stage", "1", "--name", "cut"],
        env=environment(tmp_path) | {"OUT": "out"},
        cwd=tmp_path,  # as the caller means it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:  # until something is under way that takes long
            if "networks begins" in line:
                break
        time.sleep(0.5)
        begun = time.monotonic()
        os.killpg(child.pid, signal.SIGTERM)
        said = child.stdout.read()
        assert child.wait(timeout=60) != 0
        assert time.monotonic() - begun < 30
    result = json.loads((tmp_path / "out" / "gpu_cut_1.json").read_text())
    steps = {step["step"]: step for step in result["stages"][0]["steps"]}
    assert steps["packages"]["state"] == steps["modules"]["state"] == "ok", said
    assert steps["networks"]["state"] == "ended"
    assert steps["times"]["state"] == "left out"
    assert (tmp_path / "out" / "gpu_cut.txt").exists()


def test_the_script_explains_itself_and_refuses_what_it_does_not_know():
    done = subprocess.run(
        ["bash", str(SCRIPT), "--help"], capture_output=True, text=True, check=True
    )
    assert "--wheels DIR" in done.stdout
    assert "--stage 2" in done.stdout
    assert "set -uo" not in done.stdout
    for bad in (["--nonsense"], ["--stage", "3"], ["--minutes", "soon"], ["--minutes", "0"]):
        again = subprocess.run(["bash", str(SCRIPT), *bad], capture_output=True, check=False)
        assert again.returncode == 2, bad
