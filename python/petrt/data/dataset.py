"""Reads a prepared data set: pairs of low- and full-dose volumes on the model grid.

``petrt prepare`` writes it (petrt.data.prepare). Its folder holds

    dataset.json                             the index: petrt.data.index
    train.txt validation.txt test.txt        one subject id per line, "#" begins a comment; may be edited
    volumes/<id>_full.npy, <id>_1to100.npy   [Z, H, W], float16 or float32; value x unit = input's unit
    summary.html                             a summary with pictures

Volumes are memory-mapped: opening a data set reads no voxels.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import grid_text, mm_text
from petrt.data.index import (
    AGAIN,
    INDEX,
    SPLITS,
    VOLUMES,
    ArrayFile,
    DatasetIndex,
    LowFile,
    SubjectEntry,
    VolumeFile,
    file_hash,
    read_index,
)
from petrt.diffusion.dose import Given, reduction
from petrt.errors import InputError
from petrt.files.names import printable, shown
from petrt.imaging.grid import Placement, Size3
from petrt.model.spec import ScaleRule

__all__ = [
    "INDEX",
    "SPLITS",
    "VOLUMES",
    "ArrayFile",
    "Dataset",
    "DatasetIndex",
    "LowFile",
    "Pair",
    "SubjectEntry",
    "VolumeFile",
    "open_dataset",
]

logger = logging.getLogger(__name__)

# Reading more bytes than this, to compare hashes, is announced.
ANNOUNCED = 1 << 30
HASHING_THREADS = 4
# Most volumes kept open. Each uses a file descriptor, of which a process usually has 1024.
MAX_OPEN = 256


@dataclass(frozen=True, repr=False)
class Pair:
    """One subject at one dose, memory-mapped: ``low`` and ``full`` [Z, H, W], float16 or float32.

    ``low`` is the network's input x = low-dose volume / ``scale``. ``full * gain`` is y, the full-dose
    volume divided by the same scale. ``dose`` is the reduction, 100 for 1/100. ``weights`` [Z]:
    sampling weight of each slice.
    """

    name: str
    dose: int
    low: NDArray[Any]
    full: NDArray[Any]
    gain: float
    weights: NDArray[np.float64]
    scale: float

    def __repr__(self) -> str:
        return f"Pair({printable(self.name)}, dose 1/{self.dose}, [Z, H, W] {grid_text(self.low.shape)})"


class Dataset:
    """A data set on disk, opened by ``open_dataset``. Pickling it copies no voxels."""

    def __init__(
        self, folder: Path, index: DatasetIndex, splits: dict[str, tuple[str, ...]]
    ) -> None:
        self.folder, self.index, self._splits = folder, index, splits
        self._open: dict[str, NDArray[Any]] = {}

    def __repr__(self) -> str:
        doses = sorted({dose for name in self.ids for dose in self.doses(name)})
        listed = ", ".join(f"1/{dose}" for dose in doses)
        return (
            f"Dataset({len(self.ids)} subjects, {mm_text(self.voxel_mm)}, doses {listed or 'none'})"
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all subjects, also of those in no split."""
        return tuple(self.index.subjects)

    @property
    def voxel_mm(self) -> Size3:
        """Voxel size of the model grid along canonical x, y, z: the array's axes H, W, Z."""
        return self.index.voxel_mm

    @property
    def scale_rule(self) -> ScaleRule:
        """The rule that computed the scales from the low-dose volumes."""
        return self.index.scale_rule

    def split(self, name: str) -> list[str]:
        """The ids listed in ``<name>.txt``: train, validation or test."""
        return list(self._splits[name])

    def subject(self, name: str) -> SubjectEntry:
        """The record of subject ``name``. Raises InputError for an unknown one."""
        try:
            return self.index.subjects[name]
        except KeyError:
            raise InputError(
                f"no subject {shown(name)} in the data set", "petrt prepare lists them"
            ) from None

    def doses(self, name: str) -> tuple[int, ...]:
        """The dose reductions of subject ``name``, rising."""
        return tuple(sorted(self.subject(name).low))

    def pair(self, name: str, dose: Given) -> Pair:
        """Subject ``name`` at a ``dose``, such as 100 or "1/100", and full dose. Raises InputError if it has
        no such dose."""
        entry, dose = self.subject(name), reduction(dose)
        if dose not in entry.low:
            there = ", ".join(f"1/{d}" for d in self.doses(name))
            raise InputError(f"{name} has no 1/{dose} dose", f"it has {there}")
        low = entry.low[dose]
        return Pair(
            name=name,
            dose=dose,
            low=self._array(low),
            full=self._array(entry.full),
            gain=entry.full.unit / low.scale,
            weights=np.array(entry.weights),
            scale=low.scale,
        )

    def labels(self, name: str) -> NDArray[np.uint8] | None:
        """Label map [Z, H, W] of a simulated subject (values: petrt.data.simulate.phantom.LABELS)."""
        file = self.subject(name).labels
        return None if file is None else self._array(file)

    def truth(self, name: str) -> NDArray[np.float32] | None:
        """Noise-free activity [Z, H, W] of a simulated subject, in the input's unit like ``scale``."""
        file = self.subject(name).truth
        return None if file is None else self._array(file).astype(np.float32) * file.unit

    def placement(self, name: str) -> Placement:
        """The placement of the subject's own (cropped) grid on [Z, H, W]; see petrt.imaging.grid."""
        return self.subject(name).placement

    def affine(self, name: str) -> NDArray[np.float64]:
        """The affine [4, 4] from voxels of the subject's own (cropped) grid to RAS millimetres."""
        return np.array(self.subject(name).affine)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Read the files of the subjects ``names``, all by default, and compare their hashes.

        Raises InputError, which names the first that has changed since ``petrt prepare`` wrote it.
        """
        chosen = self.ids if names is None else tuple(dict.fromkeys(names))
        files = [
            (name, key, file)
            for name in chosen
            for key, file in self.subject(name).arrays().items()
        ]
        size = sum(_size(self.folder / file.file) for _, _, file in files)
        if size > ANNOUNCED:
            logger.info("reading %.1f GB of the data set once, to compare hashes", size / 1e9)
        given_up = threading.Event()

        def intact(file: ArrayFile) -> bool:
            if given_up.is_set():
                return True
            path = self.folder / file.file
            try:
                same = file_hash(path) == file.sha256
            except OSError as error:
                given_up.set()
                raise InputError(
                    f"{path.name} of the data set cannot be read: {error.strerror}", AGAIN
                ) from error
            if not same:
                given_up.set()
            return same

        with ThreadPoolExecutor(min(HASHING_THREADS, os.cpu_count() or 1)) as pool:
            checked = [pool.submit(intact, file) for _, _, file in files]
        for (name, key, _), done in zip(files, checked, strict=True):
            if not done.result():
                raise InputError(f"{name}, {key}: its content has changed", AGAIN)

    def _array(self, entry: ArrayFile) -> NDArray[Any]:
        array = self._open.pop(entry.file, None)
        if array is None:
            array = _mapped(self.folder, entry)
        self._open[entry.file] = array  # moves it to the end, the most recently used
        if len(self._open) > MAX_OPEN:
            del self._open[next(iter(self._open))]
        return array

    def __getstate__(self) -> dict[str, Any]:
        # Pickling a memory map would copy its voxels.
        return {**vars(self), "_open": {}}


def open_dataset(folder: str | Path, *, verify: bool = True) -> Dataset:
    """Open the data set in ``folder`` and check the shapes and types of its files.

    With ``verify`` all files are read once and their hashes compared. Who uses a part of the subjects
    opens it without, and calls ``Dataset.verify`` for them. Raises InputError for missing or
    altered files, an unknown version, and split files that name an unknown subject, name one twice, or
    have one patient in two splits.
    """
    folder = Path(folder)
    index = read_index(folder)
    for name, entry in index.subjects.items():
        for key, file in entry.arrays().items():
            array = _mapped(folder, file)
            wanted = "uint8" if key == "labels" else index.dtype
            if array.shape != entry.shape or array.dtype != wanted:
                raise InputError(
                    f"{name}, {key}: {array.dtype} {array.shape} on disk, "
                    f"{wanted} {entry.shape} in {INDEX}",
                    AGAIN,
                )
    splits = {name: _read_split(folder / f"{name}.txt", index) for name in SPLITS}
    _check_disjoint(splits, index)
    dataset = Dataset(folder, index, splits)
    if verify:
        dataset.verify()
    return dataset


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # reading it says why
        return 0


def _mapped(folder: Path, entry: ArrayFile) -> NDArray[Any]:
    """The file's array, memory-mapped read-only."""
    path = folder / entry.file
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = "is damaged or cut off"
        if isinstance(error, FileNotFoundError):
            reason = "is missing"
        elif isinstance(error, OSError) and error.strerror:
            reason = f"cannot be read ({error.strerror})"
        raise InputError(f"{path.name} of the data set {reason}", AGAIN) from error
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        raise InputError(f"{path.name} of the data set is not a plain .npy array", AGAIN)
    return array


def _read_split(path: Path, index: DatasetIndex) -> tuple[str, ...]:
    """The ids in a split file. Raises InputError for an unknown or repeated one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path.name} of the data set cannot be read", "an empty file means no subjects"
        ) from error
    names = []
    for number, line in enumerate(lines, start=1):
        name = line.split("#")[0].strip()
        if not name:
            continue
        if name not in index.subjects:
            raise InputError(
                f"{path.name}, line {number}: no subject {shown(name)} in the data set",
                f"one id per line, from {INDEX}",
            )
        if name in names:
            raise InputError(f"{path.name}, line {number}: {name} is listed twice", "remove one")
        names.append(name)
    return tuple(names)


def _check_disjoint(splits: dict[str, tuple[str, ...]], index: DatasetIndex) -> None:
    """Raise InputError if a subject or a patient is in two splits."""
    count = Counter(name for names in splits.values() for name in names)
    owner: dict[str, tuple[str, str]] = {}
    for split, names in splits.items():
        for name in names:
            if count[name] > 1:
                both = " and ".join(f"{s}.txt" for s in SPLITS if name in splits[s])
                raise InputError(f"{name} is in {both}", "a subject belongs to one split")
            patient = index.subjects[name].patient
            other, there = owner.setdefault(patient, (name, split))
            if there != split:
                raise InputError(
                    f"{other} ({there}.txt) and {name} ({split}.txt) are scans of one patient",
                    "a patient belongs to one split",
                )
