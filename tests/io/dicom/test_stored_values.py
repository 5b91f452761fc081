"""How pixels are stored: compressed, 8 bit, with overlays or icons, units; and texts in any alphabet."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from petrt.errors import InputError
from petrt.io.dicom import series as dicom
from petrt.io.dicom.pixels import check_pixels
from tests.helpers import allocating_less
from tests.io.dicom.compressed import compress
from tests.io.dicom.dicom_files import AFFINE, SHAPE, change, write_series

DATA = np.random.default_rng(0).gamma(2.0, 100.0, SHAPE) - 20


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (RLELossless, None),
        (JPEG2000Lossless, "openjpeg"),
        (JPEGLSLossless, "jpeg_ls"),
        (JPEGLosslessSV1, "libjpeg"),
    ],
)
def test_lossless_compression_changes_nothing(tmp_path, syntax, package):
    if package is not None:
        pytest.importorskip("pylibjpeg")
        pytest.importorskip(package)
    data = np.random.default_rng(0).gamma(2.0, 100.0, (40, 36, 4))  # JPEG 2000 needs 32 pixels
    write_series(tmp_path / "plain", data, AFFINE)
    for path in write_series(tmp_path / "packed", data, AFFINE):
        compress(path, syntax)
    plain, packed = dicom.read(tmp_path / "plain"), dicom.read(tmp_path / "packed")
    np.testing.assert_array_equal(packed.data, plain.data)
    np.testing.assert_array_equal(packed.affine, plain.affine)


def test_a_decoder_that_is_absent_is_named_with_its_command(tmp_path, monkeypatch):
    content = encapsulate([b"\xff\xd8\xff\xd9"])
    write_series(tmp_path, DATA, AFFINE, syntax=JPEG2000Lossless, PixelData=content)
    module = sys.modules["pydicom.pixels.decoders.base"]
    monkeypatch.setattr(module.Decoder, "is_available", property(lambda self: False))
    words = r"compressed as JPEG 2000 .*; pip install 'petrt\[dicom\]', or decompress"
    with pytest.raises(InputError, match=words):
        dicom.read(tmp_path)


def test_video_is_refused(tmp_path):
    content = encapsulate([b"\0\0\1\xba"])
    write_series(tmp_path, DATA, AFFINE, syntax=MPEG2MPML, PixelData=content)
    with pytest.raises(InputError, match=r"compressed as MPEG2 .*which cannot be read; decompress"):
        dicom.read(tmp_path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_small_file_cannot_claim_a_large_picture(tmp_path, syntax):
    content = encapsulate([b"\0" * 64])
    changes = {"Rows": 20000, "Columns": 20000, "PixelData": content}
    write_series(tmp_path, np.ones((2, 2, 1)), AFFINE, syntax=syntax, SliceThickness=2, **changes)
    with pytest.raises(InputError, match="claims 800000000 bytes of pixels, in a file of"):
        dicom.read(tmp_path)


def test_damaged_compressed_pixels(tmp_path):
    paths = write_series(tmp_path, DATA, AFFINE)
    for path in paths:
        compress(path, RLELossless)
    paths[3].write_bytes(paths[3].read_bytes()[:-60])
    with pytest.raises(InputError, match=r"file 4 of 7: its (pixels|DICOM header) cannot be read"):
        dicom.read(tmp_path)


@pytest.mark.parametrize(
    ("bits", "kind", "signed"), [(8, "u1", 0), (8, "i1", 1), (16, "<u2", 0), (32, "<i4", 1)]
)
def test_values_of_every_size(tmp_path, bits, kind, signed):
    """Also unsigned values with the highest bit set."""
    limits = np.iinfo(kind)
    stored = np.linspace(limits.min, limits.max, 72).astype(kind).reshape(9, 8)
    fields = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    changes: dict[str, Any] = fields | {"PixelRepresentation": signed, "RescaleSlope": 0.5}
    write_series(tmp_path, DATA, AFFINE, PixelData=stored.tobytes(), **changes)
    expected = (stored.astype(np.float64) * 0.5).astype(np.float32).T
    np.testing.assert_array_equal(dicom.read(tmp_path).data[:, :, 2], expected)


def test_bits_above_the_value_are_no_value(tmp_path):
    """An overlay of old files stands in the four highest bits."""
    stored = np.arange(72, dtype="<u2").reshape(9, 8)
    changes = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "RescaleSlope": 1}
    write_series(tmp_path, DATA, AFFINE, PixelData=(stored | 0x5000).tobytes(), **changes)
    np.testing.assert_array_equal(dicom.read(tmp_path).data[:, :, 2], stored.T)


def test_pixels_in_icons_and_overlays_are_not_the_image(tmp_path):
    paths = write_series(tmp_path / "odd", DATA, AFFINE)
    write_series(tmp_path / "usual", DATA, AFFINE)
    for path in paths:
        dataset, icon = pydicom.dcmread(path), Dataset()
        icon.Rows = icon.Columns = 4
        icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
        icon.BitsAllocated = icon.BitsStored = 8
        icon.HighBit, icon.PixelRepresentation = 7, 0
        icon.PixelData = bytes(range(16))
        icon["PixelData"].VR = "OB"
        dataset.IconImageSequence = [icon]
        overlay = dataset.group_dataset(0x6000)
        for element, kind, value in ((0x10, "US", 9), (0x11, "US", 8), (0x3000, "OW", bytes(10))):
            overlay.add_new((0x6000, element), kind, value)
        dataset.update(overlay)
        dataset.private_block(0x0099, "Someone", create=True).add_new(1, "OB", bytes(144))
        dataset.save_as(path)
    np.testing.assert_array_equal(
        dicom.read(tmp_path / "odd").data, dicom.read(tmp_path / "usual").data
    )


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "ДОУ^ДЖЕЙН".encode()),
        (r"ISO 2022 IR 6\ISO 2022 IR 87", b"DOE^JANE=\x1b$B;3ED\x1b(B"),
        ("ISO_IR 100", b"D\xd6E^JANE"),
        ("NO SUCH SET", b"DOE^JANE"),
        ("ISO_IR 192", b"\xff\xfe\xfd"),
    ],
)
def test_texts_of_every_alphabet(tmp_path, caplog, charset, name):
    write_series(tmp_path / "usual", DATA, AFFINE)
    filler = "X" * (len(name) + len(name) % 2)
    for path in write_series(tmp_path / "odd", DATA, AFFINE, PatientID=filler):
        with warnings.catch_warnings():  # of pydicom, about a set that it does not know
            warnings.simplefilter("ignore")
            change(path, SpecificCharacterSet=charset.split("\\"))
        content = path.read_bytes()
        path.write_bytes(content.replace(filler.encode(), name.ljust(len(filler))))
    with caplog.at_level(logging.DEBUG):
        found = dicom.read(tmp_path / "odd").data
        dicom.inspect(tmp_path / "odd")
    np.testing.assert_array_equal(found, dicom.read(tmp_path / "usual").data)
    assert "JANE" not in caplog.text


def test_very_long_file_names(tmp_path):
    write_series(tmp_path, DATA, AFFINE, name=lambda k: f"{k}" + "x" * 250)
    assert dicom.read(tmp_path).data.shape == SHAPE


@pytest.mark.parametrize(
    ("units", "more"),
    [
        ("BQML", {}),
        ("GML", {}),
        *(("GML", {"SUVType": kind}) for kind in ("BW", "LBM", "IBW", "LBMJAMES128", "LBMJANMA")),
        ("CM2ML", {"SUVType": "BSA"}),
        ("CNTS", {}),
        ("CPS", {"CorrectedImage": ["DECY", "ATTN", "DCAL"]}),
    ],
)
def test_quantitative_units_go_in_as_they_are(tmp_path, caplog, units, more):
    write_series(tmp_path / "usual", DATA, AFFINE)
    write_series(tmp_path / "odd", DATA, AFFINE, Units=units, **more)
    volume = dicom.read(tmp_path / "odd")
    np.testing.assert_array_equal(volume.data, dicom.read(tmp_path / "usual").data)
    assert volume.series is not None
    assert volume.series.units == units
    assert units in volume.source
    assert not caplog.records


def test_many_corrections_are_all_read(tmp_path):
    """The list is longer than other texts; ATTN is its last word."""
    words = ["DECY", "RADL", "DCAL", "SLSENS", "NORM", "MOTN", "PMOT", "CLN", "RAN", "SCAT", "DTIM"]
    write_series(tmp_path, DATA, AFFINE, CorrectedImage=[*words, "ATTN"])
    assert dicom.read(tmp_path).data.shape == SHAPE


def test_the_check_counts_all_frames(tmp_path):
    write_series(tmp_path, DATA, AFFINE)
    volume = dicom.read(tmp_path)
    assert volume.series is not None
    header = volume.series.frames[0][0].header
    assert check_pixels(header, 1) == (9, 8)
    with pytest.raises(InputError, match="truncated: expected 288 bytes"):
        check_pixels(header, 2)


def philips(folder: Path, element: int, factors: list[float], kind: str = "DS") -> None:
    """One count has another activity in each slice; the values are equal in Bq/ml."""
    data = np.full(SHAPE, 6000.0) / np.array(factors)
    for k, path in enumerate(write_series(folder, data, AFFINE, Units="CNTS")):
        dataset, value = pydicom.dcmread(path), str(factors[k])
        block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(element, kind, value.encode() if kind == "UN" else value)
        dataset.save_as(path)


@pytest.mark.parametrize("kind", ["DS", "UN"])
@pytest.mark.parametrize("element", [0x00, 0x09])
def test_counts_whose_factors_differ_come_to_one_scale(tmp_path, caplog, element, kind):
    factors = [2.0, 2.0, 2.0, 2.0, 3.0, 4.0, 5.0]
    philips(tmp_path, element, factors, kind)
    with caplog.at_level(logging.INFO, "petrt"):
        volume = dicom.read(tmp_path)
    np.testing.assert_allclose(volume.data, 3000, rtol=1e-4)
    assert volume.series is not None
    assert [plane.factor for plane in volume.series.frames[0]] == [f / 2 for f in factors]
    assert "the factors of its counts differ" in caplog.text


def test_one_factor_for_all_counts_changes_nothing(tmp_path):
    philips(tmp_path, 0x09, [2.0] * 7)
    volume = dicom.read(tmp_path)
    np.testing.assert_allclose(volume.data, 3000, rtol=1e-4)
    assert volume.series is not None
    assert {plane.factor for plane in volume.series.frames[0]} == {1.0}


def test_a_deflated_file_is_not_inflated_without_end(tmp_path, monkeypatch):
    """16 MiB of zeros in a few KiB; the limit is lowered so that the test is quick."""
    changes = {"Rows": 4096, "Columns": 2048, "PixelData": bytes(16 << 20)}
    syntax = DeflatedExplicitVRLittleEndian
    (path,) = write_series(tmp_path, np.ones((2, 2, 1)), AFFINE, syntax=syntax, **changes)
    monkeypatch.setattr("petrt.io.dicom.header._MOST_INFLATED", 8 << 20)
    with (
        allocating_less(8 << 20),
        pytest.raises(InputError, match="file 1 of 1: inflates to more than 8388608 bytes"),
    ):
        dicom.read(path)
