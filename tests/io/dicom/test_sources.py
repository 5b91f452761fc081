"""Where series come from: folders with all sorts of files, single files, DICOMDIR, copies."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from petrt.errors import InputError
from petrt.io import source
from petrt.io.dicom import files
from petrt.io.dicom import series as dicom
from tests.helpers import write_nifti
from tests.io.dicom.dicom_files import AFFINE, DATA, SERIES, change, write_series
from tests.io.dicom.discs import CT, disc


@pytest.fixture
def usual(tmp_path) -> np.ndarray:
    write_series(tmp_path / "usual", DATA, AFFINE)
    return dicom.read(tmp_path / "usual").data


def test_a_study_with_ct_beside_one_pet_series(tmp_path, usual, caplog):
    write_series(tmp_path / "study" / "a" / "b", DATA, AFFINE)
    write_series(tmp_path / "study" / "a" / "ct", DATA[:, :, :3], AFFINE, **CT)
    (tmp_path / "study" / "report.pdf").write_bytes(b"%PDF DOE")
    with caplog.at_level(logging.INFO, "petrt"):
        np.testing.assert_array_equal(dicom.read(tmp_path / "study").data, usual)
    assert "other series are left out: 1.2.7 (CT, 3 files)" in caplog.text
    assert "1 of 11 files are not DICOM images" in caplog.text
    infos = dicom.inspect(tmp_path / "study")
    assert sorted((info.modality, info.pet, info.slices) for info in infos) == [
        ("CT", False, 3),
        ("PT", True, 7),
    ]


def test_a_picture_of_the_pet_series_is_no_pet_series(tmp_path, usual):
    write_series(tmp_path / "study", DATA, AFFINE)
    kind = pydicom.uid.SecondaryCaptureImageStorage
    other = {"SeriesInstanceUID": "1.2.7", "SOPClassUID": kind}
    write_series(tmp_path / "study" / "sc", DATA[:, :, :1], AFFINE, **other)
    np.testing.assert_array_equal(dicom.read(tmp_path / "study").data, usual)


def test_stray_files_that_cannot_be_read_are_counted(tmp_path, usual, caplog, monkeypatch):
    """Permissions do not stop root, so the system's refusal is imitated."""
    write_series(tmp_path / "study", DATA, AFFINE)
    (tmp_path / "study" / "DOE").write_bytes(b"")

    def opened(path: Path, label: str):
        if path.suffix != ".dcm":
            raise InputError(f"{label}: cannot be opened: Permission denied", "check")
        return open(path, "rb")

    monkeypatch.setattr(files, "_opened", opened)
    np.testing.assert_array_equal(dicom.read(tmp_path / "study").data, usual)
    assert "1 of 8 files cannot be read and are skipped" in caplog.text
    assert "DOE" not in caplog.text


def test_a_damaged_file_without_the_name_leaves_a_gap(tmp_path):
    path = write_series(tmp_path, DATA, AFFINE, name="IM{}".format)[3]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="6 slices, DICOM field NumberOfSlices is 7"):
        dicom.read(tmp_path)


def test_copies_are_taken_once(tmp_path, usual, caplog):
    write_series(tmp_path / "study", DATA, AFFINE)
    shutil.copytree(tmp_path / "study", tmp_path / "study" / "again")
    np.testing.assert_array_equal(dicom.read(tmp_path / "study").data, usual)
    assert "7 files are copies of others and are skipped" in caplog.text


def test_a_dicomdir_stands_for_what_it_lists(tmp_path, usual):
    path = disc(tmp_path)
    write_series(path.parent / "more", DATA, AFFINE, SeriesInstanceUID="1.2.99")
    assert source.is_dicom(path)
    np.testing.assert_array_equal(dicom.read(path).data, usual)
    with pytest.raises(InputError, match="2 DICOM PET series"):
        dicom.read(path.parent)


def test_the_names_of_a_dicomdir_in_small_letters(tmp_path, usual):
    path = disc(tmp_path)
    for name in sorted(path.parent.rglob("*"), reverse=True):
        name.rename(name.with_name(name.name.lower()))
    np.testing.assert_array_equal(dicom.read(path.with_name("dicomdir")).data, usual)


def test_a_dicomdir_whose_files_are_absent(tmp_path):
    path = disc(tmp_path)
    next(p for p in sorted(path.parent.rglob("*")) if p.is_file() and p != path).unlink()
    with pytest.raises(InputError, match="1 of the 10 images that it lists are absent"):
        dicom.read(path)


@pytest.mark.parametrize("name", [["..", "pet", "x"], ["/etc/passwd"], "", ["a/b"]])
def test_a_dicomdir_that_leads_elsewhere(tmp_path, name):
    path = disc(tmp_path)
    with pydicom.config.disable_value_validation():
        content = pydicom.dcmread(path)
        images = [r for r in content.DirectoryRecordSequence if r.DirectoryRecordType == "IMAGE"]
        images[0].ReferencedFileID = name
        content.save_as(path)
    with pytest.raises(InputError, match="outside its folder"):
        dicom.read(path)


def test_a_damaged_dicomdir(tmp_path):
    path = disc(tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"DICOMDIR: (damaged|it lists no image)"):
        dicom.read(path)


def test_one_slice_has_its_stated_thickness(tmp_path):
    (path,) = write_series(tmp_path, DATA[:, :, :1], AFFINE, SliceThickness=4.5)
    for each in (path, tmp_path, str(path)):
        volume = dicom.read(each)
        assert volume.data.shape == (8, 9, 1)
        assert volume.voxel_mm == pytest.approx((2, 2, 4.5))


def test_what_is_dicom(tmp_path):
    (path,) = write_series(tmp_path / "a" / "b", DATA[:, :, :1], AFFINE, name="IM{}".format)
    nifti = write_nifti(tmp_path / "x.nii", DATA.astype(np.float32))
    (tmp_path / "notes.txt").write_text("x")
    assert source.is_dicom(path)
    assert source.is_dicom([nifti])
    assert source.is_dicom_folder(tmp_path / "a")
    assert not source.is_dicom_folder(nifti)
    for each in (nifti, tmp_path / "notes.txt", tmp_path / "absent", tmp_path / "nul\0"):
        assert not source.is_dicom(each)
    shutil.rmtree(tmp_path / "a")
    assert not source.is_dicom_folder(tmp_path)


def test_the_hash_of_a_series_is_of_its_content(tmp_path):
    write_series(tmp_path / "a", DATA, AFFINE)
    paths = write_series(tmp_path / "b", DATA, AFFINE, name="{}.IMA".format)
    write_series(tmp_path / "b" / "ct", DATA[:, :, :3], AFFINE, **CT)
    assert source.sha256(tmp_path / "a") == source.sha256(tmp_path / "b")
    change(paths[2], RescaleSlope=3)
    assert source.sha256(tmp_path / "a") != source.sha256(tmp_path / "b")


def test_a_choice_among_several(tmp_path):
    write_series(tmp_path / "a", DATA, AFFINE)
    assert source.among_several(tmp_path, ["1.2.7"]) is None
    write_series(tmp_path / "b", DATA, AFFINE, SeriesInstanceUID="1.2.7")
    assert source.among_several(tmp_path, ["1.2.7"]) == ["1.2.7"]
    assert source.among_several(tmp_path, None) is None
    assert dicom.series_uids(tmp_path) == [SERIES, "1.2.7"]
