"""What a killed process leaves behind goes with the next run; what is in use, young or not ours stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from petrt.files import stale
from petrt.files.atomic import atomic_write_bytes, together
from petrt.files.folder import atomic_folder
from petrt.files.stale import Hold, scratch_path, sweep

pytestmark = pytest.mark.skipif(not stale.BOOT.exists(), reason="needs Linux")

DIES = """
import os, signal, sys
from pathlib import Path
from petrt.files import atomic, folder
here, moment = Path(sys.argv[1]), sys.argv[2]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if moment == "between two names":
    rename = Path.rename
    Path.rename = lambda self, to: die() if self.name == "new" else rename(self, to)
with atomic.together():
    atomic.atomic_write_bytes(here / "image", b"new", overwrite=True)
    with folder.atomic_folder(here / "series", replaces="mark") as new:
        (new / "mark").write_text("new")
        if moment == "while it writes":
            die()
"""

HOLDS = """
import sys, time
from pathlib import Path
from petrt.files.stale import Hold
hold = Hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def old_enough(monkeypatch):
    """Files need not be a minute old, and every folder is looked at again."""
    monkeypatch.setattr(stale, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(stale, "_swept", set())


@pytest.mark.parametrize("moment", ["while it writes", "between two names"])
def test_the_rest_of_a_killed_process_goes_and_the_old_outputs_are_there(tmp_path, moment):
    atomic_write_bytes(tmp_path / "image", b"old")
    with atomic_folder(tmp_path / "series") as new:
        (new / "mark").write_text("old")
    died = subprocess.run([sys.executable, "-c", DIES, str(tmp_path), moment], check=False)
    assert died.returncode == -signal.SIGKILL
    left = [name for name in os.listdir(tmp_path) if name.startswith(".petrt-")]
    assert len(left) == 2  # one of the image, one of the series
    assert (tmp_path / "series").exists() == (moment == "while it writes")
    stale._swept.clear()
    atomic_write_bytes(tmp_path / "other", b"")  # any output of the next run
    assert sorted(os.listdir(tmp_path)) == ["image", "other", "series"]
    assert (tmp_path / "series" / "mark").read_text() == "old"
    assert (tmp_path / "image").read_bytes() in (b"old", b"new")


def test_what_is_being_written_stays(tmp_path):
    with together():
        with atomic_folder(tmp_path / "series") as new:
            (new / "file").write_text("content")
            sweep(tmp_path)
        atomic_write_bytes(tmp_path / "image", b"content")
        stale._swept.clear()
        sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["image", "series"]


def test_a_lock_counts_across_processes_and_ends_with_its_process(tmp_path):
    path = scratch_path(tmp_path, ".tmp")
    path.touch()
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        sweep(tmp_path)
        assert path.exists()
        holder.kill()
    stale._swept.clear()
    sweep(tmp_path)
    assert not path.exists()


def test_a_hold_that_is_released_twice_closes_one_descriptor(tmp_path):
    path = tmp_path / "file"
    path.touch()
    hold = Hold(path)
    hold.release()
    with open(path) as other:
        hold.release()
        assert other.read() == ""


def test_young_ones_other_systems_and_other_names_stay(tmp_path, monkeypatch):
    before = ["x.tmp", ".petrt-00000000-0123456789abcdef.tmp", f".petrt-{stale._mark()}-notes.tmp"]
    for name in before:
        (tmp_path / name).touch()
    link = scratch_path(tmp_path)
    link.symlink_to(tmp_path / "x.tmp")
    sweep(tmp_path)
    young = scratch_path(tmp_path, ".tmp")
    young.touch()
    monkeypatch.setattr(stale, "FRESH_SECONDS", 60.0)
    stale._swept.clear()
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, link.name, young.name])


def test_a_folder_that_is_absent_or_may_not_be_read_is_no_error(tmp_path):
    sweep(tmp_path / "absent")
    (tmp_path / "file").touch()
    sweep(tmp_path / "file")


def test_each_folder_is_looked_at_once(tmp_path, monkeypatch):
    looked: list[Path] = []
    monkeypatch.setattr(stale.os, "listdir", lambda path: looked.append(path) or [])
    for name in "abc":
        atomic_write_bytes(tmp_path / name, b"")
    assert looked == [tmp_path]
