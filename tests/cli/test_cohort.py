"""Cohorts: hashes in records, the table of a run, --resume, parts, and what a dry run finds."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel
import pytest

from petrt.cli.app import run
from tests.helpers import contents, write_nifti
from tests.models import noisy_blob


@pytest.fixture
def scans(tmp_path, monkeypatch) -> Path:
    """Two cases and a broken one; the working directory is above them."""
    (tmp_path / "in").mkdir()
    for index, name in enumerate("ab"):
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", noisy_blob((16, 20, 3)) + index)
    (tmp_path / "in" / "c.nii").write_bytes(b"no image" * 100)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def petrt(tiny_bundle, capsys):
    """Run the command; returns the exit code and the lines of stderr."""

    def call(*arguments: object) -> tuple[int, list[str]]:
        extra = ["--model", str(tiny_bundle), "--threads", "1", "--steps", "1"]
        code = run(["reconstruct", *map(str, arguments), *extra, "--allow-activity-change"])
        return code, capsys.readouterr().err.splitlines()

    return call


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as stream:
        return list(csv.DictReader(stream, dialect="excel-tab"))


def rows(path: str) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(Path(path).read_text())["cases"]}


def test_records_hold_the_hashes_of_all(petrt, scans, tiny):
    code, _ = petrt(
        *("in/a.nii.gz", "o.nii.gz", "--json", "o.json", "--preview", "o.png"),
        *("--samples", 2, "--std", "s.nii.gz"),
    )
    assert code == 0
    hashes = json.loads(Path("o.json").read_text())["hashes"]
    assert hashes["input"] == sha256("in/a.nii.gz")
    assert hashes["model"] == tiny.identity
    assert hashes["outputs"] == {
        "image": sha256("o.nii.gz"),
        "std": sha256("s.nii.gz"),
        "preview": sha256("o.png"),
    }
    assert petrt("in/a.nii.gz", "p.nii.gz", "--json", "p.json", "--seed", 1)[0] == 0
    other = json.loads(Path("p.json").read_text())["hashes"]
    assert other["input"] == hashes["input"]
    assert other["options"] != hashes["options"]
    assert len(other["options"]) == 64
    assert not list(Path().glob("cases*"))


def test_a_pair_of_header_and_image_has_one_hash(petrt, scans):
    image = nibabel.load("in/a.nii.gz")
    nibabel.Nifti1Pair(image.get_fdata(dtype="float32"), image.affine).to_filename("x.hdr")
    assert petrt("x.hdr", "o.nii.gz", "--json", "o.json")[0] == 0
    both = f"{sha256('x.hdr')}\n{sha256('x.img')}\n"
    found = json.loads(Path("o.json").read_text())["hashes"]["input"]
    assert found == hashlib.sha256(both.encode()).hexdigest()


def test_the_table_tells_of_all_cases(petrt, scans):
    code, lines = petrt("in", "out", "--json", "json")
    assert code == 5
    found = rows("out/cases.json")
    record = json.loads(Path("json/a.json").read_text())
    told = found["a.nii.gz"].pop("run")
    assert told["model"] == record["model"]
    assert told.keys() <= record.keys()
    assert found["a.nii.gz"] == {
        "name": "a.nii.gz",
        "outcome": "done",
        "exit_code": 0,
        "error": None,
        "seconds": record["seconds"]["total"],
        "activity_ratio": record["frames"][0]["activity_ratio"],
        "suvmax_shift_percent": record["frames"][0]["suvmax_shift_percent"],
        "warnings": record["warnings"],
        "input_sha256": sha256("in/a.nii.gz"),
        "model_sha256": record["model"]["sha256"],
        "options_sha256": record["hashes"]["options"],
        "outputs": {"image": sha256("out/a.nii.gz"), "record": sha256("json/a.json")},
        "key": record["key"],
        "series": None,
        "paths": {"input": "../in/a.nii.gz", "image": "a.nii.gz"},
    }
    broken = found["c.nii"]
    assert (broken["outcome"], broken["exit_code"]) == ("failed", 3)
    assert f"petrt: failed: {broken['error']}" in lines
    whole = json.loads(Path("out/cases.json").read_text())
    assert (whole["done"], whole["failed"], whole["waiting"]) == (2, 1, 0)
    told = table("out/cases.tsv")
    assert [row["outcome"] for row in told] == ["done", "done", "failed"]
    assert told[0]["image_sha256"] == sha256("out/a.nii.gz")
    assert told[2]["seconds"] == told[0]["std_sha256"] == "n/a"
    ratio = found["b.nii.gz"]["activity_ratio"]
    assert float(told[1]["activity_ratio"]) == pytest.approx(ratio, rel=1e-5)


def test_the_table_is_complete_after_each_case(petrt, scans, monkeypatch):
    from petrt.cli.table import CaseTable

    seen, write = [], CaseTable._write

    def written(self: CaseTable) -> None:
        write(self)
        seen.append([row["outcome"] for row in table("out/cases.tsv")])

    monkeypatch.setattr(CaseTable, "_write", written)
    petrt("in", "out")
    done, waits, failed = "done", "waiting", "failed"
    assert seen == [[waits] * 3, [done, waits, waits], [done, done, waits], [done, done, failed]]


def test_a_case_that_is_left_out_keeps_its_row(petrt, scans):
    petrt("in", "out")
    before = rows("out/cases.json")
    Path("out/b.nii.gz").unlink()
    petrt("in", "out")
    after = rows("out/cases.json")
    assert after["a.nii.gz"] == before["a.nii.gz"]
    assert after["b.nii.gz"]["outputs"] == before["b.nii.gz"]["outputs"]
    Path("out/cases.json").unlink()
    petrt("in", "out")
    bare = rows("out/cases.json")["a.nii.gz"]
    assert (bare["outcome"], bare["key"]) == ("done", before["a.nii.gz"]["key"])
    assert bare["activity_ratio"] is None


def test_each_part_has_its_own_table(petrt, scans):
    Path("in/c.nii").unlink()
    for part in (0, 1):
        assert petrt("in", "out", "--num-parts", 2, "--part-id", part)[0] == 0
    assert [row["name"] for row in table("out/cases-0.tsv")] == ["a.nii.gz"]
    assert [row["name"] for row in table("out/cases-1.tsv")] == ["b.nii.gz"]
    assert sorted(rows("out/cases-1.json")) == ["b.nii.gz"]
    assert not Path("out/cases.tsv").exists()


def test_a_table_may_lie_elsewhere_and_be_of_a_single_case(petrt, scans):
    Path("t").mkdir()
    assert petrt("in/c.nii", "o.nii.gz", "--table", "t/mine.tsv")[0] == 3
    assert [row["outcome"] for row in table("t/mine.tsv")] == ["failed"]
    assert list(rows("t/mine.json")) == ["c.nii"]
    code, lines = petrt("in", "out", "--table", "t/mine.txt")
    assert (code, lines[-1].split(": ")[-1]) == (
        2,
        "not the name of a table; end it in .tsv; the JSON lies beside it",
    )
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["cases.tsv", "cases.json"])
def test_a_file_that_is_no_table_is_kept(petrt, scans, name):
    Path("out").mkdir()
    Path("out", name).write_bytes(b"precious")
    before = contents(scans)
    code, lines = petrt("in", "out")
    assert code == 2
    assert lines == [
        f"petrt: error: {name}: the file exists and is no table of a run; "
        "--table PATH writes the table elsewhere"
    ]
    assert contents(scans) == before
    assert petrt("in", "out", "--overwrite")[0] == 5
    assert len(table("out/cases.tsv")) == 3


def test_a_record_of_the_tables_name_is_refused(petrt, scans):
    Path("in/a.nii.gz").rename("in/cases.nii.gz")
    code, lines = petrt("in", "out", "--json", "out")
    assert code == 2
    assert "cases.json: the table of the run has the name of an input or output" in lines[-1]
    assert petrt("in", "out", "--json", "out", "--table", "t.tsv")[0] == 5


@pytest.mark.parametrize("what", ["seed", "input", "output"])
def test_resume_does_again_what_is_not_the_same(petrt, scans, what):
    Path("in/c.nii").unlink()
    assert petrt("in", "out")[0] == 0
    first = contents(scans)
    options: tuple[object, ...] = ()
    if what == "seed":
        options = ("--seed", 3)
    elif what == "input":
        write_nifti(Path("in/b.nii.gz"), noisy_blob((16, 20, 3)) + 5)
    else:  # a hand on the image, whose key stays
        image = nibabel.load("out/b.nii.gz")
        nibabel.Nifti1Image(image.get_fdata() + 1, image.affine, image.header).to_filename(
            "out/b.nii.gz"
        )
    if what != "output":
        code, lines = petrt("in", "out", *options)
        assert code == 2
        assert "--resume does it again, --overwrite replaces it" in lines[-1]
    code, lines = petrt("in", "out", "--resume", *options)
    assert code == 0, lines
    again = contents(scans)
    changed = {
        n for n in again if again[n] != first[n] and n.startswith("out") and "cases" not in n
    }
    assert (
        changed
        == {"seed": {"out/a.nii.gz", "out/b.nii.gz"}, "input": {"out/b.nii.gz"}, "output": set()}[
            what
        ]
    )
    assert rows("out/cases.json")["b.nii.gz"]["outputs"]["image"] == sha256("out/b.nii.gz")
    assert petrt("in", "out", "--resume", *options)[1] == ["petrt: 2 of 2 cases are done already"]


def test_resume_keeps_what_petrt_has_not_made(petrt, scans):
    Path("out").mkdir()
    write_nifti(Path("out/b.nii.gz"), noisy_blob((16, 20, 3)))
    before = contents(scans)
    code, lines = petrt("in", "out", "--resume")
    assert code == 2
    assert "b.nii.gz: the output exists" in lines[-1]
    assert "--resume" not in lines[-1]
    assert contents(scans) == before


def test_resume_of_a_single_case(petrt, scans):
    assert petrt("in/a.nii.gz", "o.nii.gz", "--resume")[0] == 0
    assert petrt("in/a.nii.gz", "o.nii.gz", "--resume") == (
        0,
        ["petrt: 1 of 1 cases are done already"],
    )
    assert petrt("in/a.nii.gz", "o.nii.gz", "--resume", "--seed", 4)[0] == 0
    code, lines = petrt("in/a.nii.gz", "o.nii.gz", "--resume", "--overwrite")
    assert (code, lines[-1].endswith("choose one of them")) == (2, True)


@pytest.mark.parametrize("cut", [1, 5000])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_dry_run_finds_files_that_are_cut_off(petrt, scans, capsys, cut, zipped):
    name = "in/d.nii.gz" if zipped else "in/d.nii"
    write_nifti(Path(name), noisy_blob((24, 24, 8)))
    assert petrt(name, "o.nii.gz", "--dry-run")[0] == 0
    whole = Path(name).read_bytes()
    Path(name).write_bytes(whole[: -cut - 8 * zipped])
    code, lines = petrt(name, "o.nii.gz", "--dry-run")
    assert code == 3
    assert "truncated" in lines[-1]
    assert petrt("in", "out", "--dry-run")[0] == 5
    assert not Path("out").exists()


def test_a_dry_run_takes_gzip_files_of_several_parts(petrt, scans):
    whole = gzip.decompress(Path("in/a.nii.gz").read_bytes())
    Path("in/a.nii.gz").write_bytes(gzip.compress(whole[:2000]) + gzip.compress(whole[2000:]))
    assert petrt("in/a.nii.gz", "o.nii.gz", "--dry-run")[0] == 0


def test_what_ray_does_not_go_with(petrt, scans):
    code, lines = petrt("in", "out", "--ray", "auto", "--dry-run")
    assert (code, lines[-1]) == (
        2,
        "petrt: error: --dry-run looks at this machine; leave --ray out",
    )
