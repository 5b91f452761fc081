"""File names in messages stay on one line and show no control characters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from petrt.files.names import LONGEST, shown, shown_as


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pet.nii.gz", "pet.nii.gz"),
        ("Müller 1 [red].nii", "Müller 1 [red].nii"),
        ("a\nb\r\t.nii", r"a\nb\r\t.nii"),
        ("\x1b[31mred.nii", r"\x1b[31mred.nii"),
        ("gpj\u202eiin.nii", r"gpj\u202eiin.nii"),
        ("line\u2028end", r"line\u2028end"),
        (os.fsdecode(b"\xff.nii"), r"\udcff.nii"),
        ("nul\0.nii", r"nul\x00.nii"),
    ],
)
def test_unprintable_characters_are_escaped(name, expected):
    assert shown(name) == expected
    assert shown(name).isprintable()


def test_folders_are_left_out():
    assert shown(Path("/data/Smith^John/pet.nii")) == "pet.nii"
    assert shown("/") == "/"


def test_long_names_are_cut_in_the_middle():
    text = shown("a" * 200 + ".nii.gz")
    assert len(text) <= LONGEST
    assert text.startswith("aaa")
    assert text.endswith(".nii.gz")
    assert "…" in text


def test_a_volume_is_called_as_told_with_all_its_files(tmp_path):
    with shown_as(tmp_path / "DOE.hdr", "sub-0000"):
        for name in ("DOE.hdr", "DOE.img", "DOE.json", "DOE.mat"):
            assert shown(tmp_path / name) == shown(str(tmp_path / name)) == "sub-0000"
        assert shown(tmp_path / "ROE.hdr") == "ROE.hdr"
        assert shown(tmp_path / "other" / "DOE.hdr") == "DOE.hdr"
    assert shown(tmp_path / "DOE.hdr") == "DOE.hdr"
