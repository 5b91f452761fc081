"""A disk that is too small, and files that may not grow: one line, the documented exit code, no half output.

Each of the jobs writes to a tmpfs of a share of what it needs, where one can be mounted (as root, or in a
namespace of the user's own), and under a limit of the size of a file (RLIMIT_FSIZE) everywhere. Old outputs
are there beforehand, except of the cohort. With room again, the next run must succeed.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.common import ROOT
from benchmarks.trust import jobs
from benchmarks.trust.jobs import JOBS, Job
from petrt.files import stale

SHARES = (0.05, 0.35, 0.65, 0.95)
SHAPE = (64, 64, 8)  # outputs of some hundred kilobytes
PAGE = 4096
# A single input ends with "usage: an output cannot be written", a cohort with "some cases failed".
CODES = {"overwrite": {2}, "resume": {2, 5}}
NAMESPACES = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])
FULL = "/dev/full"


def section() -> dict[str, Any]:
    """Runs itself where a file system may be mounted: see ``measure``."""
    command = [sys.executable, "-m", "benchmarks.trust.disk"]
    way = _mounting()
    done = subprocess.run(
        [*(way or []), *command, "limit" if way is None else "mount"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _mounting() -> list[str] | None:
    """What gives a namespace in which this user may mount; None if nothing does."""
    for way in NAMESPACES:
        with tempfile.TemporaryDirectory() as name:
            command = [*way, "mount", "-t", "tmpfs", "tmpfs", name]
            try:
                done = subprocess.run(command, capture_output=True, check=False)
            except OSError:
                return None
            if done.returncode == 0:
                return way
    return None


def measure(mounted: bool) -> dict[str, Any]:
    """Every job on every disk and limit, and what is written to /dev/full."""
    with tempfile.TemporaryDirectory() as name, mock.patch.object(stale, "FRESH_SECONDS", -1.0):
        root = Path(name)
        (root / "first").mkdir()
        jobs.load_all(root / "first")
        rows = []
        for index, job in enumerate(JOBS):
            trial = _Trial(root / f"job{index}", job)
            if mounted:
                rows += [trial.small(share) for share in SHARES]
            rows += [trial.limited(share) for share in SHARES[:2]]
        rows += to_full(root / "first")
    return {
        "tmpfs": mounted,
        "runs": len(rows),
        "rows": rows,
        "met": all(row["met"] for row in rows),
    }


class _Trial:
    """One job's inputs and old outputs, and the bytes that its new outputs take."""

    def __init__(self, root: Path, job: Job) -> None:
        self.root, self.job, self.folder = root, job, root / "run"
        self.folder.mkdir(parents=True)
        jobs.write_inputs(self.folder, SHAPE)
        if job.again == "overwrite":
            jobs.seconds_of(self.folder, job.command("--seed", jobs.OLD_SEED))
        sizes = self._sizes_of_outputs()
        self.need, self.largest = sum(-(-size // PAGE) * PAGE for size in sizes), max(sizes)
        self.old = {name: jobs.stamp(self.folder / name) for name in job.outputs}
        self.inputs = jobs.tree(self.folder, job.inputs)

    def _sizes_of_outputs(self) -> list[int]:
        """Bytes of each file that a run writes."""
        copy = self.root / "whole"
        shutil.copytree(self.folder, copy)
        jobs.seconds_of(copy, self.job.command())
        paths = [copy / name for name in self.job.outputs]
        files = [file for path in paths for file in ([path] if path.is_file() else path.iterdir())]
        sizes = [file.stat().st_size for file in files]
        shutil.rmtree(copy)
        return sizes

    def small(self, share: float) -> dict[str, Any]:
        """On a disk that has room for ``share`` of the new outputs beside what is there."""
        disk = self.root / "disk"
        disk.mkdir(exist_ok=True)
        _mount(disk)
        try:
            shutil.copytree(self.folder, disk / "run")
            used = shutil.disk_usage(disk).used
            _mount(disk, used + max(PAGE, int(share * self.need)))
            found = self._judged(disk / "run", None)
            _mount(disk, used + 8 * self.need + (1 << 20))
            found["next_run_succeeds"] = jobs.run_to_end(disk / "run", self.job.command()) == 0
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        return self._row(f"disk with room for {share:.0%} of the outputs", found)

    def limited(self, share: float) -> dict[str, Any]:
        """No file may be larger than ``share`` of the largest output."""
        copy = self.root / "limited"
        shutil.copytree(self.folder, copy)
        most = max(1, int(share * self.largest))
        found = self._judged(copy, lambda: _limit(most))
        found["next_run_succeeds"] = jobs.run_to_end(copy, self.job.command()) == 0
        shutil.rmtree(copy)
        return self._row(f"files of at most {share:.0%} of the largest", found)

    def _judged(self, folder: Path, before: Callable[[], Any] | None) -> dict[str, Any]:
        # Beside the folder is the small disk.
        code = jobs.run_to_end(folder, self.job.command(), before, said=self.root / "said")
        now = {name: jobs.stamp(folder / name) for name in self.job.outputs}
        return {
            "exit_code": code,
            "lines": len(jobs.errors(folder, self.root / "said")),
            "old_outputs_as_before": self.job.again == "resume" or now == self.old,
            "inputs_untouched": sorted(jobs.tree(folder, self.job.inputs).values())
            == sorted(self.inputs.values()),
            "nothing_left": not jobs.rest(folder),
        }

    def _row(self, where: str, found: dict[str, Any]) -> dict[str, Any]:
        expected = CODES[self.job.again]
        one = found["lines"] == 1 or (found["exit_code"] == 5 and found["lines"] > 1)
        flags = [value for value in found.values() if isinstance(value, bool)]
        met = found["exit_code"] in expected and one and all(flags)
        return {"job": self.job.name, "where": where, **found, "met": met}


def to_full(folder: Path) -> list[dict[str, Any]]:
    """Commands whose output is, or goes to, a device that is always full."""
    reconstruct = ["reconstruct", "low.nii.gz"]
    cases: list[tuple[str, list[str], int, int]] = [
        ("the output", [*reconstruct, FULL], 2, 2),
        ("the record", [*reconstruct, "new.nii.gz", "--json", FULL], 2, 2),
        ("stdout of a record", [*reconstruct, "new.nii.gz", "--json", "-"], 1, 4),
        ("stdout of petrt inspect", ["inspect", "demo"], 1, 4),
    ]
    rows = []
    for what, arguments, descriptor, code in cases:
        options = jobs.OPTIONS if arguments[0] == "reconstruct" else ()
        full = partial(_to_full, descriptor) if descriptor == 1 else None
        got = jobs.run_to_end(folder, [*arguments, *options], full)
        lines = len(jobs.errors(folder))
        left = bool(jobs.rest(folder))
        (folder / "new.nii.gz").unlink(missing_ok=True)
        row = {"job": what, "where": FULL, "exit_code": got, "lines": lines}
        rows.append(
            row | {"nothing_left": not left, "met": got == code and lines == 1 and not left}
        )
    return rows


def _to_full(descriptor: int) -> None:
    os.dup2(os.open(FULL, os.O_WRONLY), descriptor)


def _limit(most: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _mount(folder: Path, size: int | None = None) -> None:
    """A tmpfs of ``size`` bytes at ``folder``; another size for the one that is there."""
    if size is None:
        command = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    else:
        command = ["mount", "-o", f"remount,size={-(-size // PAGE) * PAGE}", str(folder)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1] == "mount")))
