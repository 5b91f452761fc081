"""petrt reconstruct and bids --ray on real clusters of this machine."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petrt.cli.app import run
from petrt.cli.ray_cluster import QUIET
from tests.helpers import contents, write_nifti
from tests.io.bids.data_set import make
from tests.models import noisy_blob

STORE = 80 << 20  # bytes; Ray takes no smaller one
WAIT = 60.0  # seconds until a test that hangs fails
CASES = "abc"


def children(of: int) -> dict[int, str]:
    """The processes below process ``of``, with their titles."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            titles[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
            parents[int(entry.name)] = int(status[1])
        except (OSError, ValueError, IndexError):
            continue

    def below(pid: int) -> bool:
        while pid in parents and pid != of:
            pid = parents[pid]
        return pid == of

    return {pid: title for pid, title in titles.items() if pid != of and below(pid)}


def busy(of: int) -> list[int]:
    """The workers that run a case."""
    return [pid for pid, title in children(of).items() if title.startswith("ray::CaseWorker.run")]


def until(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if it := found():
            return it
        time.sleep(0.05)
    return pytest.fail("nothing of the kind within a minute")


def apart_from_seconds(lines: list[str]) -> list[str]:
    """What the log says of cases, in any order."""
    own = ("petrt: engine: ", "petrt: Ray: ")
    kept = [line for line in lines if not line.startswith(own) and "is lost" not in line]
    return sorted(re.sub(r"[\d.]+ s, ", "", line) for line in kept)


def kill_in_a_case(of: int) -> bool:
    """Kill a worker that runs a case, if there is one; it is stopped first, so that it stays in it."""
    for pid in busy(of)[:1]:
        os.kill(pid, signal.SIGSTOP)
        sure = pid in busy(of)
        os.kill(pid, signal.SIGKILL if sure else signal.SIGCONT)
        return sure
    return False


pytestmark = pytest.mark.slow  # .ci/run runs this file


@pytest.fixture(params=["local", "machines"])
def cluster(request, monkeypatch) -> Iterator[str]:
    """The address of a cluster: petrt's own of this machine, or one of two machines with a CPU each."""
    for name, value in QUIET.items():  # Ray reads them when it is imported
        monkeypatch.setenv(name, value)
    pytest.importorskip("ray")
    if request.param == "local":
        monkeypatch.setattr("petrt.hardware.cpu.default_threads", lambda: 2)
        yield "local"
        return
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": STORE}
    both = Cluster(True, head_node_args={**machine, "include_dashboard": False})
    try:
        both.add_node(**machine)
        yield both.address
    finally:
        both.shutdown()


@pytest.fixture
def scans(tmp_path, monkeypatch) -> Path:
    (tmp_path / "in").mkdir()
    for index, name in enumerate(CASES):
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", noisy_blob((16, 20, 3)) + index)
    write_nifti(tmp_path / "in" / "e.nii", np.full((8, 8, 8), np.nan, np.float32))
    (tmp_path / "in" / "a.json").write_text('{"FrameDuration": [1, 2]}')  # it has one frame
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(model: Path, steps: int) -> list[str]:
    more = ["--threads", "1", "--samples", "2", "--std", "std", "--steps", str(steps)]
    return ["--model", str(model), "--allow-activity-change", *more]


def test_the_files_of_a_serial_run_though_a_worker_is_killed(cluster, scans, tiny_bundle, capfd):
    steps = 300
    assert run(["reconstruct", "in", "out", *options(tiny_bundle, steps)]) == 5
    expected = contents(scans)
    shutil.rmtree("out")
    shutil.rmtree("std")
    told = capfd.readouterr().err.splitlines()
    assert any("FrameDuration" in line for line in told)

    killer = threading.Thread(target=until, args=[lambda: kill_in_a_case(os.getpid())])
    killer.start()
    before = signal.getsignal(signal.SIGTERM)
    code = run(["reconstruct", "in", "out", *options(tiny_bundle, steps), "--ray", cluster])
    killer.join()
    printed = capfd.readouterr()
    lines = printed.err.splitlines()
    assert code == 5, lines
    assert printed.out == ""
    assert all(line.startswith("petrt: ") for line in lines), lines
    assert signal.getsignal(signal.SIGTERM) is before
    lost = [line for line in lines if "its worker is lost (its process died)" in line]
    assert len(lost) == 1, lines
    assert apart_from_seconds(lines) == apart_from_seconds(told)
    assert lines[-1] == "petrt: error: 1 of 4 cases failed, the others are done; see above"
    found = contents(scans)
    assert found.keys() == expected.keys()
    tables = {"out/cases.tsv", "out/cases.json"}  # the seconds differ
    assert [name for name in expected.keys() - tables if found[name] != expected[name]] == []
    rows = list(csv.DictReader(found["out/cases.tsv"].decode().splitlines(), dialect="excel-tab"))
    other_rows = csv.DictReader(
        expected["out/cases.tsv"].decode().splitlines(), dialect="excel-tab"
    )
    for row, other in zip(rows, other_rows, strict=True):
        assert {**row, "seconds": ""} == {**other, "seconds": ""}
    assert "--nonfinite" in rows[-1]["error"]  # hints name options, as on this machine
    assert [row["outcome"] for row in rows] == ["done"] * 3 + ["failed"]


def test_ctrl_c_ends_the_workers_and_the_next_run_goes_on(scans, tiny_bundle):
    """With --ray local, which starts and ends a cluster of its own."""
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "petrt", "reconstruct", "in", "out", "--ray", "local"]
    command += options(tiny_bundle, 1000)
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: busy(process.pid))
    below = list(children(process.pid))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 130, err
    assert out == ""
    assert all(line.startswith("petrt: ") for line in err.splitlines()), err
    until(lambda: not [pid for pid in below if Path(f"/proc/{pid}").exists()])
    assert not [name for name in contents(scans) if name.endswith(".tmp")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
    assert sorted(path.name for path in Path("std").iterdir()) == [
        f"{name}_std.nii.gz" for name in CASES
    ]


def test_a_bids_data_set_gives_the_files_of_a_serial_run(
    cluster, tmp_path, monkeypatch, tiny_bundle, capfd
):
    make(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    command = ["--model", str(tiny_bundle), "--allow-activity-change", "--threads", "1", "--std"]
    command += ["--samples", "2", "--steps", "1"]
    assert run(["bids", "raw", "one", "participant", *command]) == 0, capfd.readouterr().err
    again = ["bids", "raw", "two", "participant", *command, "--ray", cluster]
    assert run(again) == 0, capfd.readouterr().err
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    images = [name for name in one if name.endswith(".nii.gz")]
    assert len(images) > 2
    assert [name for name in images if one[name] != two[name]] == []
    capfd.readouterr()
    assert run(again) == 0  # all is done
    assert "are done already" in capfd.readouterr().err
