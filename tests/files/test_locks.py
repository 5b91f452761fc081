"""A lock is waited for as long as its caller says, and no longer."""

from __future__ import annotations

import errno
import os
import time

import pytest

from petrt.files.locks import LockHeld, locked
from tests.locks import held


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_a_lock_that_is_never_given_back_is_given_up(tmp_path, seconds):
    with held(tmp_path / "lock"):
        began = time.monotonic()
        with pytest.raises(LockHeld), locked(tmp_path / "lock", seconds=seconds):
            pytest.fail("entered")
        assert seconds <= time.monotonic() - began < 20
    with locked(tmp_path / "lock", seconds=0.0):  # and is free again afterwards
        pass


def test_who_waits_without_end_says_so_again_and_again(tmp_path):
    told: list[float] = []

    def say(waited: float) -> None:
        told.append(waited)
        if len(told) == 3:
            raise KeyboardInterrupt

    def wait() -> None:
        with locked(tmp_path / "lock", seconds=None, waiting=say, every=0.1):
            pytest.fail("entered")

    with held(tmp_path / "lock"), pytest.raises(KeyboardInterrupt):
        wait()
    assert told == sorted(told)
    assert told[0] < 0.1 <= told[1]


def test_a_free_lock_is_taken_without_a_word(tmp_path):
    lock = tmp_path / "lock"
    with (
        locked(lock, seconds=None, waiting=lambda _: pytest.fail("told")),
        pytest.raises(LockHeld),
        locked(lock, seconds=0.0),
    ):
        pytest.fail("entered")


def test_a_file_system_without_locks_is_no_reason_to_wait(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises((OSError, LockHeld)), locked(tmp_path / "lock", seconds=0.1):
        pytest.fail("entered")
