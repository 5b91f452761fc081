"""Files that must be refused: one line names file, fault and what to do; exit code 3."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petrt.errors import InputError, UsageError
from petrt.io import nifti
from tests.helpers import allocating_less
from tests.io.nifti_files import FILES, HEADERS, INF, NAN, SHAPE, good_bytes, with_fields


def refused(path: Path, words: str, **options) -> InputError:
    before = path.read_bytes()
    with pytest.raises(InputError, match=words) as caught:
        nifti.read(path, **options)
    error = caught.value
    assert error.exit_code == 3
    assert str(error).startswith(path.name)
    assert "\n" not in str(error)
    assert error.hint
    assert path.read_bytes() == before
    return error


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("case", HEADERS)
def test_bad_headers_name_the_field(tmp_path, case, suffix):
    values, words = HEADERS[case]
    content = with_fields(**values)
    if suffix == ".nii.gz":
        content = gzip.compress(content)
        words = words.split(" bytes, found")[0]
    path = tmp_path / f"pet{suffix}"
    path.write_bytes(content)
    refused(path, words)


def test_the_unchanged_file_is_accepted(tmp_path):
    """The tables above and below prove nothing if the file they start from is refused as well."""
    (tmp_path / "pet.nii").write_bytes(with_fields())
    assert nifti.read(tmp_path / "pet.nii").data.shape == SHAPE
    (tmp_path / "pet.nii.gz").write_bytes(gzip.compress(with_fields()))
    assert nifti.read(tmp_path / "pet.nii.gz").data.shape == SHAPE


@pytest.mark.parametrize("case", FILES)
def test_bad_files_are_refused(tmp_path, case):
    name, spoil, words = FILES[case]
    path = tmp_path / name
    path.write_bytes(spoil(with_fields()))
    refused(path, words)


def test_a_few_padding_bytes_are_accepted(tmp_path):
    (tmp_path / "pet.nii").write_bytes(with_fields() + bytes(512))
    nifti.read(tmp_path / "pet.nii")


def test_gzip_bomb_is_stopped_at_the_announced_size(tmp_path):
    """64 MiB of zeros behind a small header: neither stored nor unpacked to the end."""
    packer = zlib.compressobj(wbits=31)
    with open(tmp_path / "bomb.nii.gz", "wb") as file:
        file.write(packer.compress(with_fields()))
        file.write(packer.compress(bytes(64 << 20)))
        file.write(packer.flush())
    with allocating_less(8 << 20):
        refused(tmp_path / "bomb.nii.gz", "longer than the 2992 bytes")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nothing_large_is_allocated_for_a_large_claim(tmp_path, suffix):
    """1000 x 1000 x 500 voxels are within the limit, but the file is far too small for them."""
    content = with_fields(dim1=1000, dim2=1000, dim3=500)
    path = tmp_path / f"pet{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with allocating_less(4 << 20):
        refused(path, "expected 1000000352 bytes, found")


def test_max_voxels_counts_all_frames(tmp_path):
    path = tmp_path / "pet.nii"
    path.write_bytes(bytes(good_bytes(shape=(10, 10, 10, 3))))
    refused(path, r"10 x 10 x 10 x 3 = 3000 voxels, the limit is 2999", max_voxels=2999)
    nifti.read(path, max_voxels=3000)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_nonfinite_voxels_are_refused_or_zeroed_and_counted(tmp_path, bad):
    data = np.full(SHAPE, 4.0, np.float32)
    data[1, 2, 3] = data[4, 5, 6] = bad
    data[0, 0, 0] = -1.0
    path = tmp_path / "pet.nii"
    nibabel.Nifti1Image(data, np.eye(4)).to_filename(path)
    refused(path, "2 of 1320 voxels are NaN or infinite; nonfinite='zero'")
    volume = nifti.read(path, nonfinite="zero")
    assert volume.stats == nifti.VoxelStats(negative=1, nonfinite=2, replaced=2)
    assert volume.data[1, 2, 3] == volume.data[4, 5, 6] == 0
    assert np.count_nonzero(volume.data == 4) == data.size - 3


def test_values_beyond_float32_are_refused(tmp_path):
    data = np.full(SHAPE, 1e300)
    nibabel.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / "pet.nii")
    refused(tmp_path / "pet.nii", "1320 of 1320 voxels")


def test_unknown_nonfinite_setting_is_a_usage_error(tmp_path):
    (tmp_path / "pet.nii").write_bytes(with_fields())
    with pytest.raises(UsageError, match="nonfinite"):
        nifti.read(tmp_path / "pet.nii", nonfinite="keep")  # type: ignore[arg-type]


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(InputError, match=r"absent\.nii: no such file"):
        nifti.read(tmp_path / "absent.nii")
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(InputError, match=r"folder\.nii: not a file"):
        nifti.read(tmp_path / "folder.nii")
    with pytest.raises(InputError, match="not a possible file name"):
        nifti.read(tmp_path / "nul\0.nii")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.nii")
        with pytest.raises(InputError, match="not a file"):  # and it must not wait for a writer
            nifti.read(tmp_path / "pipe.nii")


def test_pairs_need_both_files(tmp_path):
    pair = nibabel.Nifti1Pair(np.ones(SHAPE, np.float32), np.eye(4))
    pair.to_filename(tmp_path / "pet.img")
    (tmp_path / "pet.img").rename(tmp_path / "moved.img")
    with pytest.raises(InputError, match=r"pet\.img: no such file"):
        nifti.read(tmp_path / "pet.hdr")
    with pytest.raises(InputError, match=r"moved\.hdr: no such file"):
        nifti.read(tmp_path / "moved.img")
    content = (tmp_path / "moved.img").read_bytes()
    (tmp_path / "pet.img").write_bytes(content[:-4])
    with pytest.raises(InputError, match="expected 5280 bytes, found 5276"):
        nifti.read(tmp_path / "pet.hdr")
    (tmp_path / "pet.nii").write_bytes((tmp_path / "pet.hdr").read_bytes())
    with pytest.raises(InputError, match=r"magic .* means voxels in an \.img file"):
        nifti.read(tmp_path / "pet.nii")


def test_damaged_mat_file_beside_analyze_is_refused(tmp_path):
    nibabel.AnalyzeImage(np.ones(SHAPE, np.int16), np.eye(4)).to_filename(tmp_path / "pet.img")
    (tmp_path / "pet.mat").write_bytes(b"garbage" * 100)
    with pytest.raises(InputError, match=r"pet\.mat: cannot read"):
        nifti.read(tmp_path / "pet.img")


def test_in_memory_images_are_checked_as_well():
    for image, words in [
        (nibabel.Nifti1Image(np.ones((4, 4)), np.eye(4)), "2-D image"),
        (nibabel.Nifti1Image(np.ones((9, 9, 9)), None), "without affine"),
        (nibabel.Nifti1Image(np.ones((9, 9, 9), np.complex64), np.eye(4)), "complex64"),
        (nibabel.Nifti1Image(np.full((9, 9, 9), np.nan), np.eye(4)), "NaN"),
    ]:
        with pytest.raises(InputError, match=words):
            nifti.from_image(image)


def test_truncated_file_behind_a_lazy_image_is_refused(tmp_path):
    path = tmp_path / "pet.nii"
    path.write_bytes(with_fields()[:-700])
    with pytest.raises(InputError, match=r"pet\.nii: its voxels cannot be read"):
        nifti.from_image(nibabel.load(path))
