"""Metadata of a PET file: what it inherits, and whether it fits the frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from petrt.errors import InputError
from petrt.io.bids.layout import PetFile, find, open_dataset
from petrt.io.bids.metadata import check, metadata
from tests.io.bids.data_set import FILES, METADATA, make, sidecar, times, write_json
from tests.io.bids.validator import errors


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "raw")


def late(root: Path) -> PetFile:
    """The dynamic one."""
    return find(open_dataset(root)).files[1]


def test_the_nearer_file_overrides_key_by_key(root, monkeypatch):
    write_json(root / "pet.json", {"Units": "kBq/mL"})  # not alone at its level, see below
    (root / "pet.json").rename(root / "sub-02" / "sub-02_pet.json")
    write_json(root / "sub-02" / "ses-late" / "sub-02_ses-late_pet.json", {"BodyPart": "HEAD"})
    expected = METADATA | times(2) | {"Units": "kBq/mL", "BodyPart": "HEAD"}
    assert metadata(late(root)) == expected
    assert metadata(find(open_dataset(root)).files[0])["Units"] == "Bq/mL"
    monkeypatch.chdir(root)
    for here in (Path("."), Path("../raw"), root):
        assert metadata(late(here)) == expected


def test_files_with_other_entities_do_not_apply(root):
    here = root / "sub-02" / "ses-late" / "pet"
    for name in ("sub-02_trc-PIB_pet", "sub-02_rec-x_pet", "sub-02_run-2_pet", "sub-01_pet"):
        write_json(here / f"{name}.json", {"Units": "wrong"})
    assert metadata(late(root))["Units"] == "Bq/mL"


def test_two_files_of_one_folder_are_ambiguous(root):
    write_json(root / "pet.json", {})
    with pytest.raises(InputError, match=r"pet.json and trc-FDG_pet.json both describe it"):
        metadata(late(root))
    assert errors(root)


def test_a_missing_sidecar(root):
    for path in (root / "trc-FDG_pet.json", sidecar(root / FILES[1])):
        path.unlink()
    with pytest.raises(InputError, match=r"no \.json file describes it; add sub-02_ses-late.*json"):
        metadata(late(root))


@pytest.mark.parametrize("content", [b"{", b"3", b"[]", b"\xff"])
def test_a_damaged_sidecar(root, content):
    sidecar(root / FILES[1]).write_bytes(content)
    with pytest.raises(InputError, match=r"sub-02_ses-late_trc-FDG_run-1_pet.json: not"):
        metadata(late(root))


def test_a_sidecar_that_is_a_link_to_nowhere(root):
    path = sidecar(root / FILES[1])
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        metadata(late(root))


SERIES, FRAME = (16, 20, 3, 2), (16, 20, 3)


@pytest.mark.parametrize(
    ("change", "shape", "says"),
    [
        ({"Units": None}, SERIES, "states no Units"),
        ({"Units": " "}, SERIES, "states no Units"),
        ({"Units": 3}, SERIES, "states no Units"),
        ({"FrameTimesStart": None}, SERIES, "no FrameTimesStart in seconds"),
        ({"FrameDuration": [1, "x"]}, SERIES, "no FrameDuration in seconds"),
        ({"FrameDuration": [1, True]}, SERIES, "no FrameDuration in seconds"),
        ({"FrameDuration": [1, float("nan")]}, SERIES, "no FrameDuration in seconds"),
        ({"FrameDuration": 300}, SERIES, "no FrameDuration in seconds"),
        ({"FrameDuration": [300]}, SERIES, "has 1 FrameDuration, the volume 2 frames"),
        (times(3), SERIES, "has 3 FrameTimesStart, the volume 2 frames"),
        ({}, FRAME, "has 2 FrameTimesStart, the volume 1 frame"),
        ({"FrameTimesStart": [300, 0]}, SERIES, "does not rise"),
        ({"FrameTimesStart": [0, 100]}, SERIES, "overlap"),
        ({"DecayCorrectionFactor": [1.0]}, SERIES, "1 DecayCorrectionFactor, the volume 2 frames"),
    ],
)
def test_metadata_that_contradicts_the_frames(root, change, shape, says):
    content: dict[str, Any] = METADATA | times(2) | change
    with pytest.raises(InputError, match=f"sub-02_ses-late_trc-FDG_run-1_pet.nii.gz: .*{says}"):
        check(late(root), content, shape)


def test_metadata_that_fits(root):
    check(late(root), METADATA | times(2), SERIES)
    check(late(root), METADATA | times(1), FRAME)
    check(late(root), METADATA | times(1), (*FRAME, 1))
    assert json.loads((root / "trc-FDG_pet.json").read_text()) == METADATA
