"""Writes a PET series that is derived from another: the same slices with new values.

Each source slice is the template of its own: patient, study, frame of reference, grid, timing,
radiopharmaceutical and decay stay (petrt.io.dicom.template). The folder appears whole or not at all. The same
source, values and derivation give the same bytes. docs/dicom.md lists all attributes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from petrt.errors import InputError, UsageError, called, way
from petrt.files.folder import atomic_folder, check_folder
from petrt.files.names import shown
from petrt.files.outputs import check_outside
from petrt.files.scratch import sync
from petrt.hardware.packages import extra
from petrt.io.dicom import checks, multiframe
from petrt.io.dicom.bounded import bounded
from petrt.io.dicom.derivation import IMPLEMENTATION_UID, MAKER, Derivation, key_and_files
from petrt.io.dicom.encoded import file_bytes, sequence
from petrt.io.dicom.header import quiet
from petrt.io.dicom.origin import PetSeries, Plane, source_series
from petrt.io.dicom.quantize import quantized
from petrt.io.dicom.single_frame import Sources
from petrt.io.dicom.template import source_reference, template

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset

    from petrt.arrays import Array
    from petrt.io.volume import Volume

_SOURCE_IMAGE = 0x00082112  # SourceImageSequence
_AHEAD = 8  # slices that wait to be written
Compression = Literal["rle", "jpegls"]


def write_series(
    folder: str | os.PathLike[str],
    data: Array,
    like: Volume,
    derivation: Derivation,
    *,
    compress: Compression | None = None,
    overwrite: bool = False,
) -> None:
    """Write ``data`` (the shape and unit of ``like``, which came from DICOM) as a series in a new ``folder``.

    One file a slice, explicit VR little endian, or losslessly compressed by RLE or JPEG-LS. An empty folder
    is filled; ``overwrite`` replaces a folder that holds a derived series and nothing else. Raises UsageError
    for a bad path or an unknown compression, InputError for a source that is no DICOM series or can no
    longer be read, and for values that are not finite.
    """
    target = Path(folder)
    series = source_series(like)
    check_compression(compress)
    check_series_output(target, [like.path] if like.path else [], overwrite=overwrite)
    if data.shape != like.data.shape:
        raise InputError(f"data of shape {data.shape}, the series has {like.data.shape}")
    if not np.isfinite(data).all():
        raise InputError("data with NaN or infinite voxels", "a DICOM series holds neither")
    places = [(t, k) for t, frame in enumerate(series.frames) for k in range(len(frame))]
    window = _window(data) if derivation.role == "std" else None
    replaces = is_derived if overwrite else None
    with quiet(), atomic_folder(target, replaces=replaces, into_empty=True) as new:
        sources = Sources(series)
        with _Saver() as saver:
            for number, (t, k) in enumerate(places, start=1):
                frame = data if data.ndim == 3 else data[..., t]
                dataset = _derived(sources, series, (t, k), frame[:, :, k].T, derivation)
                if window is not None:
                    dataset.WindowCenter, dataset.WindowWidth = window
                    dataset.VOILUTFunction = "LINEAR_EXACT"
                if compress is not None:
                    _compress(dataset, compress)
                saver.save(new / _name(number, len(places)), file_bytes(dataset))


def check_series_output(
    folder: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]] = (),
    *,
    overwrite: bool = False,
) -> None:
    """Raise UsageError if a series cannot be written to ``folder``. To be called before any work.

    A folder with a derived series may be replaced with ``overwrite``; any other that holds something is
    refused, an input always. Missing parents are made when the series is written.
    """
    target = Path(folder)
    check_outside(target, inputs)
    for each in inputs:
        if target.exists() and os.path.exists(each) and os.path.samefile(target, each):
            raise UsageError(
                f"{shown(target)}: the output is also an input", "choose another output path"
            )
    try:
        check_folder(target, replaces=is_derived if overwrite else None, into_empty=True)
    except UsageError as error:
        derived = target.is_dir() and not overwrite and is_derived(target)
        hint = way("overwrite", "", "replaces it") if derived else "choose another folder"
        raise UsageError(f"{shown(target)}: the output exists", hint) from error
    above = next(each for each in target.absolute().parents if os.path.lexists(each))
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise UsageError(
            f"{shown(target)}: cannot write in {shown(above)}", "choose another output path"
        )


def check_compression(compress: str | None) -> None:
    """Raise UsageError for a compression that is unknown, or that nothing installed writes."""
    if compress is None:
        return
    if compress not in get_args(Compression):
        raise UsageError(f"{called('compress')} is {compress!r}", "choose rle or jpegls")
    from pydicom.pixels.encoders.base import get_encoder

    if not get_encoder(_syntax(compress)).is_available:
        raise UsageError(f"nothing here writes {compress}", extra("dicom"))


def is_derived(folder: Path) -> bool:
    """Whether a folder holds a whole series that petrt derived, and nothing else."""
    return derived_key(folder) is not None


def derived_key(folder: Path) -> str | None:
    """The key of the derived series in ``folder``; None where there is none, or more, or less."""
    try:
        names = sorted(each.name for each in folder.iterdir())
        found = _key_and_files(folder / names[0])
    except Exception:  # of the system, or of pydicom for a file that is something else
        return None
    if found is None or found[1] != len(names):
        return None
    return found[0] if names == [_name(n, len(names)) for n in range(1, len(names) + 1)] else None


def key_of_file(path: Path) -> str | None:
    """The key of a DICOM file that petrt wrote; None for another, or one that cannot be read."""
    try:
        found = _key_and_files(path)
    except Exception:  # as above
        return None
    return None if found is None else found[0]


def _key_and_files(path: Path) -> tuple[str, int] | None:
    from pydicom import dcmread

    wanted = ["ContributingEquipmentSequence"]
    with quiet(), bounded(path) as stream:
        return key_and_files(dcmread(stream, stop_before_pixels=True, specific_tags=wanted))


def _name(number: int, files: int) -> str:
    return f"{number:0{max(4, len(str(files)))}}.dcm"


def _derived(
    sources: Sources, series: PetSeries, place: tuple[int, int], values: Array, by: Derivation
) -> Dataset:
    """One slice: what stays of its source, the new ``values`` [rows, columns], and how they were made."""
    from pydicom.uid import UID

    t, k = place
    plane = series.frames[t][k]
    dataset = template(sources.fields(t, k), plane)
    dataset.SOPInstanceUID = UID(by.uid(series.uid, *_identity(plane, t, k)))
    dataset.SeriesInstanceUID = UID(by.uid(series.uid))
    if (reference := source_reference(plane)) is not None:
        dataset[_SOURCE_IMAGE] = sequence(_SOURCE_IMAGE, [reference])
    dataset.ImageType = ["DERIVED", "PRIMARY", *plane.header.words("ImageType")[2:]]
    by.describe(dataset, len(series.frames) * len(series.frames[0]))
    stored, slope = quantized(values / plane.factor, checks.slope(plane.header))
    _set_pixels(dataset, stored, slope)
    dataset.file_meta = _file_meta(dataset)
    return dataset


def _identity(plane: Plane, t: int, k: int) -> Iterator[str]:
    uid = plane.header.text("SOPInstanceUID")
    yield uid or f"{t} {k}"
    if multiframe.is_multi_frame(plane.header):
        yield str(plane.index)


def _set_pixels(dataset: Dataset, stored: np.ndarray, slope: str) -> None:
    rows, columns = stored.shape
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    if str(dataset.get("PhotometricInterpretation", "")).strip() != "MONOCHROME1":
        dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, "0"
    dataset.add_new("SmallestImagePixelValue", "SS", int(stored.min()))
    dataset.add_new("LargestImagePixelValue", "SS", int(stored.max()))
    dataset.add_new("PixelData", "OW", stored.astype("<i2").tobytes())


def _window(data: Array) -> tuple[str, str]:
    """Centre and width that show all values of a map of standard deviations, for all its slices."""
    width = float(data.max(initial=0.0)) or 1.0
    return f"{width / 2:.6g}", f"{width:.6g}"


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = MAKER.upper()
    return meta


def _syntax(compress: str) -> Any:
    from pydicom.uid import JPEGLSLossless, RLELossless

    return RLELossless if compress == "rle" else JPEGLSLossless


def _compress(dataset: Dataset, compress: str) -> None:
    dataset.compress(_syntax(compress), generate_instance_uid=False)


class _Saver:
    """Writes files in a thread of its own, since a disk takes as long for a slice as making it does."""

    def __enter__(self) -> _Saver:
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()
        return self

    def save(self, path: Path, content: bytes) -> None:
        """Write a file, soon. Raises what the writing of an earlier one raised."""
        while len(self._pending) >= _AHEAD:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(_save, path, content))

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._pool.shutdown(cancel_futures=True)
            return
        with self._pool:
            for each in self._pending:
                each.result()


def _save(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        sync(stream.fileno())
