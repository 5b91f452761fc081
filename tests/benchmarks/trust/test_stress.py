"""Short forms of the stress in benchmarks/trust, as the command runs it; judges that notice faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import ROOT
from benchmarks.trust import disk, jobs, kill, memory
from benchmarks.trust.jobs import COHORT, NIFTI, SERIES

linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")


def trust(tmp_path: Path, section: str, *options: object) -> dict[str, Any]:
    """A section's result. It forks, so it runs in a process of its own."""
    out = tmp_path / "trust.json"
    command = [sys.executable, "-m", "benchmarks.trust", section, *map(str, options)]
    done = subprocess.run(
        [*command, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(out.read_text())[section]
    assert (done.returncode == 0) == found["met"], done.stderr
    return found


@linux
@pytest.mark.slow
def test_kills(tmp_path):
    found = trust(tmp_path, "kill", "--kills", 12)
    assert found["met"], found
    assert found["kills"] == 12
    assert sum(found["faults"].values()) == 0
    for job in found["jobs"].values():
        assert job["none_new"] + job["some_new"] + job["all_new"] == job["killed"] == 4


@linux
@pytest.mark.slow
def test_a_small_disk(tmp_path):
    found = trust(tmp_path, "disk")
    assert found["met"], [row for row in found["rows"] if not row["met"]]
    codes = {row["job"]: row["exit_code"] for row in found["rows"]}
    assert (codes[NIFTI.name], codes[SERIES.name], codes[COHORT.name]) == (2, 2, 5)
    assert found["runs"] == 10 + 12 * found["tmpfs"]


@linux
@pytest.mark.slow
def test_a_cold_cache(tmp_path):
    pytest.importorskip("openvino")
    found = trust(tmp_path, "cache", "--processes", 3)
    assert found["met"], found
    assert found["different_outputs"] == 1


@linux
@pytest.mark.slow  # the allocator's own caches grow over the first 200 volumes
def test_memory(tmp_path):
    found = trust(tmp_path, "memory", "--volumes", 500)
    assert found["met"], found
    assert found["volumes"] == found["resident_MiB"][-1][0] == 500


def test_a_leak_is_noticed():
    flat = [(count, 200 + 0.001 * count) for count in range(25, 1001, 25)]
    leaks = [(count, 200 + 0.05 * count) for count in range(25, 1001, 25)]
    late = [(count, 100 + min(count, 400) / 4) for count in range(25, 1001, 25)]  # flat in the end
    assert memory.judged(flat)["met"]
    assert memory.judged(late)["met"]
    found = memory.judged(leaks)
    assert not found["met"]
    assert found["slope_KiB_per_volume"] == pytest.approx(0.05 * 1024, abs=0.01)


class _Trials(kill._Trials):
    """Of a folder whose outputs are what a test makes them."""

    def __init__(self, folder: Path) -> None:
        self.root = self.ready = folder
        self.job = NIFTI
        jobs.write_volume(folder / "low.nii.gz", (8, 8, 2))
        self.inputs = jobs.tree(folder, NIFTI.inputs)
        for name, factor in (("out.nii.gz", 1.0), ("std.nii.gz", 2.0)):
            jobs.write_volume(folder / name, (8, 8, 2), factor)
        (folder / "run.json").write_text('{"seed": 7}')
        self.old = self._stamps(folder)
        self.new = {**self.old, "run.json": ("0",)}


def counted(trials: _Trials, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> Counter[str]:
    """What is counted of the folder as it is; the next run ends with ``code`` and does nothing."""
    monkeypatch.setattr(jobs, "run_to_end", lambda *_: code)
    counts: Counter[str] = Counter()
    trials._judge(trials.root, counts)
    return +counts


def test_half_an_output_and_a_changed_input_are_noticed(tmp_path, monkeypatch):
    trials = _Trials(tmp_path)
    assert counted(trials, monkeypatch) == {"none_new": 1, "next_run_failed": 1}
    (tmp_path / "run.json").write_text('{"seed": 0}')
    assert counted(trials, monkeypatch) == {"all_new": 1}
    assert counted(trials, monkeypatch, code=2) == {"all_new": 1, "next_run_failed": 1}
    (tmp_path / "run.json").write_text('{"seed"')
    assert counted(trials, monkeypatch)["half_written"] == 1
    (tmp_path / "run.json").write_text('{"seed": 0}')
    whole = (tmp_path / "out.nii.gz").read_bytes()
    (tmp_path / "out.nii.gz").write_bytes(whole[:-20])
    assert counted(trials, monkeypatch)["half_written"] == 1
    (tmp_path / "out.nii.gz").write_bytes(whole)
    (tmp_path / ".petrt-0-1.tmp").touch()
    found = counted(trials, monkeypatch)
    assert (found["left_by_the_kill"], found["left_after_next_run"]) == (1, 1)
    with (tmp_path / "low.nii.gz").open("ab") as low:
        low.write(b"x")
    assert counted(trials, monkeypatch)["inputs_changed"] == 2


def test_a_series_that_is_not_whole_has_no_stamp(tmp_path):
    from tests.io.dicom.clinical import clinical

    first = clinical(tmp_path / "series")[0]
    assert len(jobs.stamp(tmp_path / "series") or ()) == 6
    first.write_bytes(first.read_bytes()[:-100])
    with pytest.raises(Exception, match=r".+"):
        jobs.stamp(tmp_path / "series")
    assert jobs.stamp(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("change", "met"),
    [
        ({}, True),
        ({"exit_code": 0}, False),
        ({"exit_code": 1}, False),
        ({"lines": 0}, False),
        ({"lines": 2}, False),
        ({"inputs_untouched": False}, False),
        ({"nothing_left": False}, False),
        ({"next_run_succeeds": False}, False),
    ],
)
def test_what_a_small_disk_may_do(change, met):
    trial = disk._Trial.__new__(disk._Trial)
    trial.job = NIFTI
    good = {"exit_code": 2, "lines": 1, "old_outputs_as_before": True, "inputs_untouched": True}
    good |= {"nothing_left": True, "next_run_succeeds": True}
    assert trial._row("here", good | change)["met"] == met
