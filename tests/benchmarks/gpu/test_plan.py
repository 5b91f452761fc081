"""What the stages of a GPU run consist of, and how their results become one."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path

import pytest

from benchmarks.gpu import plan, stages
from benchmarks.latency import gpu_sections
from benchmarks.latency import run as latency

STAGES = [1, 2]


def planned(stage: int, folder: Path, **options):
    minutes = options.pop("minutes", plan.MINUTES[stage])
    run = plan.Run(stage, minutes, time.time() + 60 * minutes, folder, **options)
    return {step.name: step for step in plan.plan(run)}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_steps_name_each_other_rightly_and_their_files_exist(stage, dry_run, tmp_path):
    steps = planned(stage, tmp_path, dry_run=dry_run)
    before: set[str] = set()
    for name, step in steps.items():
        assert set(step.needs) <= before, name
        # A dry run has fewer variants; what is not there is not waited for.
        assert dry_run or set(step.after) <= before, name
        before.add(name)
        for part in step.command:
            if part.endswith(".py"):
                assert (plan.ROOT / part).exists(), part
            if part.startswith("benchmarks."):
                assert importlib.util.find_spec(part), part
        assert (step.stand_in is not None) == (dry_run and name != "packages"), name


def test_both_stages_together_measure_every_section_once(tmp_path):
    names = [*plan.SECTIONS[1], *plan.SECTIONS[2], *plan.CHECKED]
    assert sorted(names) == sorted(section.__name__ for section in gpu_sections.ON_GPU)
    assert set(names) == set(gpu_sections.LIMITS)
    assert plan.SECTIONS[1] == ("volume", "compiled", "eager", "outside", "peaks")


@pytest.mark.parametrize("stage", STAGES)
def test_what_takes_times_runs_alone_and_what_holds_it_up_is_ended_in_time(stage, tmp_path):
    steps = planned(stage, tmp_path)
    times = steps["times"]
    assert times.alone
    assert (
        times.latest + sum(gpu_sections.LIMITS[name] for name in plan.SECTIONS[stage]) / 2
        <= 60 * plan.MINUTES[stage]
    )  # limits are twice what is expected
    assert not any(steps[name].alone for name in steps if name not in ("times", "counters"))
    # Kernel tests and compilation run before it, side by side.
    compiling = [step for name, step in steps.items() if name.startswith("compile-")]
    assert {step.pool for step in compiling} == {"compile"}
    assert list(steps).index("times") > max(list(steps).index(s.name) for s in compiling)


def test_more_minutes_are_more_patience(tmp_path):
    usual, long = planned(1, tmp_path), planned(1, tmp_path, minutes=14)
    assert long["times"].latest == 2 * usual["times"].latest
    assert long["kernels"].limit == 2 * usual["kernels"].limit
    assert "2" in long["times"].command[long["times"].command.index("--patience") + 1]


@pytest.mark.parametrize("stage", STAGES)
def test_every_process_that_compiles_or_measures_means_the_same_networks(stage, tmp_path):
    steps = planned(stage, tmp_path, dry_run=True)
    seen = set()
    for step in steps.values():
        command = list(step.command)
        if command[2] in ("benchmarks.latency", "benchmarks.latency.compile_networks"):
            begin = command.index("--bundles")
            options = latency.parse(command[begin : begin + 3])
            assert not {"--preset", "--slices", "--precision", "--small"} & set(command)
            seen.add((str(options.bundles), options.dry_run))
    assert len(seen) == 1


def test_so_many_networks_are_compiled_at_once_as_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr(plan.os, "sched_getaffinity", lambda pid: range(16))
    assert plan.compiling(80.0) == 8
    assert plan.compiling(24.0) == 2
    assert plan.compiling(8.0) == 1
    assert plan.compiling(None) == 8
    monkeypatch.setattr(plan.os, "sched_getaffinity", lambda pid: range(1))
    assert plan.compiling(80.0) == 1


def test_a_gpu_for_one_process_at_a_time_gets_one_at_a_time(tmp_path):
    steps = planned(2, tmp_path, exclusive=True)
    assert {step.pool for step in steps.values()} == {"gpu"}


def test_configurations_chosen_beside_other_work_are_forgotten_before_times(tmp_path, monkeypatch):
    steps = planned(1, tmp_path)
    assert "--tune-again" in steps["times"].command
    assert "--tune-again" not in planned(2, tmp_path)["agreement"].command
    folder = tmp_path / "inductor" / "ab"
    folder.mkdir(parents=True)
    (folder / "x.best_config").touch()
    (folder / "x.py").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    latency.forget_tuning()
    assert [path.name for path in folder.iterdir()] == ["x.py"]


def test_work_is_left_while_a_section_has_neither_result_nor_reason(tmp_path):
    out = tmp_path / "times.json"
    left = plan.undecided(out, ("volume", "compiled", "peaks"))
    assert not left()  # it never began: another attempt would end the same way
    found = {"volume": {}, "failed": {}, "skipped": {}, "running": "compiled"}
    out.write_text(json.dumps(found))
    assert left()
    out.write_text(json.dumps(found | {"skipped": {"peaks": "no time was left"}}))
    assert not left()  # the one it ended in is not tried again
    out.write_text("{")
    assert not left()


def test_sanitizers_look_at_the_kernels_and_change_no_setting(tmp_path):
    steps = planned(2, tmp_path)
    for tool in ("memcheck", "racecheck"):
        command = list(steps[tool].command)
        assert command[:3] == ["compute-sanitizer", "--tool", tool]
        assert steps[tool].environment["PETRT_REQUIRE_GPU"] == "1"
    scripts = [plan.ROOT / "benchmarks" / "gpu.sh", *(plan.ROOT / "benchmarks").glob("*/*.py")]
    text = "".join(path.read_text() for path in scripts)
    assert "--clock-control" in text
    for forbidden in ("--lock-gpu-clocks", "-lgc", "--gpu-reset", "--power-limit", "-mig "):
        assert forbidden not in text


def test_counters_come_last_where_there_is_a_tool_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "counters" not in planned(2, tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    steps = planned(2, tmp_path)
    assert list(steps)[-1] == "counters"
    assert steps["counters"].alone
    assert "counters" not in planned(2, tmp_path, dry_run=True)


def part(**found):
    return {
        "failed": {},
        "skipped": {},
        "subject": {"networks": "paper"},
        "dry_run": False,
        **found,
    }


def test_stages_become_one_result(tmp_path, capsys):
    subject = latency.subject_of(latency.parse(["--small"]))
    about = {"subject": subject, "gpu": None, "machine": {"cpu": "a CPU"}}
    step = {
        "step": "times",
        "state": "failed",
        "seconds": 60.0,
        "begun_s": 5.0,
        "exit": 1,
        "attempts": 2,
        "tests": "12 passed, 3 skipped",
    }
    record = {"stage": 1, "minutes": 7, "seconds": 300, "steps": [step]}
    first = part(eager={"times_faster": 60.0}, stages=[record], failed={"ams": "too long"}, **about)
    second = part(ams={"ratio": 5.0}, skipped={"peaks": "no time was left"}, **about)
    paths = [tmp_path / "gpu_x_1.json", tmp_path / "gpu_x_2.json"]
    for path, content in zip(paths, (first, second), strict=True):
        path.write_text(json.dumps(content))
    out = tmp_path / "gpu_x.json"
    assert stages.main([*map(str, paths), "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["failed"] == {}  # one stage has it
    assert result["skipped"] == {"peaks": "no time was left"}
    verdicts = {row["what"]: row["verdict"] for row in result["rows"]}
    assert verdicts["AMS-8 over one sample"] == "met"
    assert verdicts["against the unfolded eager loop, batch 1"] == "met"
    said = capsys.readouterr().out
    assert "12 passed, 3 skipped" in said
    assert "AMS-8" in said


def test_a_section_that_no_process_came_to_says_so():
    merged = stages.with_reasons(
        stages.merge([part(eager={}, failed={"ams": "x"})]), ["eager", "ams", "peaks"]
    )
    assert merged["skipped"] == {"peaks": "its step ended before it"}
    rows = {
        row["what"]: row["verdict"]
        for row in stages.with_rows(merged | {"eager": {"times_faster": 1.0}})["rows"]
    }
    assert rows["AMS-8 over one sample"] == "not measured: x"


def test_a_section_in_which_its_process_ended_has_failed():
    merged = stages.merge([part(running="volume")])
    assert merged["failed"] == {"volume": "the process ended in it"}
