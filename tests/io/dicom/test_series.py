"""DICOM series are read to the right voxels in the right place, whatever the order of their files."""

from __future__ import annotations

import logging
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine, from_matvec
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from petrt.errors import InputError
from petrt.io import nifti
from petrt.io.dicom import series as dicom
from tests.helpers import allocating_less
from tests.io.dicom.dicom_files import FRAME, PATIENT, SERIES, STUDY, write_series

AXIAL = np.array([[-2.0, 0, 0, 90], [0, -2.5, 0, 126], [0, 0, 3, -72], [0, 0, 0, 1]])
ROTATION = nibabel.eulerangles.euler2mat(0.3, -0.2, 0.15)
OBLIQUE = from_matvec(ROTATION @ np.diag([-2.1, -2.3, 3.27]), [90.1, 12.3, -70.7])
# Rows of the picture run from head to foot, its slices from front to back.
CORONAL = from_matvec([[-2, 0, 0], [0, 0, -3], [0, -2.5, 0]], [60, 20, 110])
FEET_FIRST = AXIAL @ np.diag([1.0, 1, -1, 1])
SHAPE = (9, 11, 7)


def activity(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Slices of very different brightness, some voxels below zero."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** rng.uniform(1, 5, shape[2])
    return (rng.gamma(2.0, size=shape) - 0.2) * level


def assert_same_in_world(volume: nifti.Volume, data: np.ndarray, affine: np.ndarray) -> None:
    """Each voxel of ``data`` is found at its place in the world, within half a stored step."""
    indices = np.indices(data.shape).reshape(3, -1).T
    there = apply_affine(np.linalg.inv(volume.affine) @ affine, indices)
    assert np.abs(there - np.rint(there)).max() < 1e-5
    found = volume.data[tuple(np.rint(there).astype(int).T)].reshape(data.shape)
    step = np.abs(data).max(axis=(0, 1)) / 32000
    assert (np.abs(found - data) <= 0.51 * step).all()


@pytest.mark.parametrize("affine", [AXIAL, OBLIQUE, CORONAL, FEET_FIRST])
def test_voxels_lie_where_position_and_orientation_say(tmp_path, affine):
    data = activity()
    write_series(tmp_path, data, affine)
    volume = dicom.read(tmp_path)
    assert volume.data.dtype == np.float32
    assert volume.data.shape == SHAPE
    assert_same_in_world(volume, data, affine)
    assert volume.voxel_mm == pytest.approx(np.linalg.norm(affine[:3, :3], axis=0))
    assert volume.stats.negative == np.count_nonzero(volume.data < 0) > 0


def test_neither_names_nor_instance_numbers_give_the_order(tmp_path):
    data = activity()
    mixed = np.random.default_rng(1).permutation(SHAPE[2])
    write_series(tmp_path / "plain", data, OBLIQUE)
    expected = dicom.read(tmp_path / "plain")
    paths = write_series(
        tmp_path / "mixed",
        data,
        OBLIQUE,
        name=lambda k: f"{mixed[k]}.IMA",
        InstanceNumber=lambda k: SHAPE[2] - k,
    )
    for source in (tmp_path / "mixed", paths[::-1], (str(path) for path in paths)):
        volume = dicom.read(source)
        np.testing.assert_array_equal(volume.data, expected.data)
        np.testing.assert_array_equal(volume.affine, expected.affine)


def test_every_slice_has_its_own_slope(tmp_path):
    """Equal stored values, other activity."""
    slopes = 0.5 + np.arange(SHAPE[2])
    data = np.full(SHAPE, 100.0) * slopes
    write_series(tmp_path, data, AXIAL, RescaleSlope=lambda k: float(slopes[k]))
    np.testing.assert_array_equal(dicom.read(tmp_path).data, data.astype(np.float32))


def test_unsigned_values_above_half_of_their_range(tmp_path):
    stored = np.full((5, 4), 60000, np.uint16)
    changes = {"PixelRepresentation": 0, "PixelData": stored.tobytes(), "RescaleSlope": 2}
    write_series(tmp_path, np.zeros((4, 5, 3)), AXIAL, **changes)
    assert (dicom.read(tmp_path).data == 120000).all()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_transfer_syntaxes(tmp_path, syntax):
    write_series(tmp_path / "a", activity(), AXIAL, syntax=ExplicitVRLittleEndian)
    write_series(tmp_path / "b", activity(), AXIAL, syntax=syntax)
    expected = dicom.read(tmp_path / "a").data
    np.testing.assert_array_equal(dicom.read(tmp_path / "b").data, expected)


def test_slightly_uneven_slices_are_taken_as_even(tmp_path, caplog):
    """As GE writes them: 3.27 mm, with 3.19 and 3.29 in between."""
    places = np.cumsum([-20.0, 3.27, 3.29, 3.19, 3.27, 3.29, 3.27])
    position = lambda k: [90.0, -126.0, float(places[k])]  # noqa: E731
    write_series(tmp_path, activity(), AXIAL, ImagePositionPatient=position)
    with caplog.at_level(logging.INFO, "petrt"):
        volume = dicom.read(tmp_path)
    assert volume.voxel_mm[2] == pytest.approx((places[-1] - places[0]) / 6)
    assert volume.affine[2, 3] == pytest.approx(-20)
    assert "3.19 to 3.29 mm" in caplog.text


def test_a_volume_goes_on_as_nifti(tmp_path):
    write_series(tmp_path / "series", activity(), OBLIQUE)
    volume = dicom.read(tmp_path / "series")
    nifti.write(tmp_path / "out.nii.gz", volume.data, volume)
    again = nifti.read(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.affine, volume.affine, rtol=1e-6, atol=1e-5)


def test_other_files_are_left_out_and_counted(tmp_path, caplog):
    write_series(tmp_path / "below", activity(), AXIAL)
    (tmp_path / "notes.txt").write_text("DOE")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / ".hidden.dcm").write_bytes(b"")
    (tmp_path / ".folder").mkdir()
    (tmp_path / ".folder" / "x.dcm").write_bytes(b"")
    with caplog.at_level(logging.INFO, "petrt"):
        assert dicom.read(tmp_path).data.shape == SHAPE
    assert "2 of 9 files are not DICOM images" in caplog.text


def test_missing_maker_and_number_are_accepted_with_a_warning(tmp_path, caplog):
    write_series(tmp_path, activity(), AXIAL, Manufacturer=None, InstanceNumber=None)
    dicom.read(tmp_path)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "Manufacturer is absent in 7 files" in caplog.text
    assert "InstanceNumber is absent in 7 files" in caplog.text


def test_forced_units_leave_the_values_alone(tmp_path, caplog):
    write_series(tmp_path / "bq", activity(), AXIAL)
    write_series(tmp_path / "cnts", activity(), AXIAL, Units="PROPCNTS")
    volume = dicom.read(tmp_path / "cnts", force_units=True)
    np.testing.assert_array_equal(volume.data, dicom.read(tmp_path / "bq").data)
    assert "PROPCNTS" in volume.source
    assert "Units is PROPCNTS" in caplog.text


def test_one_of_several_series_by_its_uid(tmp_path):
    write_series(tmp_path / "a", activity(seed=1), AXIAL)
    write_series(tmp_path / "b", activity(seed=2), AXIAL, SeriesInstanceUID="1.2.3.5")
    assert_same_in_world(dicom.read(tmp_path, series="1.2.3.5"), activity(seed=2), AXIAL)
    assert_same_in_world(dicom.read(tmp_path, series=SERIES), activity(seed=1), AXIAL)


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"DOE JANE/{path.name}")
    return target


def test_a_zip_archive_reads_as_its_folder(tmp_path):
    write_series(tmp_path / "series", activity(), OBLIQUE)
    archive = zipped(tmp_path / "series", tmp_path / "series.zip")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("__MACOSX/DOE JANE/._0.dcm", b"resource fork")
    expected = dicom.read(tmp_path / "series")
    volume = dicom.read(archive)
    np.testing.assert_array_equal(volume.data, expected.data)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["series", "series.zip"]


def test_a_volume_is_held_once(tmp_path):
    """Beside the volume itself: a slice at a time, and half as much for the check of its voxels."""
    shape = (256, 256, 24)
    write_series(tmp_path, activity(shape), AXIAL)
    dicom.read(tmp_path)
    with allocating_less(1.75 * 4 * np.prod(shape)):
        dicom.read(tmp_path)


def test_what_a_series_says_of_itself(tmp_path):
    write_series(tmp_path, activity(), AXIAL)
    (info,) = dicom.inspect(tmp_path)
    assert (info.series_uid, info.study_uid, info.frame_of_reference_uid) == (SERIES, STUDY, FRAME)
    assert (info.modality, info.units, info.manufacturer) == ("PT", "BQML", "Maker")
    assert (info.columns, info.rows, info.slices) == SHAPE
    assert PATIENT not in str(info)
    assert "20000101" not in str(info)


def test_keys_tell_patients_and_scans_apart(tmp_path):
    other = {"PatientID": "ROE^RICHARD", "AcquisitionTime": "151617"}
    for name, changes in {"a": {}, "b": {}, "c": other}.items():
        write_series(tmp_path / name, activity(), AXIAL, **changes)
    a, b, c = (dicom.inspect(tmp_path / name)[0] for name in "abc")
    assert (a.patient_key, a.acquisition_key) == (b.patient_key, b.acquisition_key)
    assert a.patient_key != c.patient_key
    assert a.acquisition_key != c.acquisition_key
    salted, again = (dicom.inspect(tmp_path / name, salt=b"salt")[0] for name in "ab")
    assert salted.patient_key == again.patient_key != a.patient_key


def test_what_is_not_stated_has_no_key(tmp_path):
    absent = {"PatientID": None, "AcquisitionDate": None, "AcquisitionTime": "", "Units": None}
    write_series(tmp_path, activity(), AXIAL, **absent)
    (info,) = dicom.inspect(tmp_path)
    assert (info.patient_key, info.acquisition_key, info.units) == ("", "", "")


@pytest.fixture
def ge_series() -> Path:
    """267 slices of a GE Discovery ST; the test is skipped where they are absent."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(os.environ.get("PETRT_DATA", beside)) / "ge_fdg_sts001.zip"
    if not path.exists():
        pytest.skip("no ge_fdg_sts001.zip; set PETRT_DATA to its folder")
    return path


def test_a_real_series(ge_series, caplog):
    with caplog.at_level(logging.INFO, "petrt"):
        volume = dicom.read(ge_series)
    assert volume.data.shape == (128, 128, 267)
    assert volume.voxel_mm == pytest.approx((4.6875, 4.6875, 3.27), abs=1e-4)
    np.testing.assert_allclose(volume.affine[:3, 3], [297.65625, 297.65625, -881.3], atol=1e-3)
    assert "3.19 to 3.29 mm" in caplog.text
    # FDG, in Bq/ml: a body at rest holds a few thousand, bladder or brain some ten thousand.
    assert 1e4 < volume.data.max() < 1e6
    assert volume.stats.negative == 0


@pytest.mark.parametrize("affine", [AXIAL, OBLIQUE, CORONAL, FEET_FIRST])
def test_dcm2niix_reads_the_same(tmp_path, affine):
    """An independent reader; its axes may be others, so voxels are compared in the world."""
    program = pytest.importorskip("dcm2niix").bin
    write_series(tmp_path / "series", activity(), affine, RescaleSlope=0.5)
    command = [program, "-f", "out", "-z", "n", "-b", "n", "-o", str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "series")], check=True, stdout=subprocess.DEVNULL)
    theirs = nifti.read(tmp_path / "out.nii")
    ours = dicom.read(tmp_path / "series")
    indices = np.indices(ours.data.shape).reshape(3, -1).T
    there = apply_affine(np.linalg.inv(theirs.affine) @ ours.affine, indices)
    assert np.abs(there - np.rint(there)).max() < 1e-3
    found = theirs.data[tuple(np.rint(there).astype(int).T)].reshape(SHAPE)
    np.testing.assert_allclose(found, ours.data, rtol=1e-6)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_files_without_preamble_or_meta_header(tmp_path, syntax, meta, named):
    """As some archives and older senders store what they got."""
    paths = write_series(tmp_path / "a", activity(), AXIAL, syntax=syntax)
    usual = dicom.read(tmp_path / "a")
    for path in paths:
        length = pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
        path.write_bytes(path.read_bytes()[132 if meta else 132 + 12 + length :])
        if not named:
            path.rename(path.with_suffix(""))
    bare = dicom.read(tmp_path / "a")
    np.testing.assert_array_equal(bare.data, usual.data)
    np.testing.assert_array_equal(bare.affine, usual.affine)
    path = sorted((tmp_path / "a").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="file 4 of 7: truncated"):
        dicom.read(tmp_path / "a")


def test_deflated_files(tmp_path):
    write_series(tmp_path / "a", activity(), AXIAL)
    paths = write_series(tmp_path / "b", activity(), AXIAL, syntax=DeflatedExplicitVRLittleEndian)
    assert paths[0].stat().st_size < (tmp_path / "a" / paths[0].name).stat().st_size
    plain, deflated = dicom.read(tmp_path / "a"), dicom.read(tmp_path / "b")
    np.testing.assert_array_equal(deflated.data, plain.data)
    paths[3].write_bytes(paths[3].read_bytes()[:-60])
    with pytest.raises(InputError, match=r"file 4 of 7: its (DICOM header|pixels) cannot be read"):
        dicom.read(tmp_path / "b")


@pytest.mark.parametrize("packed", [False, True])
def test_a_volume_knows_the_file_of_each_slice(tmp_path, packed):
    """They open after the reading, when the archive was closed, too."""
    write_series(tmp_path / "series", activity(), FEET_FIRST)
    source = tmp_path / "series"
    if packed:
        source = zipped(source, tmp_path / "series.zip")
    volume = dicom.read(source)
    assert volume.series is not None
    assert (volume.series.uid, volume.series.units) == (SERIES, "BQML")
    (planes,) = volume.series.frames
    for k, plane in enumerate(planes):
        assert (plane.index, plane.factor) == (0, 1.0)
        with plane.header.file.open() as stream:
            whole = pydicom.dcmread(stream)
        slope = float(whole.RescaleSlope)
        np.testing.assert_allclose(volume.data[:, :, k], whole.pixel_array.T * slope, rtol=1e-6)


def test_private_elements_are_found_in_any_block(tmp_path):
    """Another creator may have taken the first block."""
    from petrt.io.dicom.header import PHILIPS

    for path in write_series(tmp_path, activity(), AXIAL):
        dataset = pydicom.dcmread(path)
        dataset.private_block(0x7053, "Someone else", create=True).add_new(0x09, "DS", "5")
        dataset.private_block(0x7053, PHILIPS[1], create=True).add_new(0x09, "DS", "2.5")
        dataset.save_as(path)
    header = dicom.read(tmp_path).series.frames[0][0].header
    assert float(header.private(*PHILIPS, 0x09)) == 2.5
    assert header.private(*PHILIPS, 0x00) is None
    assert header.private(0x0009, "GEMS_PETD_01", 0x0D) is None


@pytest.fixture
def reference_objects(tmp_path) -> Path:
    """The digital reference objects of the IBSI for SUV; the test is skipped where they are absent."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(os.environ.get("PETRT_DATA", beside)) / "ibsi_suv_dro.tar.xz"
    if not path.exists():
        pytest.skip("no ibsi_suv_dro.tar.xz; set PETRT_DATA to its folder")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "ibsi_suv_dro"


def test_reference_objects_of_every_kind(reference_objects, caplog):
    """One phantom in many units and timings: insert, background and cold insert are 4 : 1 : 0.2 in all."""
    folders = sorted(reference_objects.glob("DRO_*/"))
    assert len(folders) == 11
    with caplog.at_level(logging.INFO, "petrt"):
        for folder in folders:
            data = dicom.read(folder).data
            middle = float(np.median(data[data > 0]))
            assert data.max() / middle == pytest.approx(4, rel=0.01), folder.name
            for level in (0.2, 1, 4):
                inside = np.count_nonzero(np.isclose(data, level * middle, rtol=0.01))
                assert inside > 400, (folder.name, level)
    assert caplog.text.count("brought to the earliest") == 1
