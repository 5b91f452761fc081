"""Reads the stored values of slices, one at a time; a multi-frame file is opened once for all its frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from petrt.errors import InputError
from petrt.hardware.packages import extra
from petrt.io.dicom.header import Header

if TYPE_CHECKING:
    from pydicom import Dataset

# No slice is compressed by more: a larger claim is damage, or meant to fill the memory.
_MOST_COMPRESSED = 4096


def check_pixels(header: Header, frames: int) -> tuple[int, int]:
    """Rows and columns of a file of ``frames`` frames. Raises InputError if it holds too few bytes for them,
    or something else than grey values, or if nothing installed decompresses it."""
    rows, columns = (int(header.numbers(field)[0]) for field in ("Rows", "Columns"))
    samples = header.numbers("SamplesPerPixel")[0] if header.has("SamplesPerPixel") else 1
    if samples != 1:
        raise InputError(f"{header.label}: {samples:g} samples per pixel", "give a PET series")
    bits = int(header.numbers("BitsAllocated")[0])
    if bits not in (8, 16, 32):
        raise InputError(
            f"{header.label}: DICOM field BitsAllocated is {bits}, expected 8, 16 or 32",
            "repair it",
        )
    expected = rows * columns * bits // 8 * frames
    if header.stored is not None and header.stored < expected:
        raise InputError(
            f"{header.label}: truncated: expected {expected} bytes of pixels, "
            f"found {max(header.stored, 0)}",
            "copy or download it again",
        )
    if header.stored is None:
        if expected > _MOST_COMPRESSED * header.file.size:
            raise InputError(
                f"{header.label}: claims {expected} bytes of pixels, in a file of {header.file.size}",
                "copy or download it again",
            )
        _check_decoder(header)
    return rows, columns


def _check_decoder(header: Header) -> None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    syntax = UID(header.syntax)
    if header.whole or not syntax.is_transfer_syntax:
        return
    try:
        ready = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise InputError(
            f"{header.label}: its pixels are compressed as {syntax.name}, which cannot be read",
            "decompress it first (gdcmconv --raw)",
        ) from error
    if not ready:
        raise InputError(
            f"{header.label}: its pixels are compressed as {syntax.name}, and nothing here decodes that",
            f"{extra('dicom')}, or decompress it first (gdcmconv --raw)",
        )


def stored_values(
    header: Header, indices: Iterable[int], rows: int, columns: int
) -> Iterator[np.ndarray]:
    """The stored values [rows, columns] of the frames ``indices`` of one file, in that order."""
    wanted = list(indices)
    hint = "copy it again"
    if header.stored is None and not header.whole:
        hint = "decompress it first (gdcmconv --raw), or copy it again"
    given = 0
    try:
        with header.file.open() as stream:
            source = _whole(stream) if header.whole else stream
            for stored in _decoded(source, wanted, _decoder(header)):
                if stored.shape != (rows, columns) or stored.dtype.kind not in "iu":
                    raise InputError(f"{header.label}: its pixels do not fit its header", hint)
                given += 1
                yield stored
    except (InputError, GeneratorExit):
        raise
    except Exception as error:  # many kinds, for a damaged file or an absent decoder
        fault = type(error).__name__
        raise InputError(f"{header.label}: its pixels cannot be read ({fault})", hint) from error
    if given != len(wanted):
        raise InputError(f"{header.label}: {given} frames, expected {len(wanted)}", hint)


def _decoder(header: Header) -> str:
    """pydicom's own decoder for RLE, as pylibjpeg's panics at damaged data; else "", the first that can."""
    from pydicom.uid import RLELossless

    return "pydicom" if header.syntax == RLELossless else ""


def _decoded(source: Dataset | BinaryIO, wanted: list[int], decoder: str) -> Iterator[np.ndarray]:
    from pydicom.pixels.utils import iter_pixels, pixel_array

    if wanted == [0]:
        yield pixel_array(source, index=0, decoding_plugin=decoder)
    else:
        yield from iter_pixels(source, indices=wanted, decoding_plugin=decoder)


def _whole(stream: BinaryIO) -> Dataset:
    """The dataset of a file that is deflated or lacks the preamble, as if it were stored plainly."""
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset = dcmread(stream, force=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or syntax.is_deflated:
        implicit = syntax is None and dataset.original_encoding[0]
        plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = plain
    return dataset
