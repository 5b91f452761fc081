"""Damaged bytes and hostile fields: InputError of one line or a volume, in bounded memory, and no name."""

from __future__ import annotations

import importlib.util
import io
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from petrt.errors import InputError
from petrt.io import source
from petrt.io.dicom import series as dicom
from tests.helpers import allocating_less
from tests.io.dicom.compressed import compress
from tests.io.dicom.dicom_files import AFFINE, radiopharmaceutical, usual_fields, write_series
from tests.io.dicom.discs import disc
from tests.io.dicom.multiframe import enhanced

DATA = np.random.default_rng(0).gamma(2.0, 100.0, (8, 9, 4))
LARGE = np.random.default_rng(0).gamma(2.0, 100.0, (36, 40, 2))  # JPEG 2000 needs 32 pixels
MOST_BYTES = 64 << 20
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
SLOW = settings(QUICK, max_examples=1500)
PACKED = [RLELossless]
if importlib.util.find_spec("pylibjpeg"):
    PACKED += [JPEG2000Lossless, JPEGLosslessSV1]
    PACKED += [JPEGLSLossless] if importlib.util.find_spec("jpeg_ls") else []
SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    *PACKED,
    "enhanced",
    "zip",
    "DICOMDIR",
)


@cache
def files(syntax: str) -> dict[str, bytes]:
    """A good series; the first file is the one to damage."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        if syntax == "enhanced":
            paths = [enhanced(folder / "in" / "x.dcm", folder, times=2)]
        elif syntax == "DICOMDIR":
            index = disc(folder)
            below = (path for path in index.parent.rglob("*") if path.is_file() and path != index)
            paths = [index, *below]
            return {str(p.relative_to(index.parent)): p.read_bytes() for p in paths}
        else:
            plain = ExplicitVRLittleEndian if syntax in (*PACKED, "zip") else syntax
            paths = write_series(
                folder,
                LARGE if syntax in PACKED else DATA,
                AFFINE,
                syntax=plain,
                DecayCorrection="NONE",
                CorrectedImage=["ATTN"],
                AcquisitionTime=lambda k: f"10{k}000",
                RadiopharmaceuticalInformationSequence=radiopharmaceutical(6586.2),
            )
        if syntax in PACKED:
            for path in paths:
                compress(path, syntax)
        if syntax == "zip":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in paths:
                    archive.write(path, path.name)
            return {"x.zip": packed.getvalue()}
        return {path.name: path.read_bytes() for path in paths}


def outcome(content: dict[str, bytes]) -> str:
    """What reading says, or "" for a volume; everything else is a failure of the test."""
    with TemporaryDirectory() as name:
        for each, data in content.items():
            path = Path(name, each)
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(data)
        first = Path(name, next(iter(content)))
        single = first.name in ("x.zip", "DICOMDIR")
        try:
            with allocating_less(MOST_BYTES):
                for read in (dicom.inspect, source.look, source.read):
                    read(first if single else Path(name))
            return ""
        except InputError as error:
            return str(error)


def damaged(syntax: str, edits: list[tuple[float, int]], cut: float) -> None:
    content = dict(files(syntax))
    name = next(iter(content))
    data = bytearray(content[name])
    for place, value in edits:
        data[int(place * (len(data) - 1))] = value
    content[name] = bytes(data[: int(cut * len(data))]) if cut < 1 else bytes(data)
    text = outcome(content)
    assert "DOE" not in text
    assert "\n" not in text


places = st.floats(0, 1, allow_nan=False)
EDITS = st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)
CUTS = st.one_of(st.just(1.0), places)


def test_a_length_of_a_dicomdir_that_claims_hundreds_of_megabytes():
    damaged("DICOMDIR", [(0.0611752033059534, 216)], 1.0)


@QUICK
@given(st.sampled_from(SYNTAXES), EDITS, CUTS)
def test_damaged_bytes(syntax, edits, cut):
    damaged(syntax, edits, cut)


@pytest.mark.slow
@SLOW
@given(st.sampled_from(SYNTAXES), EDITS, CUTS)
def test_damaged_bytes_for_long(syntax, edits, cut):
    damaged(syntax, edits, cut)


# Fields that decide something, by kind of value.
TEXTS = ("Units", "SUVType", "DecayCorrection", "Modality", "AcquisitionTime", "AcquisitionDate")
LISTS = ("CorrectedImage", "SeriesType", "SpecificCharacterSet", "ImageType")
NUMBERS = ("RescaleSlope", "RescaleIntercept", "SliceThickness", "SpacingBetweenSlices")
NUMBERS += ("TriggerTime", "FrameReferenceTime", "ActualFrameDuration", "NumberOfFrames")
WHOLE = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
WHOLE += ("SamplesPerPixel", "NumberOfSlices", "NumberOfTimeSlices", "ImageIndex")
SEVERAL = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")

words = st.sampled_from(["", "NONE", "START", "GATED", "DYNAMIC", "PT", "BQML", "ATTN", "DOE", "é"])
text = st.one_of(words, st.text("0123456789:.+-eE", max_size=20))
number = st.one_of(
    st.floats(width=32), st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 1, -1, 1e300])
)
CHANGES = st.one_of(
    st.tuples(st.sampled_from(TEXTS), st.one_of(st.none(), text)),
    st.tuples(st.sampled_from(LISTS), st.lists(words, max_size=4)),
    st.tuples(st.sampled_from(NUMBERS), st.one_of(st.none(), number.map(str))),
    st.tuples(st.sampled_from(WHOLE), st.one_of(st.none(), st.integers(0, 65535))),
    st.tuples(st.sampled_from(SEVERAL), st.lists(number.map(str), max_size=7)),
)


def with_fields(
    changes: list[tuple[str, Any]], everywhere: bool, write: Callable[..., Any]
) -> None:
    fields = {
        key: (lambda k, value=value: value if everywhere or k == 1 else _usual)
        for key, value in changes
    }
    with TemporaryDirectory() as name:
        try:
            write(Path(name), fields)
        except Exception:  # pydicom cannot write such a value
            return
        content = {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}
    said = outcome(content)
    for quoted in ("Modality is DOE", "Units is DOE", "Units: BQML, DOE"):  # codes, not names
        said = said.replace(quoted, "")
    assert "DOE" not in said
    assert "\n" not in said


_usual = object()


def _write(folder: Path, fields: dict[str, Callable[[int], Any]]) -> None:
    usual = [usual_fields(DATA, AFFINE, k) for k in range(DATA.shape[2])]
    chosen: dict[str, Callable[[int], Any]] = {}
    for key, value in fields.items():
        chosen[key] = lambda k, key=key, value=value: (
            usual[k].get(key) if value(k) is _usual else value(k)
        )
    slopes = chosen.pop("RescaleSlope", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = write_series(folder, DATA, AFFINE, **chosen)
        for k, path in enumerate(paths):
            if slopes is not None:
                with pydicom.config.disable_value_validation():
                    dataset = pydicom.dcmread(path)
                    dataset.RescaleSlope = slopes(k)
                    dataset.save_as(path)


@QUICK
@given(st.lists(CHANGES, min_size=1, max_size=3), st.booleans())
def test_hostile_fields(changes, everywhere):
    with_fields(changes, everywhere, _write)


@pytest.mark.slow
@SLOW
@given(st.lists(CHANGES, min_size=1, max_size=3), st.booleans())
def test_hostile_fields_for_long(changes, everywhere):
    with_fields(changes, everywhere, _write)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_is_damaged_was_good(syntax):
    assert outcome(dict(files(syntax))) == ""
