"""Three small jobs of petrt, run in a fork of this process, and what their outputs hold.

A fork has petrt loaded already, so that nearly all of its time is the job's own.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from petrt.bench.volume import make_volume

Stamp = tuple[str, ...]  # of what an output holds
OPTIONS = ("--threads", "1", "--samples", "2", "--allow-activity-change", "--quiet")
OLD_SEED = "7"


@dataclass(frozen=True)
class Job:
    """One command, run in a folder of its own, and the names of its outputs there.

    ``again``: the options with which it replaces old outputs or goes on after a kill.
    """

    name: str
    inputs: tuple[str, ...]
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    again: str

    def command(self, *more: str) -> list[str]:
        return ["reconstruct", *self.arguments, *OPTIONS, f"--{self.again}", *more]


NIFTI = Job(
    "a NIfTI file with std and record",
    ("low.nii.gz",),
    ("low.nii.gz", "out.nii.gz", "--std", "std.nii.gz", "--json", "run.json"),
    ("out.nii.gz", "std.nii.gz", "run.json"),
    "overwrite",
)
SERIES = Job("a DICOM series", ("series",), ("series", "derived"), ("derived",), "overwrite")
COHORT = Job(
    "a cohort of four, resumed",
    ("scans",),
    ("scans", "results"),
    (*(f"results/{name}.nii.gz" for name in "abcd"), "results/cases.tsv"),
    "resume",
)
JOBS = (NIFTI, SERIES, COHORT)


def write_volume(path: Path, shape: tuple[int, int, int], factor: float = 1.0) -> Path:
    """A volume like a low-dose brain, in voxels of 2 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = make_volume(*shape) * np.float32(factor)
    nibabel.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(path)
    return path


def write_inputs(folder: Path, shape: tuple[int, int, int] = (32, 32, 4)) -> None:
    """The inputs of all JOBS; the series has four times as many slices."""
    from tests.io.dicom.clinical import clinical

    write_volume(folder / "low.nii.gz", shape)
    for number, name in enumerate("abcd"):
        write_volume(folder / "scans" / f"{name}.nii.gz", shape, 1 + number)
    clinical(folder / "series", make_volume(*shape[:2], 4 * shape[2]).astype(np.float64))


def stamp(path: Path) -> Stamp | None:
    """What an output holds, without its times; None where there is none. Raises for a damaged one."""
    import pydicom

    if not path.exists():
        return None
    if path.is_dir():
        found = []
        for file in sorted(path.iterdir()):
            dataset = pydicom.dcmread(file)
            if len(dataset.PixelData) != 2 * dataset.Rows * dataset.Columns:
                raise ValueError(f"{file.name} is not whole")
            found.append(f"{file.name} {digest(dataset.PixelData)}")
        return tuple(found)
    if path.suffix == ".json":
        return (str(json.loads(path.read_text())["seed"]),)
    if path.suffix == ".tsv":
        rows = list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a row is not whole")
        return tuple(f"{row['name']} {row['outcome']}" for row in rows)
    nibabel.load(path).get_fdata()  # reads all of it, with its check sum
    return (digest(path.read_bytes()),)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def tree(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Digest of every file of the inputs ``names``."""
    found: dict[str, str] = {}
    for name in names:
        path = folder / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        found |= {str(file): digest(file.read_bytes()) for file in files if file.is_file()}
    return found


def rest(folder: Path) -> list[str]:
    """Names of scratch files and staging folders below ``folder``."""
    return [path.name for path in folder.rglob(".petrt-*") if not _inside(path, folder)]


def _inside(path: Path, folder: Path) -> bool:
    """Whether ``path`` lies in a staging folder itself."""
    return any(part.startswith(".petrt-") for part in path.relative_to(folder).parts[:-1])


def start(
    folder: Path,
    command: list[str],
    before: Callable[[], Any] | None = None,
    said: Path | None = None,
) -> int:
    """Run ``command`` in ``folder`` in a fork of this process; its number.

    ``before`` is called in the fork first. stderr goes to ``said``, by default a file beside the folder.
    """
    from petrt.cli.app import run

    said = said or _said(folder)
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.chdir(folder)
        for descriptor, path in ((1, os.devnull), (2, said)):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(opened, descriptor)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        if before:
            before()
        code = run(command)
        sys.stderr.flush()
    finally:
        os._exit(code)


def _said(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.err")


def ended(child: int) -> int:
    """Wait for a fork: its exit code, or minus its signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def load_all(folder: Path) -> None:
    """Run all JOBS once in this process, in ``folder``, so that forks need not import anything."""
    from petrt.cli.app import run

    write_inputs(folder)
    here = Path.cwd()
    os.chdir(folder)
    try:
        for job in JOBS:
            if code := run(job.command()):
                raise RuntimeError(f"exit code {code}")
    finally:
        os.chdir(here)


def run_to_end(
    folder: Path,
    command: list[str],
    before: Callable[[], Any] | None = None,
    said: Path | None = None,
) -> int:
    """As ``start``, and wait: the exit code, or minus the signal."""
    return ended(start(folder, command, before, said))


def errors(folder: Path, said: Path | None = None) -> list[str]:
    """The lines of errors that the last job in ``folder`` told."""
    lines = (said or _said(folder)).read_text().splitlines()
    return [line for line in lines if line.startswith("petrt: error: ")]


def seconds_of(folder: Path, command: list[str]) -> float:
    """How long a job takes that nothing disturbs. Raises RuntimeError if it fails."""
    began = time.perf_counter()
    if code := run_to_end(folder, command):
        raise RuntimeError(f"exit code {code}: {errors(folder)}")
    return time.perf_counter() - began
