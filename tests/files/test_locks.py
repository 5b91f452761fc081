"""A lock is waited for as long as its caller says, and no longer."""

from __future__ import annotations

import errno
import logging
import os
import time
from contextlib import contextmanager

import pytest

from petrt.errors import UsageError
from petrt.files import locks
from petrt.files.locks import OWNER, LockHeld, locked, owned
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


def test_a_folder_has_one_owner_at_a_time(tmp_path):
    with owned(tmp_path):
        with pytest.raises(UsageError, match="another process; wait"), owned(tmp_path):
            pytest.fail("entered")
        assert [path.name for path in tmp_path.iterdir()] == [OWNER]  # the refused one took nothing
    assert list(tmp_path.iterdir()) == []
    (tmp_path / OWNER).touch()  # left by a killed process
    with owned(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("next_one", [False, True])
def test_a_lock_that_its_owner_threw_away_meanwhile_is_not_owned(tmp_path, monkeypatch, next_one):
    """Its owner ends between this process's look at the file and its lock on it."""

    @contextmanager
    def late(path, **_):
        path.unlink()
        if next_one:
            (tmp_path / "new").touch()  # keeps the file system from giving the old number again
            path.touch()
        yield

    (tmp_path / OWNER).touch()
    monkeypatch.setattr(locks, "locked", late)
    with pytest.raises(UsageError, match="another process"), owned(tmp_path, tmp_path / "out"):
        pytest.fail("entered")
    assert (tmp_path / OWNER).exists() == next_one


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    @contextmanager
    def none(path, **_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        yield

    monkeypatch.setattr(logging.getLogger("petrt"), "propagate", True)
    monkeypatch.setattr(locks, "locked", none)
    with owned(tmp_path):
        pass
    assert "no locks on this file system" in caplog.text
    assert list(tmp_path.iterdir()) == []
