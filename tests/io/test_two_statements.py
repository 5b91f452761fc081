"""Headers and sidecars that state one fact twice, differently: named, or refused where neither can win."""

from __future__ import annotations

import json
import logging
import re

import nibabel
import numpy as np
import pytest
import scipy.io

from petrt.errors import InputError
from petrt.imaging.grid import domain_warnings, plan
from petrt.io import nifti
from petrt.model.spec import DomainSpec

DATA = np.random.default_rng(0).random((12, 11, 10)).astype(np.float32)
TWO = np.diag([2.0, 2, 2, 1])
FOUR = np.diag([4.0, 4, 4, 1])
ROTATION = nibabel.eulerangles.euler2mat(0.3, -0.2, 0.15)


@pytest.fixture(autouse=True)
def heard(monkeypatch, caplog):
    logger = logging.getLogger("petrt")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.INFO)


def save(path, sform, sform_code, qform, qform_code, pixdim=None, kind=nibabel.Nifti1Image):
    image = kind(DATA, None)
    image.header.set_qform(qform, qform_code)
    image.header.set_sform(sform, sform_code)
    if pixdim is not None:
        image.header["pixdim"][1:4] = pixdim
    image._affine = None  # nibabel would write the header's forms anew
    path.write_bytes(image.to_bytes())
    return path


def moved(affine, *, by=0.0, factor=1.0, rotate=False, flip=False):
    changed = affine.copy()
    changed[:3, :3] *= factor
    changed[:3, 3] += by
    if flip:
        changed[0] *= -1
    if rotate:
        changed[:3, :3] = ROTATION @ changed[:3, :3]
    return changed


# qform, codes of sform and qform -> refused (True), warned of (False), or neither (None), and words.
CASES = {
    "equal": (TWO, 1, 1, None, ""),
    "rounded": (moved(TWO, factor=1.0005), 1, 1, None, ""),
    "twice the size, both scanner": (FOUR, 1, 1, True, "sform 2 x 2 x 2, qform .* 4 x 4 x 4"),
    "2 %, both scanner": (moved(TWO, factor=1.02), 1, 1, True, "differ by 2 %"),
    "0.5 %, both scanner": (moved(TWO, factor=1.005), 1, 1, False, "differ by 0.5 %"),
    "flipped, both scanner": (
        moved(TWO, flip=True),
        1,
        1,
        True,
        "sform RAS from .* qform LAS from",
    ),
    "elsewhere, both scanner": (moved(TWO, by=30.0), 1, 1, True, "RAS from .* RAS from"),
    "turned, both scanner": (moved(TWO, rotate=True), 1, 1, True, "both in scanner space"),
    "twice the size, aligned": (
        FOUR,
        2,
        1,
        False,
        "sform 2 x 2 x 2, .* 4 x 4 x 4; the sform is used",
    ),
    "twice the size, one code": (FOUR, 4, 4, False, "two voxel sizes"),
    "elsewhere, one code": (moved(TWO, by=30.0), 2, 2, False, "of one code differ"),
    "another space": (moved(TWO, by=30.0, rotate=True), 4, 1, None, ""),
    "no qform, other pixdim": (None, 1, 0, False, "sform 2 x 2 x 2, pixdim 4 x 4 x 4"),
    "no qform": (None, 2, 0, None, ""),
}


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("case", CASES)
def test_two_forms(tmp_path, caplog, case, kind):
    qform, sform_code, qform_code, refused, words = CASES[case]
    pixdim = 4 if case == "no qform, other pixdim" else None
    path = save(
        tmp_path / "a.nii",
        TWO,
        sform_code,
        TWO if qform is None else qform,
        qform_code,
        pixdim,
        kind,
    )
    ways = [
        lambda: nifti.read(path).affine,
        lambda: nifti.from_image(kind.from_filename(path)).affine,
    ]
    for read in ways:
        caplog.clear()
        if refused:
            with pytest.raises(InputError, match=words) as caught:
                read()
            assert "set the code of the wrong one to 0" in caught.value.hint
            continue
        np.testing.assert_allclose(read(), TWO)
        assert bool(caplog.records) == (refused is False)
        if words:
            assert caplog.records[0].levelname == "WARNING"
            assert re.search(words, caplog.text)


def test_analyze_with_another_size_in_its_mat_file(tmp_path, caplog):
    image = nibabel.Spm99AnalyzeImage(DATA, TWO)
    image.to_filename(tmp_path / "a.img")
    nifti.read(tmp_path / "a.hdr")
    assert not caplog.records
    scipy.io.savemat(tmp_path / "a.mat", {"M": FOUR}, format="4")
    assert nifti.read(tmp_path / "a.hdr").voxel_mm == (4, 4, 4)
    assert ".mat 4 x 4 x 4, pixdim 2 x 2 x 2; the .mat is used" in caplog.text


SIDECARS = {
    "right": ({"FrameTimesStart": [0, 10, 30], "FrameDuration": [10, 20, 20]}, []),
    "no frames": ({"Units": "Bq/mL"}, []),
    "too many": (
        {"FrameTimesStart": [*range(45)]},
        ["has 45 FrameTimesStart, the volume 3 frames"],
    ),
    "durations": (
        {"FrameTimesStart": [0, 10, 30], "FrameDuration": [10, 20]},
        ["has 2 FrameDuration, the volume 3 frames"],
    ),
    "falling": ({"FrameTimesStart": [0, 30, 10]}, ["does not rise"]),
    "overlap": ({"FrameTimesStart": [0, 10, 30], "FrameDuration": [10, 25, 20]}, ["overlap"]),
    "not a description": ([1, 2], []),
    "texts": ({"FrameTimesStart": ["a", None, {}]}, []),
}


@pytest.mark.parametrize("case", SIDECARS)
def test_sidecars(tmp_path, caplog, case):
    content, words = SIDECARS[case]
    nibabel.save(nibabel.Nifti1Image(np.stack([DATA] * 3, -1), TWO), tmp_path / "a_pet.nii.gz")
    (tmp_path / "a_pet.json").write_text(json.dumps(content))
    for read in (nifti.read, nifti.look):
        caplog.clear()
        read(tmp_path / "a_pet.nii.gz")
        assert len(caplog.records) == len(words)
        assert all(word in caplog.text for word in words)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", bytes(5 << 20)])
def test_a_json_file_that_is_something_else_is_no_fault(tmp_path, caplog, content):
    nibabel.save(nibabel.Nifti1Image(DATA, TWO), tmp_path / "a.nii")
    (tmp_path / "a.json").write_bytes(content)
    nifti.read(tmp_path / "a.nii")
    assert not caplog.records


def test_a_sheared_grid_is_called_sheared_and_a_tilted_one_tilted():
    domain = DomainSpec(voxel_mm=(2.0, 2.0, 2.0))
    sheared = TWO.copy()
    sheared[0, 2] = 0.8
    (said,) = domain_warnings(plan((40, 40, 40), sheared), domain)
    assert "sheared: its axes are 22 degrees from right angles" in said
    turned = np.eye(4)
    turned[:3, :3] = nibabel.eulerangles.euler2mat(0, 0, 0.4) * 2
    (said,) = domain_warnings(plan((40, 40, 40), turned), domain)
    assert "tilted by 23 degrees" in said
    assert plan((40, 40, 40), turned).shear_deg < 1e-4
