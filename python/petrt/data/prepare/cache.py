"""Writes the arrays of a data set, and manages its folder until it is complete."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from petrt.data.index import INDEX, VOLUMES, ArrayFile, VolumeFile, file_hash
from petrt.data.prepare.outcome import Outcome
from petrt.errors import InputError, UsageError, way
from petrt.files.atomic import atomic_file, atomic_write_bytes, atomic_write_json
from petrt.files.json_text import parsed
from petrt.files.locks import OWNER, owned
from petrt.files.names import shown
from petrt.files.outputs import explained
from petrt.files.system import reading

Dtype = Literal["float16", "float32"]
# Folder for records of finished subjects, removed when the data set is complete.
RECORDS = "subjects"


def encode(array: NDArray[np.float32], unit: float, dtype: Dtype) -> NDArray[Any]:
    """``array`` / ``unit`` as ``dtype``; ``array`` is divided in place.

    The relative error of float16 is at most 2^-11 from 2^-14 to 65504 units; below, the absolute error is
    at most 2^-25 units. Raises InputError for larger values.
    """
    array /= np.float32(unit)
    largest = max(float(array.max()), -float(array.min()))
    if largest > float(np.finfo(dtype).max):
        raise InputError(
            f"its largest voxel is {largest:.3g} times the scale, more than {dtype} holds",
            way("dtype", "float32", "holds it; or check it for an outlier"),
        )
    return array.astype(dtype, copy=False)


def write_array(folder: Path, name: str, array: NDArray[Any]) -> ArrayFile:
    """Write ``volumes/<name>.npy`` in ``folder``, completely or not at all."""
    path = folder / VOLUMES / f"{name}.npy"
    with atomic_file(path, overwrite=True) as handle:
        np.save(handle, array, allow_pickle=False)
    return ArrayFile(file=f"{VOLUMES}/{name}.npy", sha256=file_hash(path))


def write_volume(
    folder: Path, name: str, array: NDArray[np.float32], unit: float, dtype: Dtype
) -> VolumeFile:
    """Encode ``array``, which is changed, and write it: stored value x ``unit`` = value."""
    written = write_array(folder, name, encode(array, unit, dtype))
    return VolumeFile(file=written.file, sha256=written.sha256, unit=unit)


@contextmanager
def begun(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """The folder ``<out>.partial`` for the incomplete data set, with the files of an interrupted run.

    It has this name so that the next run finds it, and a lock, so that two runs do not mix their volumes.
    If it holds no finished subject at the end, it is removed. Raises UsageError if ``out`` exists, if
    another run fills the folder, if it is not such a folder, or if nothing can be written.
    """
    _check(out, overwrite)
    partial = out.with_name(f"{out.name}.partial")
    with explained(out):
        try:
            partial.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(f"{shown(error.filename)} is a file", "move it away") from error
        _check_own(partial)
    with owned(partial, out):
        _check(out, overwrite)  # a run that ended meanwhile may have written it
        with explained(out):
            for folder in (VOLUMES, RECORDS):
                (partial / folder).mkdir(exist_ok=True)
        try:
            yield partial
        finally:
            _abandon(partial)


def _check(out: Path, overwrite: bool) -> None:
    """Raise UsageError if ``out`` exists, unless it is a data set that may be replaced."""
    if os.path.lexists(out):
        if not is_prepared(out):
            raise UsageError(f"{shown(out)} exists and is not a data set", "choose another folder")
        if not overwrite:
            raise UsageError(f"{shown(out)} exists", way("overwrite", "", "replaces it"))


def _check_own(partial: Path) -> None:
    """Raise UsageError if a folder with the name of the incomplete data set is something else."""
    names = {path.name for path in partial.iterdir() if path.name != OWNER}
    if names and not (partial / RECORDS).is_dir():
        raise UsageError(
            f"{shown(partial)} exists and is not an interrupted run's",
            "move it away, or choose another folder",
        )


def salt(partial: Path) -> bytes:
    """Random bytes for the patient keys of this data set. They stay the same until it is complete."""
    path = partial / RECORDS / "salt"
    with reading(path):
        if not path.exists():
            atomic_write_bytes(path, secrets.token_bytes(16), overwrite=True)
        return path.read_bytes()


def is_prepared(folder: Path) -> bool:
    """Whether ``folder`` is a prepared data set of any version."""
    try:
        content = parsed((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == "petrt-dataset"


def _abandon(partial: Path) -> None:
    """Remove the folder if it holds no finished subject; otherwise keep it for the next run."""
    if not any(_finished(path) for path in (partial / RECORDS).glob("*.json")):
        shutil.rmtree(partial, ignore_errors=True)


def _finished(record: Path) -> bool:
    """Whether the record of a subject says that its volumes are written; not, if it cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return bool(parsed(record.read_text(encoding="utf-8"))["outcome"]["entry"])
    return False


def publish(partial: Path, out: Path, keep: set[str]) -> None:
    """Rename the finished folder to ``out``, with only ``keep`` of its volumes, then remove an old one."""
    with explained(out):
        for path in (partial / VOLUMES).iterdir():
            if f"{VOLUMES}/{path.name}" not in keep:
                path.unlink()
        grave = Path(tempfile.mkdtemp(prefix=".petrt-", dir=out.parent))
        old = grave / "old"
        try:
            if out.exists():
                out.rename(old)
            partial.rename(out)
        finally:
            if old.exists() and not out.exists():
                old.rename(out)
            shutil.rmtree(grave, ignore_errors=True)
        shutil.rmtree(out / RECORDS, ignore_errors=True)
        # Last: until then nobody else may write here.
        (out / OWNER).unlink(missing_ok=True)


def remember(partial: Path, outcome: Outcome, fingerprint: str) -> None:
    """Record that a subject's volumes are written."""
    record = {"fingerprint": fingerprint, "outcome": outcome.model_dump(mode="json")}
    atomic_write_json(_record(partial, outcome.name), record, overwrite=True)


def recall(partial: Path, name: str, fingerprint: str) -> Outcome | None:
    """The outcome of subject ``name`` in an interrupted run, if its source and files have not changed."""
    try:
        record = parsed(_record(partial, name).read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint:
            return None
        outcome = Outcome.model_validate(record["outcome"])
        files = [] if outcome.entry is None else outcome.entry.arrays().values()
        intact = all(file_hash(partial / file.file) == file.sha256 for file in files)
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return outcome if intact else None


def _record(partial: Path, name: str) -> Path:
    return partial / RECORDS / f"{name}.json"
