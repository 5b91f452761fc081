"""Writes one subject's arrays of the data set from its files, with one volume in memory at a time."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petrt import __version__
from petrt.data.index import VERSION, ArrayFile, Crop, LowFile, SubjectEntry, VolumeFile, file_hash
from petrt.data.prepare.cache import Dtype, recall, remember, write_array, write_volume
from petrt.data.prepare.crop import Box, cropped
from petrt.data.prepare.metadata import Metadata, contradictions
from petrt.data.prepare.outcome import Outcome, Refusal, Scanned
from petrt.data.prepare.pairs import Facts, activity_ratio, check_pair, disordered, measure
from petrt.data.prepare.scan import FULL, FoundScan, LoadedScan, Reading, Scan
from petrt.data.prepare.sources import load
from petrt.errors import InputError
from petrt.files.names import shown, shown_as
from petrt.imaging.grid import Placement, Size3, plan
from petrt.model.spec import ScaleRule

# Voxels above this fraction of the scale are active; a slice with this active area has full weight.
ACTIVE = 0.05
ACTIVE_AREA = 0.1
EMPTY_SLICE_WEIGHT = 0.02
# In place of the hash of a file that cannot be read.
UNREADABLE = "unreadable"
# The body is what exceeds this fraction of the mean of all positive voxels, after a mean over 5^3.
BODY_LEVEL = 0.3


@dataclass(frozen=True)
class Settings:
    """Settings for all subjects of a data set. ``doses``: only these reductions; None for all."""

    voxel_mm: Size3
    dtype: Dtype = "float16"
    rule: ScaleRule = field(default_factory=ScaleRule)
    doses: tuple[int, ...] | None = None
    crop: Box | None = None
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True)
class Job:
    """Writes subjects to ``folder``; called with an id and the subject found in the source.

    Faults of a subject or of its pairs are in the outcome. Only a folder that cannot be written raises,
    UsageError. Volumes that an earlier run wrote from the same files are kept. ``salt``: salt of the
    patient keys.
    """

    folder: Path
    settings: Settings
    salt: bytes

    def __call__(self, name: str, found: FoundScan) -> Outcome:
        contents = _contents(found)
        fingerprint = _fingerprint(self.settings, found, contents)
        outcome = recall(self.folder, name, fingerprint)
        if outcome is None:
            altered = _altered(found, contents)
            outcome = _Writer(self.folder, self.settings, self.salt, name).subject(found, altered)
            remember(self.folder, outcome, fingerprint)
        return outcome


@dataclass(frozen=True)
class _Full:
    """The full-dose volume after it is written."""

    facts: Facts
    placement: Placement
    affine: NDArray[np.float64]
    crop: Crop | None
    file: VolumeFile
    weights: tuple[float, ...]
    patient: str | None
    suv_factor: float | None


@dataclass(frozen=True)
class _Writer:
    """Writes the volumes of the subject ``name``."""

    folder: Path
    settings: Settings
    salt: bytes
    name: str

    def subject(self, found: FoundScan, altered: str = "") -> Outcome:
        """Write all usable volumes of the subject; none, with the reason, if a file is ``altered``."""
        refused = [self._refusal(None, reason) for reason in found.problems]
        scans: dict[int, Scanned] = {}
        entry, full = None, None
        try:
            if altered:
                raise InputError(altered, "simulate it again")
            full = self._full(_only(found, FULL))
            scans[FULL] = Scanned(activity_ratio=1.0, noise=full.facts.noise)
            low: dict[int, LowFile] = {}
            for dose in self._doses(found):
                try:
                    low[dose], scans[dose] = self._low(_only(found, dose), full)
                except InputError as error:
                    refused.append(self._refusal(dose, str(error)))
            for dose, reason in disordered({dose: scans[dose].noise for dose in low}).items():
                refused.append(self._refusal(dose, reason))
                del low[dose], scans[dose]
            if not low:
                raise InputError("no low-dose volume is left")
            entry = self._entry(found, full, low)
        except InputError as error:
            refused.append(self._refusal(None, str(error)))
        return Outcome(
            name=self.name,
            entry=entry,
            refused=tuple(refused),
            scans=scans,
            patient=None if full is None else full.patient,
        )

    def _refusal(self, dose: int | None, reason: str) -> Refusal:
        return Refusal(name=self.name, dose=dose, reason=reason)

    def _doses(self, found: FoundScan) -> list[int]:
        wanted = self.settings.doses
        there = {scan.dose for scan in found.scans} - {FULL}
        return sorted(there if wanted is None else there & set(wanted))

    def _load(self, scan: Scan) -> tuple[LoadedScan, Crop | None]:
        loaded = load(scan.path, self.salt, self.settings.reading)
        if (row := scan.metadata) is not None:
            loaded = replace(loaded, unit=loaded.unit or row.unit or None)
            _check_metadata(loaded, row)
        return (loaded, None) if self.settings.crop is None else cropped(loaded, self.settings.crop)

    def _full(self, scan: Scan) -> _Full:
        with nameless(scan.path, self.name, "full dose: "):
            loaded, crop = self._load(scan)
            facts = measure(loaded, self.settings.rule)
            placement = plan(
                loaded.data.shape, loaded.affine, self.settings.voxel_mm, name="volume"
            )
            array = placement.to_network(loaded.data)
            share = (array > ACTIVE * facts.scale).mean(axis=(1, 2))
            weights = EMPTY_SLICE_WEIGHT + np.minimum(share / ACTIVE_AREA, 1.0)
            return _Full(
                facts=facts,
                placement=placement,
                affine=loaded.affine,
                crop=crop,
                file=self._volume("full", array, facts.scale),
                weights=tuple(round(float(weight), 5) for weight in weights),
                patient=loaded.patient,
                suv_factor=None if scan.metadata is None else scan.metadata.suv_factor,
            )

    def _low(self, scan: Scan, full: _Full) -> tuple[LowFile, Scanned]:
        with nameless(scan.path, self.name):
            loaded, _ = self._load(scan)
            facts = measure(loaded, self.settings.rule, full.facts)
            check_pair(facts, full.facts, any_frame=self.settings.reading.any_frame)
            array = full.placement.to_network(loaded.data)
            file = self._volume(f"1to{scan.dose}", array, facts.scale)
        ratio = activity_ratio(facts, full.facts)
        return (
            LowFile(**file.model_dump(), scale=facts.scale),
            Scanned(activity_ratio=ratio, noise=facts.noise),
        )

    def _volume(self, key: str, array: NDArray[np.float32], unit: float) -> VolumeFile:
        return write_volume(self.folder, f"{self.name}_{key}", array, unit, self.settings.dtype)

    def _entry(self, found: FoundScan, full: _Full, low: dict[int, LowFile]) -> SubjectEntry:
        return SubjectEntry(
            kind=found.kind,
            patient=self.name,
            source=found.neutral_name,
            shape=full.placement.network_shape,
            placement=full.placement,
            affine=tuple((row[0], row[1], row[2], row[3]) for row in full.affine.tolist()),
            crop=full.crop,
            full=full.file,
            low=low,
            labels=None if found.labels is None else self._labels(found.labels, full),
            truth=None if found.truth is None else self._truth(found.truth, full),
            weights=full.weights,
            suv_factor=full.suv_factor,
        )

    def _labels(self, path: Path, full: _Full) -> ArrayFile:
        with nameless(path, self.name, "labels: "):
            loaded = self._on_grid(path, full)
            array = label_grid(loaded.data, full.placement)
        return write_array(self.folder, f"{self.name}_labels", array)

    def _truth(self, path: Path, full: _Full) -> VolumeFile:
        with nameless(path, self.name, "noise-free volume: "):
            array = full.placement.to_network(self._on_grid(path, full).data)
            return self._volume("truth", array, full.facts.scale)

    def _on_grid(self, path: Path, full: _Full) -> LoadedScan:
        loaded, _ = self._load(Scan(path, FULL))
        if loaded.data.shape != full.facts.shape:
            raise InputError("another grid than the full dose", "simulate the subject again")
        return loaded


def _check_metadata(loaded: LoadedScan, row: Metadata) -> None:
    """Raise InputError if the table's weight or activity cannot be this image's."""
    voxel_ml = math.prod(loaded.voxel_mm) / 1000
    total = float(loaded.data.sum(dtype=np.float64))
    level = total / max(int(np.count_nonzero(loaded.data > 0)), 1)
    body = BODY_LEVEL * level
    voxels = np.count_nonzero(ndimage.uniform_filter(loaded.data, 5) > body)
    if wrong := contradictions(row, total * voxel_ml, float(voxels) * voxel_ml):
        raise InputError(
            f"the table contradicts the image: {'; '.join(wrong)}",
            "correct its weight or activity, or prepare without the table",
        )


def label_grid(labels: NDArray[np.float32], placement: Placement) -> NDArray[np.uint8]:
    """``labels`` [X, Y, Z] on the network grid: each voxel gets the label that fills most of it."""
    if not any(placement.resampled):
        return placement.to_network(labels).astype(np.uint8)
    best = np.zeros(placement.network_shape, np.uint8)
    most = np.full(placement.network_shape, -np.inf, np.float32)
    for value in np.unique(labels):
        share = placement.to_network((labels == value).astype(np.float32))
        best[share > most] = value
        np.maximum(most, share, out=most)
    return best


def _only(found: FoundScan, dose: int) -> Scan:
    """The only scan of ``found`` at this dose. Raises InputError if there are none or several."""
    scans = [scan for scan in found.scans if scan.dose == dose]
    if not scans:
        raise InputError("no full-dose volume" if dose == FULL else f"no 1/{dose} volume")
    if len(scans) > 1:
        what = "full-dose volumes" if dose == FULL else "volumes of this dose"
        raise InputError(f"{len(scans)} {what}", "leave one")
    return scans[0]


@contextmanager
def nameless(path: Path, name: str, prefix: str = "") -> Iterator[None]:
    """Call the file by its subject's ``name`` in errors and the log, which must not hold a patient's name.

    An InputError is raised again with ``prefix`` in place of the name. Messages about a DICOM series
    already give files by number.
    """
    try:
        with shown_as(path, name):
            yield
    except InputError as error:
        raise InputError(prefix + error.message.removeprefix(f"{name}: "), error.hint) from None


Contents = dict[str, list[tuple[str, str]]]


def _contents(found: FoundScan) -> Contents:
    """Use of a file or folder -> name and hash of its files."""
    files = {"labels": found.labels, "truth": found.truth}
    files |= {f"{scan.dose}, {n}": scan.path for n, scan in enumerate(found.scans)}
    return {
        key: [(file.name, _content(file)) for file in _files(path)]
        for key, path in files.items()
        if path is not None
    }


def _altered(found: FoundScan, contents: Contents) -> str:
    """The reason why the files are not those whose hashes the source states; "" if they are."""
    for name, content in (each for files in contents.values() for each in files):
        if content not in (UNREADABLE, found.hashes.get(name, content)):
            return f"the content of {shown(name)} has changed since petrt simulate wrote it"
    return ""


def _fingerprint(settings: Settings, found: FoundScan, contents: Contents) -> str:
    """The hash of everything that a subject's arrays depend on: its files' contents and the settings."""
    hashes = {key: [content for _, content in files] for key, files in contents.items()}
    rest = [__version__, VERSION, repr(settings), found.kind, found.neutral_name, found.problems]
    rest += [repr([scan.metadata for scan in found.scans])]
    text = json.dumps([*rest, hashes])
    return hashlib.sha256(text.encode()).hexdigest()


def _content(file: Path) -> str:
    try:
        return file_hash(file)
    except OSError:  # reading its voxels reports the reason
        return UNREADABLE


def _files(path: Path) -> list[Path]:
    """The files of a scan: the NIfTI file, or all files in the folder of a series."""
    if not path.is_dir():
        return [path] if path.exists() else []
    return sorted(file for file in path.rglob("*") if file.is_file())
