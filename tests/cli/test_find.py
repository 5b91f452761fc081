"""Inputs of petrt reconstruct are found, or missed with a word; outputs of several need folders."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from petrt.cli.find import find
from petrt.cli.output import STDOUT
from petrt.cli.plan import Destination, check, plan_cases
from petrt.errors import InputError, UsageError


@pytest.fixture
def scans(tmp_path, monkeypatch) -> Path:
    """A folder with files of every kind; the working directory is above it."""
    folder = tmp_path / "scans"
    for name in ("a.nii.gz", "B.NII.GZ", "c.HDR", "c.IMG", "._a.nii.gz", ".d.nii", "notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / "e.nii").symlink_to("nowhere")
    (folder / "sub" / "pet").mkdir(parents=True)
    (folder / "sub" / "pet" / "f.nii.gz").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return folder


def names(*inputs: str) -> list[str]:
    return [path.name for path in find([Path(each) for each in inputs])[0]]


def test_a_folder_gives_images_in_any_case_and_dangling_links_and_tells_the_rest(scans, caplog):
    with caplog.at_level(logging.INFO, "petrt"):
        assert names("scans") == ["B.NII.GZ", "a.nii.gz", "c.HDR", "e.nii"]
    assert "hidden files are left out: ._a.nii.gz, .d.nii" in caplog.text
    assert "scans: left out: 1 in its folders; 'scans/**/*.nii.gz' in quotes" in caplog.text


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("scans/*.nii.gz", ["B.NII.GZ", "a.nii.gz"]),
        ("scans/*.nii", ["e.nii"]),
        ("scans/*", ["B.NII.GZ", "a.nii.gz", "c.HDR", "e.nii"]),
        ("scans/**/*.nii.gz", ["B.NII.GZ", "a.nii.gz", "f.nii.gz"]),
        ("scans/**", ["B.NII.GZ", "a.nii.gz", "c.HDR", "e.nii", "f.nii.gz"]),
        ("scans/*.img", ["c.IMG"]),
        ("scans/._*.nii.gz", ["._a.nii.gz"]),
    ],
)
def test_globs(scans, pattern, found):
    assert names(pattern) == found


def test_hidden_files_beside_the_matches_of_a_glob_are_told(scans, caplog):
    with caplog.at_level(logging.INFO, "petrt"):
        names("scans/*.nii.gz")
    assert "hidden files are left out: ._a.nii.gz" in caplog.text


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("scans/x*.nii.gz", r"x\*\.nii\.gz: matches no NIfTI file"),
        ("scans/no*", "matches no NIfTI file and no DICOM, but 1 other"),
        ("absent.nii.gz", r"absent\.nii\.gz: no such file"),
        (
            "scans/sub",
            r"sub: no NIfTI or DICOM file in this folder, but 1 in its folders; 'scans/sub/\*\*",
        ),
        ("empty", "empty: no NIfTI or DICOM file in this folder; files end in"),
    ],
)
def test_an_input_that_matches_nothing_is_an_error_beside_good_ones(scans, bad, says):
    Path("empty").mkdir()
    with pytest.raises(InputError, match=says):
        names("scans/a.nii.gz", bad)


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="permissions of Unix")
def test_a_folder_that_cannot_be_read_is_an_error_of_one_line(scans, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied", str(scans))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="scans: cannot be read: Permission denied"):
        names("scans")


def to(out: str, **others: str) -> Destination:
    paths = {
        key: Path(others[key]) if key in others else None for key in ("std", "record", "preview")
    }
    return Destination(Path(out), **paths)


A, B = Path("scans/a.nii.gz"), Path("scans/B.NII.GZ")


@pytest.mark.parametrize(
    ("sources", "several", "destination", "says"),
    [
        (
            [A, B],
            True,
            to("there.nii.gz"),
            r"several inputs: OUT must be a folder, there\.nii\.gz is a file",
        ),
        (
            [A, B],
            True,
            to("new.nii.gz"),
            "several inputs: OUT must be a folder, .* the name of a file",
        ),
        ([A], True, to("there"), "several inputs: OUT must be a folder, there is a file"),
        ([A, B], True, to("out", record="run.json"), "several inputs: --json must be a folder"),
        ([A, B], True, to("out", std="there.nii.gz"), "several inputs: --std must be a folder"),
        ([A, B], True, to("out", preview="a.png"), "several inputs: --preview must be a folder"),
        ([A], False, to("-"), "OUT cannot be -, which is stdout"),
        ([A], False, to("o.nii", preview="-"), "--preview cannot be -"),
        ([A, Path("other/a.nii")], True, to("out"), r"both would be written to a\.nii\.gz"),
    ],
)
def test_places_that_cannot_be(scans, sources, several, destination, says):
    for name in ("there", "there.nii.gz"):
        Path(name).write_bytes(b"old")
    with pytest.raises(UsageError, match=says):
        plan_cases(sources, several, destination)


def test_one_match_of_a_glob_goes_to_the_file_that_out_names(scans):
    (case,), folders = plan_cases([A], True, to("w.nii.gz", record="run.json"))
    assert (case.image, case.record, folders) == (Path("w.nii.gz"), Path("run.json"), False)
    (case,), folders = plan_cases([A], True, to("out", record="-"))
    assert (case.image, case.record, folders) == (Path("out/a.nii.gz"), STDOUT, True)
    assert case.outputs == [case.image]


def test_a_folder_takes_each_output_of_a_single_input(scans):
    Path("here").mkdir()
    (case,), _ = plan_cases([B], False, to("here", std="here", record="here"))
    wanted = [Path("here") / name for name in ("B.nii.gz", "B_std.nii.gz", "B.json")]
    assert case.outputs == wanted


def test_outputs_of_two_cases_may_not_share_a_path(scans):
    sources = [A, Path("scans/a_std.nii.gz")]
    cases, _ = plan_cases(sources, True, to("out", std="out"))
    with pytest.raises(UsageError, match="two outputs share this path"):
        check(cases, sources, folders=True)
