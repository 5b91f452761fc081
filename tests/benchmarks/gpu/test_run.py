"""A stage under way: what it leaves, and when."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import plan as gpu_plan
from benchmarks.gpu import run as gpu_run
from benchmarks.gpu.steps import Step

# Writes a section as latency.py does and goes on until the stage has taken it over, or gives up.
MEASURES = """
import json, pathlib, sys, time
results, out = map(pathlib.Path, sys.argv[1:])
about = {"failed": {}, "skipped": {}, "running": "peaks", "subject": None, "dry_run": False}
(results / "times.json").write_text(json.dumps({"eager": {"times_faster": 60.0}, **about}))
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    if out.exists() and json.loads(out.read_text()).get("eager"):
        sys.exit(0)
    time.sleep(0.05)
sys.exit(1)
"""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a stage of the given steps; exit code and the results' folder."""
    monkeypatch.chdir(tmp_path)

    def run(make, *options: str) -> tuple[int, Path]:
        monkeypatch.setattr(gpu_plan, "plan", make)
        out = tmp_path / "out"
        places = ["--work", str(tmp_path / "work"), "--out", str(out)]
        arguments = ["--dry-run", "--name", "x", *places, *(options or ("--stage", "1"))]
        return gpu_run.main(arguments), out

    return run


def test_a_section_is_saved_while_its_step_still_runs(stage, tmp_path):
    def plan(run):
        arguments = [str(run.results), str(tmp_path / "out" / "gpu_x_1.json")]
        return [Step("times", [sys.executable, "-c", MEASURES, *arguments], 30)]

    code, out = stage(plan)
    assert code == 0
    result = json.loads((out / "gpu_x.json").read_text())
    assert result["eager"] == {"times_faster": 60.0}
    assert result["failed"] == {"peaks": "the process ended in it"}
    assert result["skipped"]["volume"] == "its step ended before it"


def test_the_second_stage_adds_to_the_first_also_from_the_working_folder(stage, tmp_path):
    def write(name: str, found: dict):
        content = {"failed": {}, "skipped": {}, "dry_run": False, **found}
        return f"import sys; open(sys.argv[1] + '/{name}.json', 'w').write({json.dumps(content)!r})"

    def plan(found: dict):
        return lambda run: [
            Step("times", [sys.executable, "-c", write("times", found), str(run.results)], 20)
        ]

    stage(plan({"eager": {"times_faster": 60.0}}), "--stage", "1")
    for path in (tmp_path / "out").iterdir():
        path.unlink()  # taken away after the first stage
    code, out = stage(plan({"ams": {"ratio": 5.0}}), "--stage", "2")
    assert code == 0
    result = json.loads((out / "gpu_x.json").read_text())
    assert (result["eager"], result["ams"]) == ({"times_faster": 60.0}, {"ratio": 5.0})
    assert [each["stage"] for each in result["stages"]] == [1, 2]
    only_second = json.loads((out / "gpu_x_2.json").read_text())
    assert "eager" not in only_second
    assert "steps" not in result


def test_a_step_that_fails_makes_the_stage_fail_and_its_log_is_kept(stage):
    def plan(run):
        return [Step("bad", [sys.executable, "-c", "print('it broke'); raise SystemExit(4)"], 20)]

    code, out = stage(plan)
    assert code == 1
    assert "it broke" in (out / "gpu_x_1.log").read_text()
    assert "bad" in (out / "gpu_x.txt").read_text()


def test_a_log_is_cut_from_its_beginning(stage, monkeypatch):
    monkeypatch.setattr(gpu_run, "LOG_BYTES", 40)

    def plan(run):
        return [Step("loud", [sys.executable, "-c", "print('x' * 5000 + ' the end')"], 20)]

    _, out = stage(plan)
    log = (out / "gpu_x_1.log").read_text()
    assert "the end" in log
    assert len(log) < 200


def test_without_a_gpu_there_is_no_run(tmp_path, monkeypatch):
    from benchmarks.gpu import needs

    def none():
        sys.exit("no GPU: none in this test")

    monkeypatch.setattr(needs, "first_gpu", none)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="no GPU"):
        gpu_run.main(["--stage", "1", "--work", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


# latency.py on the stand-in, with a section that neither returns nor hears a signal.
HANGS = """
import functools, signal, sys, time
from benchmarks.latency import alarms
from benchmarks.latency import run as latency
def hangs(bench):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)
def fine(bench):
    return {"ratio": 5.0}
hangs.__name__, fine.__name__ = "volume", "ams"
latency.ON_GPU = (hangs, fine)
latency.LIMITS["volume"] = 0.5
latency.alarm = functools.partial(alarms.alarm, grace=0.5)
sys.exit(latency.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_section_that_hangs_costs_itself_and_a_new_process_goes_on(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", gpu_plan._path(gpu_plan.ROOT))
    sections = ("volume", "ams")

    def plan(run):
        out = run.results / "times.json"
        options = ["--dry-run", "--patience", "1", "--bundles", str(tmp_path), "--out", str(out)]
        return [
            Step(
                "times",
                [sys.executable, "-c", HANGS, *options],
                120,
                again=["--resume"],
                unfinished=gpu_plan.undecided(out, sections),
            )
        ]

    code, out = stage(plan)
    assert code == 1  # a section failed
    result = json.loads((out / "gpu_x_1.json").read_text())
    assert result["failed"] == {"volume": "the process ended in it; see the log"}
    assert result["ams"] == {"ratio": 5.0}
    assert result["stages"][0]["steps"][0]["attempts"] == 2
    log = (out / "gpu_x_1.log").read_text()
    assert "in hangs" in log  # where it stood
