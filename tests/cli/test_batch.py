"""Batches of petrt reconstruct: parts, what is done already, dry runs, names of cases in the log."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petrt.cli.app import run
from petrt.cli.dry_run import duration
from tests.helpers import contents, write_nifti
from tests.models import noisy_blob


@pytest.fixture
def scans(tmp_path, monkeypatch) -> Path:
    """Two cases; the working directory is above them."""
    (tmp_path / "in").mkdir()
    for index, name in enumerate("ab"):
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", noisy_blob((16, 20, 3)) + index)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def petrt(tiny_bundle, capsys):
    """Run the command; returns the exit code and the lines of stderr and stdout."""

    def call(*arguments: object) -> tuple[int, list[str], list[str]]:
        extra = ["--model", str(tiny_bundle), "--threads", "1", "--steps", "1"]
        extra.append("--allow-activity-change")
        code = run(["reconstruct", *map(str, arguments), *extra])
        printed = capsys.readouterr()
        return code, printed.err.splitlines(), printed.out.splitlines()

    return call


def test_a_part_without_cases_is_no_error(petrt, scans):
    code, lines, _ = petrt("in", "out", "--num-parts", 5, "--part-id", 4)
    assert (code, lines) == (0, ["petrt: nothing in this part: 2 cases in 5 parts"])
    assert not Path("out").exists()


def test_several_inputs_and_a_file_as_out(petrt, scans):
    Path("o.nii.gz").write_bytes(b"old")
    code, lines, _ = petrt("in", "o.nii.gz")
    assert (code, len(lines)) == (2, 1)
    assert "several inputs: OUT must be a folder" in lines[0]
    assert Path("o.nii.gz").read_bytes() == b"old"


def test_one_match_of_a_glob_and_the_name_of_a_file(petrt, scans):
    assert petrt("in/a*", "w.nii.gz")[0] == 0
    assert Path("w.nii.gz").is_file()


def test_a_dangling_link_is_a_failed_case_and_named(petrt, scans):
    Path("in/c.nii.gz").symlink_to("nowhere")
    code, lines, _ = petrt("in", "out")
    assert code == 5
    assert "petrt: failed: c.nii.gz: a link to a file that is not there" in "\n".join(lines)
    assert lines[-1] == "petrt: error: 1 of 3 cases failed, the others are done; see above"


def test_a_half_done_batch_goes_on_where_it_stopped(petrt, scans):
    options = ("in", "out", "--samples", 2, "--std", "std", "--json", "json")
    assert petrt(*options)[0] == 0
    first = contents(scans)
    Path("out/b.nii.gz").unlink()
    Path("std/b_std.nii.gz").unlink()
    before = Path("out/a.nii.gz").stat().st_mtime_ns
    code, lines, _ = petrt(*options)
    assert code == 0, lines
    assert "petrt: 1 of 2 cases are done already" in lines
    assert Path("out/a.nii.gz").stat().st_mtime_ns == before
    now = contents(scans)
    for name in ("out/b.nii.gz", "std/b_std.nii.gz"):
        assert now[name] == first[name]
    code, lines, _ = petrt(*options)
    assert (code, lines[-1]) == (0, "petrt: 2 of 2 cases are done already")
    assert contents(scans) == now


@pytest.mark.parametrize("what", ["seed", "input", "foreign"])
def test_an_output_of_anything_else_is_kept(petrt, scans, what):
    assert petrt("in", "out")[0] == 0
    options: tuple[object, ...] = ()
    if what == "seed":
        options = ("--seed", 3)
    elif what == "input":
        write_nifti(Path("in/b.nii.gz"), noisy_blob((16, 20, 3)) + 5)
    else:
        Path("out/b.nii.gz").write_bytes(b"precious")
    Path("out/a.nii.gz").unlink()
    before = contents(scans)
    code, lines, _ = petrt("in", "out", *options)
    assert code == 2
    assert "b.nii.gz: the output exists, made from another input or with other options" in lines[-1]
    assert "--overwrite replaces it" in lines[-1]
    assert contents(scans) == before
    assert petrt("in", "out", *options, "--overwrite")[0] == 0
    assert petrt("in", "out", *options)[1][-1] == "petrt: 2 of 2 cases are done already"


def test_a_single_file_is_never_passed_over(petrt, scans):
    assert petrt("in/a.nii.gz", "o.nii.gz")[0] == 0
    code, lines, _ = petrt("in/a.nii.gz", "o.nii.gz")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].endswith("o.nii.gz: the output exists; --overwrite replaces it")


def test_the_key_is_of_content_not_of_names(petrt, scans):
    assert petrt("in", "out")[0] == 0
    Path("in").rename("moved")
    assert petrt("moved", "out")[1][-1] == "petrt: 2 of 2 cases are done already"
    key = nibabel.load("out/a.nii.gz").header["intent_name"].item().decode()
    assert len(key) == 15
    int(key, 16)


def test_a_dry_run_reads_headers_estimates_and_writes_nothing(petrt, scans):
    Path("in/c.nii").write_bytes(b"<html>" * 100)
    series = np.stack([noisy_blob((16, 20, 3))] * 2, -1)
    nibabel.Nifti1Image(series, np.diag([2.0, 2, 2, 1])).to_filename("in/d.nii.gz")
    before = contents(scans)
    code, lines, told = petrt("in", "out", "--dry-run")
    assert contents(scans) == before
    assert code == 5
    assert lines[-1] == "petrt: error: 1 of 4 cases would fail; see above"
    assert "in/a.nii.gz -> out/a.nii.gz: 16 x 20 x 3 voxels, 3 slices, about " in told[0]
    assert "GiB of memory" in told[0]
    assert "would fail: c.nii: not NIfTI" in told[2]
    assert "16 x 20 x 3 x 2 voxels, 6 slices" in told[3]
    assert told[-1].startswith("3 of 4 to do: about ")


def test_a_dry_run_tells_what_is_done_and_what_is_in_the_way(petrt, scans):
    assert petrt("in", "out")[0] == 0
    Path("out/b.nii.gz").write_bytes(b"precious")
    code, lines, told = petrt("in", "out", "--dry-run")
    assert code == 2
    assert told[0].endswith("out/a.nii.gz: done already")
    assert "refused: b.nii.gz: the output exists" in told[1]
    assert lines[-1] == "petrt: error: 1 of 2 outputs cannot be written; see above"
    code, lines, _ = petrt("in/a.nii.gz", "out/b.nii.gz", "--dry-run")
    assert code == 2
    assert Path("out/b.nii.gz").read_bytes() == b"precious"


def test_warnings_of_a_batch_name_their_case(petrt, scans):
    write_nifti(Path("in/z.nii.gz"), np.zeros((16, 20, 3), np.float32))
    _, lines, _ = petrt("in", "out")
    warned = [line for line in lines if "warning: " in line]
    assert any(line.startswith("petrt: warning: z.nii.gz: ") for line in warned)
    assert all("warning: " in line and ".nii.gz: " in line for line in warned)


def test_records_on_stdout(petrt, scans):
    code, _, told = petrt("in/a.nii.gz", "o.nii.gz", "--json", "-")
    assert code == 0
    assert json.loads("\n".join(told))["samples"] == 8
    code, _, told = petrt("in", "out", "--json", "-")
    assert code == 0
    assert [json.loads(line)["samples"] for line in told] == [8, 8]
    assert not Path("-").exists()


def test_durations():
    seconds = (0.04, 9.94, 12.3, 240, 7300)
    assert [duration(each) for each in seconds] == ["0.0 s", "9.9 s", "12 s", "4 min", "2.0 h"]
