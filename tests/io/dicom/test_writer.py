"""A derived PET series: what it keeps of its source, what is new, and that it appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from petrt.errors import InputError, UsageError
from petrt.io import nifti
from petrt.io.dicom import series as dicom
from petrt.io.dicom import writer
from petrt.io.dicom.header import quiet
from petrt.io.dicom.writer import derived_key, write_series
from tests.helpers import not_as_root, write_nifti
from tests.io.dicom.clinical import SECRET, activity, clinical
from tests.io.dicom.dicom_files import change, radiopharmaceutical
from tests.io.dicom.dicom_files import write_series as write_plain
from tests.io.dicom.dynamic import HALF_LIFE_S, times, write_frames
from tests.io.dicom.multiframe import enhanced
from tests.io.dicom.written import BY, assert_written_back


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def slices(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def test_values_and_grid_come_back(tmp_path):
    clinical(tmp_path / "in")
    assert_written_back(dicom.read(tmp_path / "in"), tmp_path / "out")


def test_new_values_have_a_slope_of_their_own_slice(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    data = volume.data * np.random.default_rng(1).gamma(5, 0.2, volume.data.shape).astype(
        np.float32
    )
    write_series(tmp_path / "out", data, volume, BY)
    for k, dataset in enumerate(slices(tmp_path / "out")):
        stored = dataset.pixel_array
        assert 27000 < np.abs(stored).max() <= 32767
        assert len(str(dataset.RescaleSlope)) <= 16
        assert dataset.RescaleIntercept == 0
        assert (dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue) == (
            stored.min(),
            stored.max(),
        )
        error = np.abs(stored.T * float(dataset.RescaleSlope) - data[:, :, k])
        assert error.max() <= 0.5001 * float(dataset.RescaleSlope)


SAME = (
    *("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "PatientWeight"),
    *("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "FrameReferenceTime"),
    *("ActualFrameDuration", "DecayCorrection", "DecayFactor", "Units", "CorrectedImage"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("InstanceNumber", "ImageIndex", "NumberOfSlices", "WindowCenter", "Manufacturer"),
)


def test_what_stays_and_what_is_new(tmp_path):
    clinical(tmp_path / "in", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    volume = dicom.read(tmp_path / "in")
    write_series(tmp_path / "out", volume.data, volume, BY)
    sources, results = slices(tmp_path / "in"), slices(tmp_path / "out")
    assert min(path.name for path in (tmp_path / "out").iterdir()) == "0001.dcm"
    series = {dataset.SeriesInstanceUID for dataset in results}
    assert len(series) == 1
    assert re.fullmatch(r"2\.25\.\d{1,39}", series.pop())
    assert len({dataset.SOPInstanceUID for dataset in results}) == len(results)
    for source, result in zip(sources, results, strict=True):
        for field in SAME:
            assert result[field] == source[field], field
        drug = result.RadiopharmaceuticalInformationSequence[0]
        assert drug.RadionuclideTotalDose == 350000000
        assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
        assert list(result.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
        assert result.SeriesNumber == 1004
        assert result.SeriesDescription == "PET WB AC petrt NOT FOR DIAGNOSTIC USE"
        assert "NOT FOR DIAGNOSTIC USE" in result.DerivationDescription
        (reference,) = result.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        (equipment,) = result.ContributingEquipmentSequence
        assert equipment.ManufacturerModelName == "demo"
        assert "ab" * 32 in equipment.ContributionDescription
        assert "LossyImageCompression" not in result
    assert derived_key(tmp_path / "out") == BY.key


def test_private_elements_stay_only_if_they_are_known_and_plain(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    write_series(tmp_path / "out", volume.data, volume, BY)
    for content in contents(tmp_path / "out").values():
        assert SECRET.encode() not in content
    for result in slices(tmp_path / "out"):
        philips = result.private_block(0x7053, "Philips PET Private Group")
        assert (philips[0x00].value, philips[0x09].value) == (0.000123, 1.75)
        assert result.private_block(0x0009, "GEMS_PETD_01")[0x0D].value == "20000101100102.00"
        private = [element.tag for element in result if element.tag.is_private]
        assert len(private) == 5  # two creators, two numbers, a time
        assert "IconImageSequence" not in result
        assert not [tag for tag in result if tag.tag.group >> 8 == 0x60]


def test_two_series_of_one_scan_differ_and_two_runs_do_not(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    before = contents(tmp_path / "in")
    ways = {
        "a": BY,
        "b": BY,
        "model": replace(BY, sha256="cd" * 32),
        "settings": replace(BY, settings='{"seed": 1}'),
        "std": replace(BY, role="std"),
    }
    for name, by in ways.items():
        write_series(tmp_path / name, volume.data, volume, by)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "in") == before
    firsts = [slices(tmp_path / name)[0] for name in ("in", "a", "model", "settings", "std")]
    for field in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({first[field].value for first in firsts}) == 5
    assert firsts[-1].SeriesNumber == 2004
    assert "petrt std" in firsts[-1].SeriesDescription
    assert firsts[-1].WindowWidth == pytest.approx(float(volume.data.max()), rel=1e-4)


def test_long_and_foreign_texts(tmp_path):
    """A description in Japanese, too long with its suffix; a name that the character set cannot hold."""
    text = "ペット検査" * 12
    clinical(
        tmp_path / "in",
        SpecificCharacterSet="ISO_IR 192",
        SeriesDescription=text[:60],
        PatientName="山田^太郎",
    )
    volume = dicom.read(tmp_path / "in")
    write_series(tmp_path / "out", volume.data, volume, BY)
    result = slices(tmp_path / "out")[0]
    assert len(result.SeriesDescription) == 64
    assert result.SeriesDescription.startswith(text[:30])
    assert result.SeriesDescription.endswith("petrt NOT FOR DIAGNOSTIC USE")
    assert str(result.PatientName) == "山田^太郎"


@pytest.mark.parametrize(
    ("field", "value"),
    [("SpecificCharacterSet", "NO_SUCH"), ("PatientWeight", "heavy"), ("SeriesNumber", "four")],
)
def test_faulty_fields_are_carried_as_they_are(tmp_path, field, value):
    clinical(tmp_path / "in")
    for path in (tmp_path / "in").iterdir():
        with quiet():
            dataset = pydicom.dcmread(path)
            tag = pydicom.datadict.tag_for_keyword(field)
            element = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(tag),
                pydicom.datadict.dictionary_VR(tag),
                len(value) + len(value) % 2,
                value.encode() + b" " * (len(value) % 2),
                0,
                False,
                True,
            )
            dataset._dict[pydicom.tag.Tag(tag)] = element
            dataset.save_as(path)
    volume = dicom.read(tmp_path / "in")
    write_series(tmp_path / "out", volume.data, volume, BY)
    if field != "SeriesNumber":
        assert value.encode() in contents(tmp_path / "out")["0001.dcm"]
    np.testing.assert_array_equal(dicom.read(tmp_path / "out").data, volume.data)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_sources_of_any_encoding(tmp_path, syntax):
    write_plain(tmp_path / "in", activity(), np.diag([2.0, 2, 3, 1]), syntax=syntax)
    volume = dicom.read(tmp_path / "in")
    assert_written_back(volume, tmp_path / "out")
    result = slices(tmp_path / "out")[0]
    assert result.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert result.EnergyWindowRangeSequence[0].EnergyWindowLowerLimit == 435


def test_a_zip_archive_is_a_source_too(tmp_path):
    paths = clinical(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    assert_written_back(dicom.read(tmp_path / "in.zip"), tmp_path / "out")
    plain = dicom.read(tmp_path / "in")
    write_series(tmp_path / "plain", plain.data, plain, BY)
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_times_and_gates_go_out_with_their_timing(tmp_path):
    write_frames(tmp_path / "in", AcquisitionTime=times)
    volume = dicom.read(tmp_path / "in")
    again = assert_written_back(volume, tmp_path / "out")
    assert again.data.shape[3] == 4
    gates = {"SeriesType": lambda t: ["GATED", "IMAGE"], "TriggerTime": lambda t: 120.5 * t}
    write_frames(tmp_path / "gated", **gates)
    again = assert_written_back(dicom.read(tmp_path / "gated"), tmp_path / "gates")
    assert again.series is not None
    assert [f[0].header.numbers("TriggerTime")[0] for f in again.series.frames] == [
        0,
        120.5,
        241,
        361.5,
    ]


def test_beds_go_back_to_their_own_clocks(tmp_path):
    """Slices without decay correction were brought to one clock on reading."""
    rate = np.log(2) / HALF_LIFE_S
    decay = np.exp(-rate * 300 * np.array([1, 1, 1, 0, 0, 0]))
    write_plain(
        tmp_path / "in",
        activity() * decay,
        np.diag([2.0, 2, 3, 1]),
        DecayCorrection="NONE",
        AcquisitionTime=lambda k: "100500" if k < 3 else "100000",
        RadiopharmaceuticalInformationSequence=radiopharmaceutical(HALF_LIFE_S),
    )
    volume = dicom.read(tmp_path / "in")
    assert volume.series is not None
    assert {plane.factor == 1 for plane in volume.series.frames[0]} == {True, False}
    assert_written_back(volume, tmp_path / "out")
    for source, result in zip(slices(tmp_path / "in"), slices(tmp_path / "out"), strict=True):
        np.testing.assert_allclose(
            result.pixel_array * float(result.RescaleSlope),
            source.pixel_array * float(source.RescaleSlope),
            rtol=1e-5,
            atol=0.6 * float(result.RescaleSlope),
        )


@pytest.mark.parametrize("legacy", [False, True])
def test_frames_of_enhanced_pet_become_slices(tmp_path, legacy):
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path, times=2, legacy=legacy)
    again = assert_written_back(dicom.read(path), tmp_path / "out")
    assert again.data.shape[3] == 2
    results = slices(tmp_path / "out")
    assert [result.InstanceNumber for result in results] == list(range(1, 15))
    first, last = results[0], results[-1]
    assert first.SOPClassUID == "1.2.840.10008.5.1.4.1.1.128"
    assert (first.NumberOfSlices, last.ImageIndex, first.CountsSource) == (7, 14, "EMISSION")
    assert not {"NumberOfFrames", "PerFrameFunctionalGroupsSequence"} & set(first.dir())
    assert "RealWorldValueMappingSequence" not in first
    if not legacy:
        assert list(first.SeriesType) == ["DYNAMIC", "IMAGE"]
        assert last.FrameReferenceTime - first.FrameReferenceTime == 3_600_000
        frames = {result.SourceImageSequence[0].ReferencedFrameNumber for result in results}
        assert frames == set(range(1, 15))


@pytest.mark.parametrize("compress", ["rle", "jpegls"])
def test_lossless_compression(tmp_path, compress):
    if compress == "jpegls":
        pytest.importorskip("jpeg_ls")
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    assert_written_back(volume, tmp_path / "out", compress=compress)
    plain = tmp_path / "plain"
    write_series(plain, volume.data, volume, BY)
    for one, other in zip(slices(tmp_path / "out"), slices(plain), strict=True):
        assert one.file_meta.TransferSyntaxUID.is_compressed
        assert one.SOPInstanceUID == other.SOPInstanceUID
        np.testing.assert_array_equal(one.pixel_array, other.pixel_array)


def test_what_cannot_be_written(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    source = write_nifti(tmp_path / "x.nii", volume.data)
    with pytest.raises(InputError, match="not from DICOM"):
        write_series(tmp_path / "out", volume.data, nifti.read(source), BY)
    with pytest.raises(InputError, match="shape"):
        write_series(tmp_path / "out", volume.data[1:], volume, BY)
    with pytest.raises(InputError, match="NaN or infinite"):
        write_series(tmp_path / "out", volume.data * np.float32(np.nan), volume, BY)
    with pytest.raises(UsageError, match="compress is 'zip'; choose rle or jpegls"):
        write_series(tmp_path / "out", volume.data, volume, BY, compress="zip")  # type: ignore[arg-type]
    change(tmp_path / "in" / "DOE_JANE.0002.dcm", BurnedInAnnotation="YES")
    with pytest.raises(InputError, match=r"file 3 of 6: text is burned into its pixels"):
        write_series(tmp_path / "out", volume.data, volume, BY)
    (tmp_path / "in" / "DOE_JANE.0000.dcm").unlink()
    with pytest.raises(InputError, match="file 1 of 6"):
        write_series(tmp_path / "out", volume.data, volume, BY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x.nii"]


def test_folders_that_are_in_the_way(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")

    def write(folder: Path, **how: Any) -> None:
        write_series(folder, volume.data, volume, BY, **how)

    before = contents(tmp_path / "in")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="also an input"):
            write(tmp_path / "in", overwrite=overwrite)
        with pytest.raises(UsageError, match="own folder"):
            write(tmp_path / "in" / "out", overwrite=overwrite)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0001.dcm").write_bytes(before["DOE_JANE.0000.dcm"])
    with pytest.raises(UsageError, match="the output exists; choose another folder"):
        write(tmp_path / "other", overwrite=True)
    (tmp_path / "new").mkdir()
    write(tmp_path / "new")
    with pytest.raises(UsageError, match="the output exists; overwrite=True replaces it"):
        write(tmp_path / "new")
    write(tmp_path / "new", overwrite=True)
    (tmp_path / "new" / "note.txt").touch()
    assert derived_key(tmp_path / "new") is None
    with pytest.raises(UsageError, match="choose another folder"):
        write(tmp_path / "new", overwrite=True)
    assert contents(tmp_path / "in") == before


def test_a_folder_without_permission(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    (tmp_path / "closed").mkdir(mode=0o500)
    with (
        not_as_root(tmp_path),
        pytest.raises(UsageError, match="out: cannot write: no permission to write in this folder"),
    ):
        write_series(tmp_path / "closed" / "out", volume.data, volume, BY)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("number", [1, 4, 6])
def test_a_full_disk_leaves_nothing_and_the_rerun_succeeds(tmp_path, monkeypatch, fault, number):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    save, written = writer._save, []

    def full(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == number:
            path.write_bytes(b"half")
            raise OSError(fault, os.strerror(fault))
        save(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(writer, "_save", full)
        with pytest.raises(UsageError, match=r"out: cannot write: the (disk|file)"):
            write_series(tmp_path / "out", volume.data, volume, BY)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert_written_back(volume, tmp_path / "out")


KILLED = """
import sys, numpy as np
from petrt.io.dicom import series, writer
from tests.io.dicom.written import BY
volume = series.read(sys.argv[1])
print("ready", flush=True)
for number in range(1000):
    writer.write_series(sys.argv[2], volume.data, volume, BY, overwrite=True)
"""


def kill_at(moment: float, source: Path, out: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, source, out], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize(
    "times_killed", [3, pytest.param(100, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_a_kill_leaves_no_part_of_a_series(tmp_path, times_killed):
    clinical(tmp_path / "in")
    before = contents(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    rng = np.random.default_rng(0)
    for _ in range(times_killed):
        kill_at(rng.uniform(0, 0.25), tmp_path / "in", tmp_path / "out")
        assert not (tmp_path / "out").exists() or derived_key(tmp_path / "out") == BY.key
    assert contents(tmp_path / "in") == before
    write_series(tmp_path / "out", volume.data, volume, BY, overwrite=True)
    np.testing.assert_array_equal(dicom.read(tmp_path / "out").data, volume.data)
