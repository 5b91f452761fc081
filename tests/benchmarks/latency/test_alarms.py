"""A section's limit: an exception first, then the end of a process that cannot be interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from benchmarks.latency import alarms


def test_what_takes_too_long_is_interrupted_even_where_all_errors_are_caught():
    def with_fallback() -> None:
        while True:
            try:
                time.sleep(0.05)
            except Exception:
                pytest.fail("a fallback took the alarm for an error of its own")

    begun = time.monotonic()
    with pytest.raises(alarms.TooLong, match="longer than 0 s"), alarms.alarm(0.2):
        with_fallback()
    assert time.monotonic() - begun < 2


def test_what_ends_in_time_hears_nothing_and_leaves_no_alarm():
    before = signal.getsignal(signal.SIGALRM)
    with alarms.alarm(0.2):
        pass
    time.sleep(0.3)
    assert signal.getsignal(signal.SIGALRM) is before
    with alarms.alarm(float("inf")):
        pass


def test_a_process_that_hears_no_signal_says_where_it_hangs_and_ends():
    code = """
import signal
from benchmarks.latency.alarms import alarm
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
def hangs():
    import time
    time.sleep(30)
with alarm(0.3, grace=0.3):
    hangs()
"""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 1
    assert "in hangs" in done.stderr
    assert time.monotonic() - begun < 10
