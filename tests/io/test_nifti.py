"""Volumes of every accepted kind are read right, and outputs lie on exactly the input's grid."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension, Nifti1Header
from nibabel.nifti2 import Nifti2Header

from petrt.errors import InputError, UsageError
from petrt.io import nifti
from tests.io.nifti_files import GRID_FIELDS

# Numbers that float32 cannot hold exactly, so that recomputing any of them would show.
ROTATION = nibabel.eulerangles.euler2mat(0.1, 0.2, 0.3)
OBLIQUE = nibabel.affines.from_matvec(ROTATION @ np.diag([2.1, 2.3, 3.27]), [-90.1, 12.3, 70.7])
LAS = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])


def make(
    path: Path,
    affine: np.ndarray = OBLIQUE,
    shape: tuple[int, ...] = (9, 11, 7),
    dtype: str = "<f4",
    slope: float | None = None,
    image_class: type = nibabel.Nifti1Image,
    header_class: type = Nifti1Header,
) -> Path:
    """A file whose every grid field is set to something particular."""
    header = header_class(endianness=dtype[0] if dtype[0] in "<>" else "<")
    header.set_data_dtype(np.dtype(dtype))
    data = np.random.default_rng(0).integers(0, 100, shape)
    image = image_class(data.astype(dtype), None, header)
    image.header.set_sform(affine, 4)
    # A qform that is none of the sform's and would not survive being computed anew.
    image.header["qform_code"] = 1
    image.header["pixdim"][:4] = [-1, 2.2, 2.3, 3.1]
    for field, value in zip(GRID_FIELDS[3:9], [0.1, 0.7, 0.3, 5.1, 6.2, 7.3], strict=True):
        image.header[field] = value
    image.header.set_xyzt_units("mm", "sec")
    image.header["toffset"] = 3.3
    image.header["pixdim"][4:] = [1.7, 0.1, 0.2, 0.3]
    image.header["cal_max"] = 55
    image.header["descrip"] = b"DOE^JOHN 1970"
    image.header["intent_name"] = b"DOE"
    if slope is not None:
        image.header.set_slope_inter(slope, -3.0)
    image.to_filename(path)
    return path


def on_disk(path: Path) -> Nifti1Header:
    """The header as stored; nibabel.load would reset the scaling."""
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    cls = Nifti2Header if content[:4] in (b"\x1c\2\0\0", b"\0\0\2\x1c") else Nifti1Header
    endian = "<" if content[0] else ">"
    return cls(content[: cls.template_dtype.itemsize], endian)


NIFTI2 = {"image_class": nibabel.Nifti2Image, "header_class": Nifti2Header}
CASES = {
    "float32": {},
    "int16 with slope": {"dtype": "<i2", "slope": 0.37},
    "uint8": {"dtype": "u1"},
    "float64": {"dtype": "<f8"},
    "big-endian int16 with slope": {"dtype": ">i2", "slope": 1.9},
    "big-endian float32": {"dtype": ">f4"},
    "LAS": {"affine": LAS},
    "4-D": {"shape": (9, 8, 7, 3), "dtype": "<i2"},
    "4-D with one frame": {"shape": (9, 8, 7, 1)},
    "one slice": {"shape": (9, 8, 1)},
    "NIfTI-2": NIFTI2,
    "NIfTI-2 big-endian 4-D": NIFTI2 | {"dtype": ">i2", "shape": (8, 8, 8, 2)},
    "pair": {"image_class": nibabel.Nifti1Pair, "header_class": nibabel.nifti1.Nifti1PairHeader},
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("case", CASES)
def test_read_agrees_with_nibabel_and_written_grid_is_bit_for_bit_equal(tmp_path, case, suffix):
    options = CASES[case]
    pair = options.get("image_class") is nibabel.Nifti1Pair
    path = make(tmp_path / (f"in.img{suffix[4:]}" if pair else f"in{suffix}"), **options)
    before = path.read_bytes()
    volume = nifti.read(path)
    reference = nibabel.load(path)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, reference.get_fdata(dtype=np.float64).astype("f4"))
    np.testing.assert_array_equal(volume.affine, reference.affine)
    assert volume.path == path

    out = tmp_path / f"out{suffix}"
    result = np.random.default_rng(1).random(volume.data.shape, dtype=np.float32)
    nifti.write(out, result, volume)
    stored, written = on_disk(out), nibabel.load(out)
    np.testing.assert_array_equal(np.asarray(written.dataobj), result)
    assert written.get_data_dtype() == np.float32
    assert written.shape == reference.shape
    np.testing.assert_array_equal(written.affine, reference.affine)
    for field in GRID_FIELDS:
        original, copy = np.asarray(reference.header[field]), np.asarray(stored[field])
        assert original.astype(copy.dtype).tobytes() == copy.tobytes(), field
    assert stored["magic"].item() == (b"n+2" if "NIfTI-2" in case else b"n+1")
    assert (stored["scl_slope"], stored["scl_inter"]) == (1, 0)
    assert (stored["cal_max"], stored["cal_min"]) == (0, 0)
    assert b"DOE" not in bytes(stored.binaryblock)
    assert b"not for diagnostic use" in stored["descrip"].item()
    assert path.read_bytes() == before


def test_qform_alone_and_no_orientation(tmp_path, caplog):
    path = make(tmp_path / "in.nii", affine=LAS)
    content = bytearray(path.read_bytes())
    content[254:256] = bytes(2)  # sform_code
    path.write_bytes(content)
    volume = nifti.read(path)
    np.testing.assert_array_equal(volume.affine, nibabel.load(path).affine)
    content[76:80] = bytes(4)  # pixdim[0], qfac: 0 means 1
    path.write_bytes(content)
    with caplog.at_level(logging.CRITICAL, "nibabel"):
        reference = nibabel.load(path)
    volume = nifti.read(path)
    np.testing.assert_array_equal(volume.affine, reference.affine)
    nifti.write(tmp_path / "out.nii", volume.data, volume)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "out.nii").affine, reference.affine)

    content[252:254] = bytes(2)  # qform_code
    path.write_bytes(content)
    caplog.clear()
    volume = nifti.read(path)
    assert "no orientation stored" in caplog.text
    np.testing.assert_array_equal(volume.affine, nibabel.load(path).affine)
    nifti.write(tmp_path / "out2.nii", volume.data, volume)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "out2.nii").affine, volume.affine)


@pytest.mark.parametrize("image_class", [nibabel.AnalyzeImage, nibabel.Spm2AnalyzeImage])
def test_analyze_is_written_as_nifti_with_nibabel_s_affine(tmp_path, image_class):
    data = np.arange(9 * 8 * 7, dtype=np.int16).reshape(9, 8, 7)
    path = tmp_path / "in.img"
    image_class(data, LAS * [[0.5], [0.5], [1.75], [1.0]]).to_filename(path)
    reference = nibabel.load(path)
    for name in (path, tmp_path / "in.hdr"):
        volume = nifti.read(name)
        np.testing.assert_array_equal(volume.data, data)
        np.testing.assert_array_equal(volume.affine, reference.affine)
        assert volume.source == "Analyze, int16, little-endian"
    nifti.write(tmp_path / "out.nii.gz", volume.data, volume)
    written = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written.affine, reference.affine)
    assert (written.header["sform_code"], written.header["qform_code"]) == (2, 0)


def test_slope_zero_means_unscaled_and_is_logged(tmp_path, caplog):
    path = make(tmp_path / "in.nii", dtype="<i2", slope=2.0)
    content = bytearray(path.read_bytes())
    raw = np.frombuffer(content[352:], "<i2").reshape((9, 11, 7), order="F")
    content[112:116] = bytes(4)
    content[116:120] = np.float32(np.nan).tobytes()  # without a slope, the intercept means nothing
    path.write_bytes(content)
    with caplog.at_level(logging.INFO, "petrt"):
        np.testing.assert_array_equal(nifti.read(path).data, raw)
    assert "in.nii: scl_slope is 0" in caplog.text


def test_wrong_bitpix_is_only_a_warning(tmp_path, caplog):
    path = make(tmp_path / "in.nii")
    expected = nifti.read(path).data
    content = bytearray(path.read_bytes())
    content[72] = 16
    path.write_bytes(content)
    np.testing.assert_array_equal(nifti.read(path).data, expected)
    assert "bitpix is 16, datatype means 32" in caplog.text


@pytest.mark.parametrize(("unit", "millimetres"), [("micron", 0.001), ("meter", 1000.0)])
def test_length_units_are_respected(tmp_path, unit, millimetres):
    image = nibabel.Nifti1Image(np.ones((9, 9, 9), np.float32), np.diag([2.0, 2.0, 4.0, 1.0]))
    image.header.set_xyzt_units(unit)
    volume = nifti.from_image(image)
    assert volume.voxel_mm == pytest.approx((2 * millimetres, 2 * millimetres, 4 * millimetres))
    np.testing.assert_array_equal(volume.affine, image.affine)
    nifti.write(tmp_path / "out.nii", volume.data, volume)
    written = nibabel.load(tmp_path / "out.nii")
    np.testing.assert_array_equal(written.affine, image.affine)
    assert written.header.get_xyzt_units()[0] == unit


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_equal_data_give_equal_files(tmp_path, name):
    volume = nifti.read(make(tmp_path / "in.nii"))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        nifti.write(tmp_path / folder / f"{folder}{name}", volume.data, volume)
    first, second = ((tmp_path / f / f"{f}{name}").read_bytes() for f in "ab")
    assert first == second
    if name.endswith(".gz"):
        assert first[4:8] == bytes(4)  # no time


def test_extensions_with_patient_data_are_dropped(tmp_path):
    image = nibabel.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4))
    image.header.extensions.append(Nifti1Extension("comment", b"DOE^JOHN"))
    image.to_filename(tmp_path / "in.nii")
    volume = nifti.read(tmp_path / "in.nii")
    assert np.all(volume.data == 1)
    nifti.write(tmp_path / "out.nii", volume.data, volume)
    assert b"DOE" not in (tmp_path / "out.nii").read_bytes()
    assert (tmp_path / "out.nii").stat().st_size == 352 + volume.data.nbytes


def test_description_is_cut_to_its_field(tmp_path):
    volume = nifti.read(make(tmp_path / "in.nii"))
    nifti.write(tmp_path / "out.nii", volume.data, volume, description="ä" + "x" * 100)
    stored = on_disk(tmp_path / "out.nii")
    assert stored["descrip"].item() == b"?" + b"x" * 78
    assert stored["aux_file"].item() == b""


def test_output_paths_are_checked(tmp_path):
    path = make(tmp_path / "in.nii")
    volume = nifti.read(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="also an input"):
        nifti.write(path, volume.data, volume, overwrite=True)
    for name in ("out.img", "out.mgz", "out"):
        with pytest.raises(UsageError, match=r"end its name in \.nii"):
            nifti.write(tmp_path / name, volume.data, volume)
    nifti.write(tmp_path / "out.nii", volume.data, volume)
    with pytest.raises(UsageError, match="overwrite=True"):
        nifti.write(tmp_path / "out.nii", volume.data, volume)
    nifti.write(tmp_path / "out.nii", volume.data * 2, volume, overwrite=True)
    np.testing.assert_array_equal(nifti.read(tmp_path / "out.nii").data, volume.data * 2)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.nii", "out.nii"]


def test_bad_results_are_not_written(tmp_path):
    volume = nifti.read(make(tmp_path / "in.nii"))
    bad = volume.data.copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="non-finite output: 1 of 693"):
        nifti.write(tmp_path / "out.nii", bad, volume)
    with pytest.raises(ValueError, match=r"\(9, 11, 7\).*\(9, 11\)"):
        nifti.write(tmp_path / "out.nii", bad[..., 0], volume)
    assert not (tmp_path / "out.nii").exists()


def test_images_in_memory_keep_affine_and_header():
    data = np.random.default_rng(0).random((9, 8, 7))
    image = nibabel.Nifti1Image(data, OBLIQUE)
    image.header.set_xyzt_units("mm")
    volume = nifti.from_image(image)
    np.testing.assert_array_equal(volume.data, data.astype(np.float32))
    result = nifti.to_image(volume.data * 2, volume)
    np.testing.assert_array_equal(result.affine, OBLIQUE)  # float64, unlike the header's sform
    for field in GRID_FIELDS:
        np.testing.assert_array_equal(result.header[field], image.header[field], field)
    np.testing.assert_array_equal(result.get_fdata(), volume.data * 2)
    assert isinstance(result, nibabel.Nifti1Image)
    second = nifti.from_image(nibabel.Nifti2Image(data, OBLIQUE))
    assert isinstance(nifti.to_image(second.data, second), nibabel.Nifti2Image)


def test_images_in_memory_are_not_changed():
    data = np.full((9, 8, 7), 3.0, np.float32, order="F")
    data[0, 0, 0] = np.nan
    image = nibabel.Nifti1Image(data, OBLIQUE)
    volume = nifti.from_image(image, nonfinite="zero")
    assert volume.stats.replaced == 1
    assert np.isnan(data[0, 0, 0])
    assert not np.shares_memory(volume.data, data)


def test_header_follows_an_affine_that_was_changed_in_memory():
    image = nibabel.Nifti1Image(np.ones((9, 8, 7), np.float32), np.eye(4))
    image.affine[:3, :3] *= 3
    volume = nifti.from_image(image)
    np.testing.assert_array_equal(volume.header.get_best_affine(), image.affine)
    assert volume.voxel_mm == (3.0, 3.0, 3.0)


def test_other_image_formats_become_nifti():
    image = nibabel.MGHImage(np.ones((9, 8, 7), np.float32), LAS)
    volume = nifti.from_image(image)
    result = nifti.to_image(volume.data, volume)
    assert isinstance(result, nibabel.Nifti1Image)
    np.testing.assert_array_equal(result.affine, LAS)


def test_real_volume(tmp_path, brain_template):
    path = brain_template
    reference = nibabel.load(path)
    volume = nifti.read(path)
    np.testing.assert_allclose(volume.data, reference.get_fdata(), rtol=1e-6)
    nifti.write(tmp_path / "out.nii.gz", volume.data, volume)
    written = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), volume.data)
    np.testing.assert_array_equal(written.affine, reference.affine)
    for field in GRID_FIELDS:
        np.testing.assert_array_equal(written.header[field], reference.header[field], field)
