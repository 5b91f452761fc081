"""Worker processes: started or refused in one line, and never waited for when they are gone."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing import synchronize
from pathlib import Path

import pytest

from petrt.errors import DeviceError, UsageError
from petrt.hardware import processes
from petrt.hardware.processes import Room, amount, in_workers, shared_memory, starting_workers


def square(number: int) -> int:
    return number * number


def refuse(_: int) -> None:
    raise UsageError("refused", "ask for less")


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_from_any_number_of_workers(workers):
    assert sorted(in_workers(square, [(3,), (4,), (5,)], workers)) == [9, 16, 25]
    with pytest.raises(UsageError, match="refused"):
        list(in_workers(refuse, [(1,), (2,)], workers))
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_is_not_waited_for():
    with pytest.raises(DeviceError, match=r"worker process was killed.*fewer --workers"):
        list(in_workers(die, [(1,), (2,)], 2))


def without_semaphores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a /dev/shm that is read-only."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(synchronize.SemLock, "__init__", fail)
    monkeypatch.setattr(processes, "shared_memory", lambda: Room(0, 64 << 20))


def test_no_place_for_semaphores_is_one_line(monkeypatch):
    without_semaphores(monkeypatch)
    words = r"cannot be started: Read-only file system .*/dev/shm, which has 0 bytes of 64 MiB free"
    with pytest.raises(DeviceError, match=f"{words}.*--workers 1") as caught:
        list(in_workers(square, [(1,), (2,)], 2))
    assert caught.value.exit_code == 4
    assert list(in_workers(square, [(1,), (2,)], 1)) == [1, 4]


def test_a_process_that_cannot_be_started_ends_those_that_were(monkeypatch):
    started: list[int] = []
    popen = multiprocessing.get_context("spawn").Process._Popen

    def second_fails(process: object) -> object:
        if started:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(1)
        return popen(process)

    context = type(multiprocessing.get_context("spawn").Process())
    monkeypatch.setattr(context, "_Popen", staticmethod(second_fails))
    with pytest.raises(DeviceError, match=r"Resource temporarily unavailable.*--workers 1"):
        list(in_workers(square, [(1,), (2,)], 2))
    until = time.monotonic() + 60
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


ORPHANS = """
import os, sys, time
from petrt.hardware.processes import in_workers

def told(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    list(in_workers(told, [(path,) for path in sys.argv[1:]], 2))
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "orphans.py").write_text(ORPHANS)
    marks = [tmp_path / "a", tmp_path / "b"]
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "orphans.py"), *map(str, marks)]
    ) as parent:
        try:
            until = time.monotonic() + 60
            while not all(mark.exists() and mark.read_text() for mark in marks):
                assert time.monotonic() < until
                assert parent.poll() is None
                time.sleep(0.05)
        finally:
            parent.kill()
    workers = [int(mark.read_text()) for mark in marks]
    while any(map(alive, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_shared_memory_is_told_in_words(monkeypatch, tmp_path):
    assert str(Room(100 * 1024, 64 << 20)) == "100 KiB of 64 MiB free"
    assert [amount(n) for n in (12, 3 << 10, 5 << 30)] == ["12 bytes", "3 KiB", "5.0 GiB"]
    monkeypatch.setattr(processes, "SHARED", tmp_path)
    room = shared_memory()
    assert room is not None
    assert 0 <= room.free <= room.size
    monkeypatch.setattr(processes, "SHARED", tmp_path / "absent")
    assert shared_memory() is None


def test_other_errors_are_not_those_of_starting():
    with pytest.raises(ValueError, match="mine"), starting_workers("--workers 1"):
        raise ValueError("mine")
