"""Series that must be refused: one line names the fault and what to do, and nobody's name; exit code 3."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEGLosslessSV1, NuclearMedicineImageStorage

from petrt.errors import InputError, UsageError
from petrt.io.dicom import series as dicom
from tests.helpers import allocating_less, not_as_root
from tests.io.dicom.dicom_files import (
    AFFINE,
    DATA,
    SERIES,
    SHAPE,
    change,
    energy_window,
    write_series,
)


def refused(source: Any, words: str, **options: Any) -> str:
    with pytest.raises(InputError, match=words) as caught:
        dicom.read(source, **options)
    error = caught.value
    text = str(error)
    assert error.exit_code == 3
    assert error.hint
    assert "\n" not in text
    assert "DOE" not in text
    return text


def place(k: int, z: float, x: float = 90.0) -> Callable[[int], list[float]]:
    """Positions as usual, but for slice k."""
    return lambda n: [x if n == k else 90.0, -126.0, z if n == k else 3.0 * n - 72]


def only(k: int, value: Any, usual: Any) -> Callable[[int], Any]:
    return lambda n: value if n == k else usual


NAN = float("nan")
TURNED = [1, 0, 0, 0, 0.8, 0.6]
# What a field is, and words of the message.
FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "CT": ({"Modality": "CT"}, "Modality is CT, expected PT"),
    "no modality": ({"Modality": None}, "Modality is absent"),
    "one CT slice": ({"Modality": only(3, "CT", "PT")}, "Modality is CT"),
    "SPECT": ({"SOPClassUID": NuclearMedicineImageStorage}, "Nuclear Medicine Image Storage"),
    "SPECT as PT": ({"EnergyWindowRangeSequence": energy_window(126, 154)}, "154 keV, so SPECT"),
    "multi-frame": ({"NumberOfFrames": 7}, "7 frames in a file"),
    "shares": ({"Units": "PROPCNTS"}, "PROPCNTS, which is not quantitative; force_units=True uses"),
    "per second": ({"Units": "PROPCPS"}, "Units is PROPCPS, which is not quantitative"),
    "attenuation": ({"Units": "1CM"}, "Units is 1CM, which is not quantitative"),
    "uncorrected": ({"CorrectedImage": ["DECY", "SCAT"]}, "lacks ATTN in 7 slices.*force_units"),
    "two SUVs": ({"Units": "GML", "SUVType": only(1, "IBW", "BW")}, "differ in SUVType: BW, IBW"),
    "no units": ({"Units": None}, "Units is absent"),
    "two units": ({"Units": only(2, "CNTS", "BQML")}, "differ in Units: BQML, CNTS"),
    "slope 0": ({"RescaleSlope": only(4, 0, 1)}, "file 5 of 7: .*RescaleSlope is 0"),
    "slope negative": ({"RescaleSlope": -1}, "RescaleSlope is -1"),
    "no slope": ({"RescaleSlope": None}, "RescaleSlope is absent"),
    "intercept": ({"RescaleIntercept": -1024}, "RescaleIntercept is -1024"),
    "no position": ({"ImagePositionPatient": only(1, None, [0, 0, 0])}, "Position.* is absent"),
    "no orientation": ({"ImageOrientationPatient": None}, "ImageOrientationPatient is absent"),
    "no pixel size": ({"PixelSpacing": None}, "PixelSpacing is absent"),
    "pixel size 0": ({"PixelSpacing": [0, 2]}, "PixelSpacing is not above 0"),
    "two pixel sizes": ({"PixelSpacing": lambda k: [2, 2 + k % 2]}, "differ in pixel size"),
    "turned": ({"ImageOrientationPatient": only(2, TURNED, [1, 0, 0, 0, 1, 0])}, "orientation"),
    "no rotation": ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "orthogonal unit vectors"),
    "gap": ({"ImagePositionPatient": place(6, -51)}, "missing: 6 mm between slices 6 and 7 of 7"),
    "uneven": ({"ImagePositionPatient": place(3, -62.5)}, "2.5 to 3.5 mm apart, too uneven"),
    "same place": (
        {"ImagePositionPatient": place(3, -66)},
        "7 slices at 6 places, 1 to 2 at each: duplicates",
    ),
    "sideways": ({"ImagePositionPatient": place(3, -63, x=95.0)}, "shift sideways by up to 5 mm"),
    "end missing": ({"NumberOfSlices": 9}, "7 slices, .*NumberOfSlices is 9: some are missing"),
    "no rows": ({"Rows": None}, "Rows is absent"),
    "colour": ({"SamplesPerPixel": 3}, "3 samples per pixel"),
    "no pixels": ({"PixelData": None}, "truncated: expected 144 bytes of pixels, found 0"),
    "no series": ({"SeriesInstanceUID": None}, "SeriesInstanceUID is absent"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_bad_fields_are_named(tmp_path, case):
    changes, words = FIELDS[case]
    write_series(tmp_path, DATA, AFFINE, **changes)
    refused(tmp_path, words)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("RescaleSlope", b"DOE ", "RescaleSlope is not a finite number"),
        ("RescaleSlope", b"NaN ", "RescaleSlope is not a finite number"),
        ("ImagePositionPatient", rb"0\0 ", "ImagePositionPatient is not 3 finite numbers"),
        ("ImagePositionPatient", rb"0\0\DOE ", "ImagePositionPatient is not 3 finite numbers"),
        ("NumberOfFrames", b"DOE ", "NumberOfFrames is not a finite number"),
    ],
)
def test_texts_in_place_of_numbers(tmp_path, field, value, words):
    path = write_series(tmp_path, DATA, AFFINE, NumberOfFrames=1)[3]
    overwrite(path, field, value)
    refused(tmp_path, f"file 4 of 7: DICOM field {words}")


def overwrite(path: Path, field: str, value: bytes) -> None:
    """Put bytes that pydicom would not write into a text field, by name of its first place."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(field)
    content = path.read_bytes()
    start = content.index(bytes([tag >> 16 & 255, tag >> 24, tag & 255, tag >> 8 & 255]))
    length = int.from_bytes(content[start + 6 : start + 8], "little")
    head = content[: start + 6] + len(value).to_bytes(2, "little")
    path.write_bytes(head + value + content[start + 8 + length :])


def test_the_unchanged_series_is_accepted(tmp_path):
    """The tables prove nothing if the series they start from is refused as well."""
    write_series(tmp_path, DATA, AFFINE)
    assert dicom.read(tmp_path).data.shape == SHAPE


def test_a_single_slice(tmp_path):
    path = write_series(tmp_path / "a", DATA, AFFINE)[0]
    refused([path], "1 slices, DICOM field NumberOfSlices is 7: some are missing")
    write_series(tmp_path / "b", DATA[:, :, :1], AFFINE)
    refused(tmp_path / "b", "a single slice of unknown thickness")


def test_frames_that_nothing_tells_apart(tmp_path):
    for frame in range(3):
        uids = "1.2.{}.{}".format
        write_series(tmp_path / f"{frame}", DATA, AFFINE, SOPInstanceUID=partial(uids, frame + 9))
    refused(tmp_path, "21 slices at 7 places: duplicates, or frames that no time")


def test_two_files_of_one_identity(tmp_path):
    write_series(tmp_path / "0", DATA, AFFINE)
    write_series(tmp_path / "1", DATA * 2, AFFINE)
    refused(tmp_path, "file 8 of 14: another file has the same SOPInstanceUID and other content")


def test_several_series_are_listed(tmp_path):
    write_series(tmp_path / "a", DATA, AFFINE)
    write_series(tmp_path / "b", DATA[:, :, :3], AFFINE, SeriesInstanceUID="1.2.7", Modality="CT")
    write_series(tmp_path / "c", DATA, AFFINE, SeriesInstanceUID="1.2.8")
    listed = r"1.2.3.4 \(PT, 7 files\), 1.2.8 \(PT, 7 files\)"
    refused(tmp_path, f"2 DICOM PET series: {listed}; series='1.2.3.4' chooses the first")
    listed = r"1.2.3.4 \(PT, 7 files\), 1.2.7 \(CT, 3 files\), 1.2.8 \(PT, 7 files\)"
    refused(tmp_path, f"no series '1.2.9'; there are: {listed}", series="1.2.9")
    refused(tmp_path, "no series 'not a UID'", series="DOE")
    refused(tmp_path, "series 1.2.7: .*Modality is CT", series="1.2.7")
    refused(tmp_path, "2 DICOM PET series", series=[SERIES, "1.2.8", "1.2.9"])
    assert dicom.read(tmp_path, series=["1.2.9", "1.2.8"]).data.shape == SHAPE
    assert dicom.series_uids(tmp_path) == [SERIES, "1.2.8"]
    assert dicom.read(tmp_path, series=SERIES).data.shape == SHAPE


def test_a_changed_matrix_size(tmp_path):
    write_series(tmp_path / "a", DATA, AFFINE)
    write_series(tmp_path / "b", DATA[:, :7, :2], AFFINE)
    refused(tmp_path, "differ in size: 8 x 7, 8 x 9")


def test_more_voxels_than_allowed(tmp_path):
    write_series(tmp_path, DATA, AFFINE)
    refused(tmp_path, "claims 8 x 9 x 7 = 504 voxels, the limit is 503", max_voxels=503)
    assert dicom.read(tmp_path, max_voxels=504).data.size == 504


def test_nothing_large_is_allocated_for_a_large_claim(tmp_path):
    write_series(tmp_path, DATA, AFFINE, Rows=5000, Columns=5000)
    with allocating_less(8 << 20):
        refused(tmp_path, "file 1 of 7: truncated: expected 50000000 bytes of pixels, found ")


# Files that are cut: how many bytes are left of the 144 of pixels, or of all.
@pytest.mark.parametrize("left", [-1, -60, -144, -200, 400, 200])
def test_a_truncated_file(tmp_path, left):
    path = write_series(tmp_path, DATA, AFFINE)[3]
    path.write_bytes(path.read_bytes()[:left])
    refused(tmp_path, "file 4 of 7: (truncated|its pixels cannot|its DICOM header|DICOM field)")


@pytest.mark.parametrize("content", [b"", b"<html>DOE</html>", bytes(500)])
def test_a_file_that_only_has_the_name(tmp_path, content):
    write_series(tmp_path, DATA, AFFINE)[3].write_bytes(content)
    refused(tmp_path, rf"file 4 of 7: named as DICOM but is not DICOM \({len(content)} bytes\)")


def test_random_damage_is_an_input_error_or_harmless(tmp_path):
    """Whatever pydicom makes of it, no other exception comes out, and no name."""
    path = write_series(tmp_path, DATA, AFFINE)[3]
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(60):
        bad = bytearray(good)
        for place in rng.integers(132, len(good) - 144, 3):
            bad[place] = rng.integers(256)
        path.write_bytes(bad)
        try:
            dicom.read(tmp_path)
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert not any("DOE" in message or "\n" in message for message in messages)


def test_compressed_pixels_without_a_decoder(tmp_path):
    from pydicom.encaps import encapsulate

    content = encapsulate([b"\xff\xd8\xff\xd9"])
    write_series(tmp_path, DATA, AFFINE, syntax=JPEGLosslessSV1, PixelData=content)
    refused(
        tmp_path, "file 1 of 7: its pixels (are compressed as|cannot be read).*decompress it first"
    )


def test_slopes_beyond_float32(tmp_path, caplog):
    write_series(tmp_path, np.ones(SHAPE), AFFINE, RescaleSlope=only(2, "1e39", 1))
    for path in sorted(tmp_path.iterdir()):
        change(path, PixelData=np.ones(72, "<i2").tobytes())
    refused(tmp_path, "72 of 504 voxels are NaN or infinite")
    volume = dicom.read(tmp_path, nonfinite="zero")
    assert volume.stats.replaced == 72
    assert "72 NaN or infinite voxels replaced by 0" in caplog.text
    with pytest.raises(UsageError):
        dicom.read(tmp_path, nonfinite="ignore")


def test_what_is_no_series(tmp_path):
    refused(tmp_path / "DOE", "no such folder")
    refused(tmp_path / "DOE\0", "no such folder")
    refused(tmp_path, "no DICOM image among 0 files")
    (tmp_path / "DOE.txt").write_text("DOE")
    refused(tmp_path, "no DICOM image among 1 files")
    refused(tmp_path / "DOE.txt", "one file is not a DICOM series")
    refused([tmp_path / "DOE.dcm"], "file 1 of 1: no such file")
    refused([tmp_path], "file 1 of 1: not a file")


def test_files_that_may_not_be_read(tmp_path):
    path = write_series(tmp_path / "DOE", DATA, AFFINE)[3]
    dicom.read(tmp_path)
    with not_as_root(tmp_path):
        path.chmod(0)
        refused(tmp_path, "file 4 of 7: cannot be opened: Permission denied")
        path.parent.chmod(0)
        refused(tmp_path, "cannot be listed: Permission denied")
        path.parent.chmod(0o700)


def test_a_stray_file_that_may_not_be_read(tmp_path, caplog):
    write_series(tmp_path / "DOE", DATA, AFFINE)
    stray = tmp_path / "DOE" / "notes"
    stray.write_text("DOE")
    dicom.read(tmp_path)
    caplog.clear()
    with not_as_root(tmp_path):
        stray.chmod(0)
        assert dicom.read(tmp_path).data.shape == DATA.shape
    assert "1 of 8 files cannot be read and are skipped" in caplog.text


def archive(tmp_path: Path, **changes: bytes) -> Path:
    """A zip archive of a good series, with more members."""
    target = tmp_path / "series.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for path in write_series(tmp_path / "series", DATA, AFFINE):
            file.write(path, path.name)
        for name, content in changes.items():
            file.writestr(name, content)
    return target


@pytest.mark.parametrize("name", ["../x.dcm", "a/../../x.dcm", "/etc/x", r"..\x.dcm", "C:/x.dcm"])
def test_zip_members_outside_the_folder(tmp_path, name):
    refused(archive(tmp_path, **{name: b"x"}), "a member lies outside its folder")


@pytest.mark.parametrize("limit", ["_LARGEST_MEMBER", "_LARGEST_ARCHIVE"])
def test_zip_bombs_are_not_unpacked(tmp_path, monkeypatch, limit):
    """16 MiB of zeros in a few KiB; the limits are lowered so that the test is quick."""
    bomb = archive(tmp_path, **{"bomb.dcm": bytes(16 << 20)})
    monkeypatch.setattr(f"petrt.io.dicom.files.{limit}", 8 << 20)
    with allocating_less(4 << 20):
        refused(bomb, "zip archive: unpacks to .* its largest member to 16777216; the limits are")


def test_damaged_zip_archives(tmp_path):
    good = archive(tmp_path)
    content = bytearray(good.read_bytes())
    content[1000] ^= 0xFF
    good.write_bytes(content)
    refused(good, r"file \d of 7 in the zip archive: damaged")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    refused(tmp_path / "empty.zip", "no DICOM image among 0 files")


def test_encrypted_zip_archives(tmp_path):
    path = archive(tmp_path)
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1
    path.write_bytes(content)
    refused(path, "zip archive: encrypted")


def test_no_name_in_the_log(tmp_path, caplog):
    """pydicom quotes values that it finds faulty; PatientID may have 64 characters."""
    with caplog.at_level(logging.DEBUG):
        write_series(tmp_path, DATA, AFFINE, PatientID="DOE^JANE" * 20, Manufacturer=None)
        caplog.clear()
        dicom.read(tmp_path)
        dicom.inspect(tmp_path)
    assert "Manufacturer is absent" in caplog.text
    assert "DOE" not in caplog.text
    assert str(tmp_path) not in caplog.text


def test_two_statements_of_one_fact(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        write_series(tmp_path / "a", DATA, AFFINE, SpacingBetweenSlices="3.05", NumberOfSlices=5)
        assert dicom.read(tmp_path / "a").voxel_mm == pytest.approx((2, 2, 3))
        assert "7 slices, DICOM field NumberOfSlices is 5" in caplog.text
        assert "SpacingBetweenSlices" not in caplog.text
        write_series(tmp_path / "b", DATA, AFFINE, SpacingBetweenSlices=4)
        assert dicom.read(tmp_path / "b").voxel_mm == pytest.approx((2, 2, 3))
        assert "3 mm apart by their positions, which are used" in caplog.text
        assert "SpacingBetweenSlices is 4" in caplog.text
        beds = {"SeriesType": ["WHOLE BODY", "IMAGE"], "NumberOfTimeSlices": 6}
        write_series(tmp_path / "c", DATA, AFFINE, **beds)
        dicom.read(tmp_path / "c")
        assert "NumberOfTimeSlices" not in caplog.text
        write_series(tmp_path / "d", DATA, AFFINE, **{**beds, "SeriesType": ["DYNAMIC", "IMAGE"]})
        dicom.read(tmp_path / "d")
        assert "NumberOfTimeSlices is 6, frames here: 1" in caplog.text
        write_series(tmp_path / "e", DATA, AFFINE, FrameOfReferenceUID=lambda k: f"1.2.9.{k}")
        dicom.read(tmp_path / "e")
        assert "7 frames of reference" in caplog.text
    write_series(tmp_path / "f", DATA, AFFINE, PatientID=only(3, "DOE^JOHN", "DOE^JANE"))
    refused(tmp_path / "f", "its slices have 2 different PatientIDs")


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", b"\x02\x00" + bytes(400)]
)
@pytest.mark.parametrize("name", ["x.dcm", "x"])
def test_what_only_begins_like_dicom(tmp_path, content, name):
    write_series(tmp_path, DATA, AFFINE)
    (tmp_path / name).write_bytes(content)
    if name == "x.dcm":
        refused(tmp_path, "file 8 of 8: named as DICOM but|its DICOM header cannot be read")
    else:
        assert dicom.read(tmp_path).data.shape == SHAPE
