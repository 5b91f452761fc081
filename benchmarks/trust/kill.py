"""SIGKILL at random moments and at random steps of writing: what is left, and what the next run does.

Half of the runs are killed after a random time. The others kill themselves at a random one of the calls of
the file system that concern an output, counted before: there a kill that is early or late by a microsecond
would see two states. Old outputs are there beforehand, except in the cohort, which goes on where it was.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.trust import jobs
from benchmarks.trust.jobs import JOBS, Job
from petrt.files import stale

# Calls of the file system that Python reports (sys.addaudithook).
EVENTS = {"open", "os.link", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod"}


def section(kills: int = 100, seed: int = 0) -> dict[str, Any]:
    """Counts for each job, and the sum of what must not be."""
    rng = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(stale, "FRESH_SECONDS", -1.0),  # the rest need not be a minute old
    ):
        root = Path(name)
        (root / "first").mkdir()
        jobs.load_all(root / "first")
        shares = [kills // len(JOBS) + (index < kills % len(JOBS)) for index in range(len(JOBS))]
        found = {
            job.name: _Trials(root / f"job{index}", job).run(share, rng)
            for index, (job, share) in enumerate(zip(JOBS, shares, strict=True))
        }
    bad = ("half_written", "inputs_changed", "next_run_failed", "left_after_next_run")
    return {
        "kills": sum(each["killed"] for each in found.values()),
        "seed": seed,
        "jobs": found,
        "faults": {name: sum(each[name] for each in found.values()) for name in bad},
        "met": not any(each[name] for each in found.values() for name in bad),
    }


class _Trials:
    """The runs of one job. ``ready`` holds its inputs and old outputs, and is copied for each run."""

    def __init__(self, root: Path, job: Job) -> None:
        self.root, self.job, self.ready = root, job, root / "ready"
        self.ready.mkdir(parents=True)
        jobs.write_inputs(self.ready)
        if job.again == "overwrite":
            jobs.seconds_of(self.ready, job.command("--seed", jobs.OLD_SEED))
        self.inputs = jobs.tree(self.ready, job.inputs)
        self.old = self._stamps(self.ready)
        self.seconds = statistics.median(self._whole()[0] for _ in range(3))
        self.new = self._whole()[1]
        self.calls = self._count()

    def run(self, kills: int, rng: random.Random) -> dict[str, Any]:
        counts: Counter[str] = Counter()
        while counts["killed"] < kills:
            folder = self._copy()
            if counts["killed"] % 2:
                code = self._at_call(folder, rng.randint(1, self.calls))
            else:
                code = self._after(folder, rng.uniform(0, self.seconds))
            if code == 0:  # it was quicker this time, and is no kill
                counts["ended before the kill"] += 1
            elif code == -signal.SIGKILL:
                counts["killed"] += 1
                self._judge(folder, counts)
            else:
                raise RuntimeError(f"exit code {code}: {jobs.errors(folder)}")
            shutil.rmtree(folder)
        names = ("killed", "half_written", "inputs_changed", "next_run_failed")
        names += ("left_after_next_run", "left_by_the_kill", "none_new", "some_new", "all_new")
        names += ("old_not_there_until_the_next_run", "rows_without_numbers")
        return {
            "seconds": round(self.seconds, 3),
            "calls_of_the_file_system": self.calls,
            **{name: counts[name] for name in names},
        }

    def _judge(self, folder: Path, counts: Counter[str]) -> None:
        """What the kill left, and the next run."""
        counts["left_by_the_kill"] += bool(jobs.rest(folder))
        found = self._stamps(folder)
        new = [name for name in found if found[name] != self.old[name]]
        counts["none_new" if not new else "all_new" if found == self.new else "some_new"] += 1
        for name in new:
            if found[name] is None:  # between the two names of a folder: the next run gives it back
                counts["old_not_there_until_the_next_run"] += 1
            elif not self._whole_output(name, found[name]):
                counts["half_written"] += 1
        counts["inputs_changed"] += self._changed(folder)
        code = jobs.run_to_end(folder, self.job.command())
        counts["next_run_failed"] += code != 0 or self._stamps(folder) != self.new
        counts["left_after_next_run"] += bool(jobs.rest(folder))
        counts["rows_without_numbers"] += self._without_numbers(folder)
        counts["inputs_changed"] += self._changed(folder)

    def _whole_output(self, name: str, found: jobs.Stamp | None) -> bool:
        """A table may hold the rows of the cases that are done; anything else is as it is in the end."""
        new = self.new[name]
        if name.endswith(".tsv") and found is not None and new is not None:
            done = {row for row in found if " done " in row}
            return done <= {*new} and len(found) <= len(new)
        return found == new

    def _without_numbers(self, folder: Path) -> int:
        """Rows of cases whose image was whole already, and known by its key, but had no row yet."""
        tables = [folder / name for name in self.job.outputs if name.endswith(".tsv")]
        return sum(path.read_text().count("\tdone\t0\tn/a\t") for path in tables)

    def _changed(self, folder: Path) -> bool:
        before = {name.replace(str(self.ready), ""): value for name, value in self.inputs.items()}
        after = jobs.tree(folder, self.job.inputs)
        return before != {name.replace(str(folder), ""): value for name, value in after.items()}

    def _stamps(self, folder: Path) -> dict[str, jobs.Stamp | None]:
        found: dict[str, jobs.Stamp | None] = {}
        for name in self.job.outputs:
            try:
                found[name] = jobs.stamp(folder / name)
            except Exception as error:
                found[name] = ("damaged", type(error).__name__)
        return found

    def _copy(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="run", dir=self.root))
        shutil.copytree(self.ready, folder, dirs_exist_ok=True)
        return folder

    def _whole(self) -> tuple[float, dict[str, jobs.Stamp | None]]:
        """Seconds and outputs of a run that nothing disturbs."""
        folder = self._copy()
        seconds, found = jobs.seconds_of(folder, self.job.command()), self._stamps(folder)
        shutil.rmtree(folder)
        return seconds, found

    def _after(self, folder: Path, seconds: float) -> int:
        child = jobs.start(folder, self.job.command())
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        return jobs.ended(child)

    def _at_call(self, folder: Path, number: int) -> int:
        def count(seen: int) -> None:
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        return jobs.run_to_end(folder, self.job.command(), lambda: on_calls(folder, count))

    def _count(self) -> int:
        """The calls of one run."""
        folder = self._copy()
        tally = folder.parent / "calls"

        def count(seen: int) -> None:
            tally.write_text(str(seen))

        jobs.run_to_end(folder, self.job.command(), lambda: on_calls(folder, count))
        shutil.rmtree(folder)
        return int(tally.read_text())


def on_calls(folder: Path, seen: Callable[[int], None]) -> None:
    """Before each call of this process that writes in ``folder``, call ``seen`` with its number."""
    number = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal number
        if event not in EVENTS or (event == "open" and not _writes(arguments)):
            return
        named = [each for each in arguments[: 2 - (event == "open")] if _is_path(each)]
        if any(os.path.join(folder, os.fspath(each)).startswith(f"{folder}/") for each in named):
            number += 1
            seen(number)

    sys.addaudithook(hook)


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
