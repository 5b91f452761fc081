"""Pages from the command line: --report of reconstruct and evaluate, and petrt report."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from petrt.cli.app import run
from tests.evaluation.report.document import command_in
from tests.helpers import contents, leave_undrawn, write_nifti
from tests.suv.series_files import write as write_series

SHAPE = (17, 22, 4)
NAME = "smith_john"  # a file name that names a patient


@pytest.fixture
def petrt(tiny_bundle, tmp_path, monkeypatch, capsys):
    """Run a command in a folder with the inputs in/smith_john.nii.gz and in/b.nii.gz."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for seed, name in enumerate((NAME, "b")):
        data = np.random.default_rng(seed).gamma(2, 300, SHAPE).astype(np.float32)
        write_nifti(Path(f"in/{name}.nii.gz"), data)
    tiny = ["--model", str(tiny_bundle), "--threads", "1", "--steps", "2", "--samples", "2"]

    def call(command: str, *arguments: str) -> tuple[int, list[str]]:
        extra = [*tiny, "--allow-activity-change"] if command == "reconstruct" else []
        code = run([command, *arguments, *extra])
        return code, capsys.readouterr().err.splitlines()

    return call


@pytest.fixture
def undrawn(monkeypatch):
    leave_undrawn(monkeypatch)


def summary(path: Path) -> dict[str, object]:
    found = re.search(r'id="petrt-summary">(.*?)</script>', path.read_text())
    assert found is not None
    return dict(json.loads(found.group(1)))


def test_one_case(petrt):
    source = f"in/{NAME}.nii.gz"
    options = ("--report", "page.html", "--json", "o.json", "--preview", "o.png")
    assert petrt("reconstruct", source, "o.nii.gz", *options)[0] == 0
    page, record = Path("page.html").read_text(), json.loads(Path("o.json").read_text())
    assert NAME not in page
    assert summary(Path("page.html"))["id"] == record["hashes"]["input"][:12]
    assert record["hashes"]["outputs"]["image"] in page
    assert set(record["hashes"]["outputs"]) == {"image", "preview", "report"}
    assert "output − input" in page
    assert 'id="layer-coarse"' in page
    # Again from the files, without the coarse prediction, which was not kept.
    assert petrt("report", source, "o.nii.gz", "--out", "again.html")[0] == 0
    again = summary(Path("again.html"))
    assert again["id"] == record["hashes"]["input"][:12]
    assert again["activity_ratio"] == pytest.approx(record["frames"][0]["activity_ratio"], rel=1e-4)
    code, said = petrt("report", source, "o.nii.gz", "--out", "again.html")
    assert code == 2
    assert "again.html: the output exists" in said[-1]


@pytest.mark.usefixtures("undrawn")
def test_a_folder_has_an_index(petrt):
    options = ("--report", "pages", "--json", "out")
    assert petrt("reconstruct", "in", "out", *options)[0] == 0
    pages = {path.name for path in Path("pages").iterdir()}
    rows = json.loads(Path("out/cases.json").read_text())["cases"]
    names = [f"case-{row['input_sha256'][:12]}.html" for row in rows]
    assert pages == {*names, "index.html"}
    assert "2 cases" in Path("pages/index.html").read_text()
    assert rows[0]["outputs"]["report"]
    # Nothing is to do; a page that is missing is made again.
    Path("pages", names[0]).unlink()
    assert petrt("reconstruct", "in", "out", *options)[0] == 0
    assert Path("pages", names[0]).is_file()
    # The same pages from the files, without the coarse prediction.
    assert petrt("report", "in", "out")[0] == 0
    assert {path.name for path in Path("out/report").iterdir()} == pages
    for page in (*Path("pages").iterdir(), *Path("out/report").iterdir()):
        assert NAME not in page.read_text()


@pytest.mark.usefixtures("undrawn")
def test_equal_inputs_have_a_page_each(petrt):
    shutil.copy("in/b.nii.gz", "in/c.nii.gz")
    assert petrt("reconstruct", "in", "out", "--report", "pages")[0] == 0
    assert petrt("report", "in", "out")[0] == 0
    for folder in ("pages", "out/report"):
        assert len(list(Path(folder).glob("case-*.html"))) == 3
        assert "3 cases" in Path(folder, "index.html").read_text()


SINGLE = ("reconstruct", f"in/{NAME}.nii.gz", "o.nii.gz")
# Of the page that petrt reconstruct writes and of that which petrt report makes of the files.
SAME = ("warnings", "model", "dose_fraction", "activity_ratio", "id")


def same(one: Path, other: Path) -> None:
    """Both pages tell the same of the run."""
    first, second = summary(one), summary(other)
    for key in SAME:
        assert first[key] == (
            pytest.approx(second[key], rel=1e-4) if key == SAME[3] else second[key]
        )
    assert command_in(one.read_text()) == command_in(other.read_text())


@pytest.mark.usefixtures("undrawn")
def test_a_run_without_records_is_told_by_its_table(petrt):
    assert petrt("reconstruct", "in", "out", "--std", "out", "--report", "pages")[0] == 0
    assert petrt("report", "in", "out")[0] == 0
    pages = [path for path in Path("pages").iterdir() if path.name != "index.html"]
    assert len(pages) == 2
    for page in pages:
        same(page, Path("out/report", page.name))
        assert summary(page)["warnings"]
    text = Path("out/report/index.html").read_text()
    assert "2 with warnings." in text
    # RUN alone, since its table tells where the inputs are.
    assert petrt("report", "out", "--out", "alone")[0] == 0
    for page in pages:
        assert Path("alone", page.name).read_bytes() == Path("out/report", page.name).read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_a_run_whose_inputs_have_moved(petrt):
    petrt("reconstruct", "in", "out")
    Path("in").rename("moved")
    code, said = petrt("report", "out")
    assert code == 3
    assert "2 of 2 inputs are not where the run found them" in said[-1]
    assert petrt("report", "moved", "out")[0] == 0


@pytest.mark.usefixtures("undrawn")
def test_an_output_that_no_record_tells_of(petrt):
    petrt(*SINGLE, "--report", "page.html")
    petrt("reconstruct", "in", "out")
    other = np.ones(SHAPE, np.float32)
    write_nifti(Path("out/b.nii.gz"), other)
    assert petrt("report", "in", "out")[0] == 0
    assert "1 without a record of the run" in Path("out/report/index.html").read_text()
    source = SINGLE[1]
    assert petrt("report", source, "o.nii.gz")[0] == 0
    page = Path("o.html").read_text()
    assert summary(Path("o.html"))["warnings"] is None
    assert "Warnings unknown" in page
    for path in (source, "o.nii.gz"):
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() in page


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("broken", ["in", "out"])
def test_a_broken_case_of_several_does_not_stop_the_others(petrt, broken):
    petrt("reconstruct", "in", "out")
    Path(broken, "b.nii.gz").write_bytes(b"no image")
    code, said = petrt("report", "in", "out")
    assert code == 5
    assert any(line.startswith("petrt: failed: b.nii.gz: ") for line in said)
    assert "1 of 2 cases failed" in said[-1]
    index = Path("out/report/index.html").read_text()
    assert "1 failed, " in index
    assert "2 cases" in index


@pytest.mark.usefixtures("undrawn")
def test_a_case_that_failed_is_in_the_index(petrt):
    Path("in/c.nii.gz").write_bytes(b"no image")
    assert petrt("reconstruct", "in", "out", "--report", "pages")[0] == 5
    assert petrt("report", "out")[0] == 0
    assert petrt("report", "in", "out", "--out", "both")[0] == 0
    for folder in ("pages", "out/report", "both"):
        index = Path(folder, "index.html").read_text()
        assert "3 cases" in index
        assert "failed, exit code 3" in index
        assert "c.nii" not in index


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_an_input_that_has_changed_goes(petrt):
    petrt("reconstruct", "in", "out", "--report", "pages")
    before = {path.name for path in Path("pages").iterdir()}
    shutil.copy("in/b.nii.gz", "in/c.nii.gz")
    data = np.random.default_rng(9).gamma(2, 300, SHAPE).astype(np.float32)
    write_nifti(Path("in/b.nii.gz"), data)
    Path("in/c.nii.gz").unlink()
    assert petrt("reconstruct", "in", "out", "--report", "pages", "--resume")[0] == 0
    after = {path.name for path in Path("pages").iterdir()}
    assert len(after) == 3
    assert len(before - after) == len(after - before) == 1
    assert "2 cases" in Path("pages/index.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_pages_in_another_folder_stay(petrt):
    petrt("reconstruct", "in", "out", "--report", "pages")
    before = contents(Path("pages"))
    data = np.random.default_rng(9).gamma(2, 300, SHAPE).astype(np.float32)
    write_nifti(Path("in/b.nii.gz"), data)
    assert petrt("reconstruct", "in", "out", "--report", "other", "--resume")[0] == 0
    assert contents(Path("pages")) == before
    assert "2 cases" in Path("other/index.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_dry_run_knows_the_pages(petrt, tiny_bundle, capsys):
    options = ("in", "out", "--report", "pages")
    petrt("reconstruct", *options)
    given = ["--model", str(tiny_bundle), "--threads", "1", "--steps", "2", "--samples", "2"]
    assert run(["reconstruct", *options, *given, "--allow-activity-change", "--dry-run"]) == 0
    assert "0 of 2 to do" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_a_failure_that_was_mended_since_is_told_no_more(petrt):
    good = Path("in/b.nii.gz").read_bytes()
    Path("in/b.nii.gz").rename("in/c.nii")  # a name that is not that of its output
    Path("in/c.nii").write_bytes(b"no image")
    assert petrt("reconstruct", "in", "out", "--table", "out/first.tsv")[0] == 5
    Path("in/c.nii").write_bytes(gzip.decompress(good))
    assert petrt("reconstruct", "in", "out", "--report", "pages")[0] == 0
    assert petrt("report", "out")[0] == 0
    for folder in ("pages", "out/report"):
        text = Path(folder, "index.html").read_text()
        assert "2 cases" in text
        assert "failed, exit code" not in text


@pytest.mark.usefixtures("undrawn")
def test_equal_inputs_in_parts_and_a_second_table(petrt):
    shutil.copy("in/b.nii.gz", "in/c.nii.gz")
    for part in "01":
        options = ("--num-parts", "2", "--part-id", part, "--report", "pages")
        assert petrt("reconstruct", "in", "out", *options)[0] == 0
    assert petrt("reconstruct", "in", "out")[0] == 0  # a table of all, beside those of the parts
    assert petrt("report", "out")[0] == 0
    assert "3 cases" in Path("out/report/index.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_an_output_behind_a_link(petrt):
    Path("far/away").mkdir(parents=True)
    Path("out").symlink_to("far/away")
    petrt("reconstruct", "in", "out")
    assert petrt("report", "out")[0] == 0
    assert petrt("report", "far/away", "--out", "again")[0] == 0


FOREIGN = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "no record": json.dumps({"model": "Siemens", "frames": 3}),
    "no hashes": json.dumps({"model": {"name": "x", "sha256": ""}, "frames": [], "warnings": []}),
    "other hashes": None,
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_of_the_name_of_a_record(petrt, kind):
    """It is passed over, and the table tells of the run; by --json it is refused."""
    petrt("reconstruct", "in", "out", "--json", "records")
    text = FOREIGN[kind] or Path(f"records/{NAME}.json").read_text()
    for name in ("b.json", "else.json"):
        Path("out", name).write_text(text)
    assert petrt("report", "out")[0] == 0
    assert "2 with warnings." in Path("out/report/index.html").read_text()
    given = ("in/b.nii.gz", "out/b.nii.gz", "--json", "out/b.json", "--out", "p.html")
    assert petrt("report", *given)[0] == 3


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "change",
    [{"paths": None}, {"paths": {"image": 5}}, {"run": [1]}, {"outputs": None}, {"name": 3}],
    ids=str,
)
def test_a_damaged_table_is_none(petrt, change):
    petrt("reconstruct", "in", "out")
    content = json.loads(Path("out/cases.json").read_text())
    content["cases"][0] |= change
    Path("out/cases.json").write_text(json.dumps(content))
    assert petrt("report", "out")[0] == 2
    assert petrt("report", "in", "out")[0] == 0
    assert "2 without a record" in Path("out/report/index.html").read_text()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("change", [{"model": "x"}, {"frames": [1]}, {"dose_fraction": 0}], ids=str)
def test_a_damaged_row_tells_of_no_run(petrt, change):
    petrt("reconstruct", "in", "out")
    content = json.loads(Path("out/cases.json").read_text())
    content["cases"][0]["run"] |= change
    Path("out/cases.json").write_text(json.dumps(content))
    assert petrt("report", "out")[0] == 0
    assert "1 without a record" in Path("out/report/index.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_the_std_of_another_run(petrt):
    petrt(*SINGLE, "--std", "o_std.nii.gz", "--json", "o.json")
    good = Path("o_std.nii.gz").read_bytes()
    petrt("reconstruct", "in/b.nii.gz", "x.nii.gz", "--std", "x_std.nii.gz")
    shutil.copy("x_std.nii.gz", "o_std.nii.gz")
    code, said = petrt("report", SINGLE[1], "o.nii.gz")
    assert code == 0
    assert any("o_std.nii.gz: not of the run that made the output" in line for line in said)
    assert "layer-std" not in Path("o.html").read_text()
    options = ("--std", "x_std.nii.gz", "--out", "p.html")
    code, said = petrt("report", SINGLE[1], "o.nii.gz", *options)
    assert code == 3
    assert "--std x_std.nii.gz: not of the run" in said[-1]
    Path("o_std.nii.gz").write_bytes(good)
    assert petrt("report", SINGLE[1], "o.nii.gz", "--out", "p.html")[0] == 0
    assert "layer-std" in Path("p.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_series_of_a_dicom_study(petrt):
    for number in (1, 2):
        write_series(Path(f"study/{number}"), shape=(16, 16, 3), SeriesInstanceUID=f"1.2.{number}")
    assert petrt("reconstruct", "study", "derived", "--all-series", "--report", "pages")[0] == 0
    assert petrt("report", "derived")[0] == 0
    Path("study").rename("moved")
    Path("new").mkdir()
    Path("moved").rename("new/study")
    assert petrt("report", "new/study", "derived", "--out", "again")[0] == 0
    pages = sorted(path.name for path in Path("pages").iterdir())
    assert len(pages) == 3
    for folder in ("derived/report", "again"):
        assert sorted(path.name for path in Path(folder).iterdir()) == pages
    for name in pages[:2]:
        same(Path("pages", name), Path("again", name))
    page = Path("pages", pages[0]).read_text()
    assert "--series UID" in page
    assert "1.2.1" not in page
    one = ("--series", "1.2.1", "--out", "one.html")
    petrt("reconstruct", "new/study", "single", "--series", "1.2.1", "--json", "single.json")
    assert petrt("report", "new/study", "single", *one)[0] == 0
    assert summary(Path("one.html"))["warnings"] is not None


@pytest.mark.usefixtures("undrawn")
def test_a_cohort_with_references_and_labels(petrt):
    petrt("reconstruct", "in", "out")
    Path("full").mkdir()
    Path("regions").mkdir()
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 5
    for path in Path("in").iterdir():
        shutil.copy(path, f"full/{path.name}")
        write_nifti(Path("regions", path.name), labels.astype(np.int16))
    more = ("--reference", "full", "--labels", "regions")
    assert petrt("report", "out", *more)[0] == 0
    pages = list(Path("out/report").glob("case-*.html"))
    assert len(pages) == 2
    for page in pages:
        assert "4 regions of the label map" in page.read_text()
    assert "PSNR, input" in Path("out/report/index.html").read_text()
    # One has no reference; that is said.
    Path("full/b.nii.gz").unlink()
    code, said = petrt("report", "out", "--reference", "full", "--out", "again")
    assert code == 0
    assert any("--reference: 1 of 2 cases have none" in line for line in said)


@pytest.mark.parametrize(
    "options",
    [
        ("--preset", "fast", "--samples", "2", "--dose", "1/3"),
        ("--sampler", "ddim", "--steps", "3", "--samples", "1", "--seed", "7", "--strength", "0.3"),
        ("--preset", "coarse", "--all-slices"),
        ("--samples", "2", "--nonfinite", "zero"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("undrawn")
def test_the_command_of_a_page_makes_the_output_again(tiny_bundle, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    data = np.random.default_rng(3).gamma(2, 300, SHAPE).astype(np.float32)
    data[..., -1] = 0
    data[0, 0, 0] = np.nan if "--nonfinite" in options else 1
    if "--compress" in options:
        write_series(Path("in"), shape=(16, 16, 3))
    else:
        write_nifti(Path("in.nii.gz"), data)
    source, end = ("in", "") if "--compress" in options else ("in.nii.gz", ".nii.gz")
    given = ["--model", str(tiny_bundle), "--allow-activity-change", *options]
    maps = ["--coarse", f"coarse{end}"] + (["--std", f"std{end}"] if "2" in options else [])
    assert run(["reconstruct", source, f"out{end}", "--report", "p.html", *maps, *given]) == 0
    files = {"IN": source, "OUT": f"2{end}", "STD": f"2std{end}", "COARSE": f"2coarse{end}"}
    files["MODEL"] = str(tiny_bundle)
    words = command_in(Path("p.html").read_text())
    assert run([files.get(word, word) for word in words]) == 0
    for first, again in (("out", "OUT"), ("coarse", "COARSE"), ("std", "STD")):
        if Path(f"{first}{end}").exists():
            made = [*contents(Path(f"{first}{end}")).values()]
            assert [*contents(Path(files[again])).values()] == made


def test_a_foreign_index_stops_before_work(petrt):
    Path("pages").mkdir()
    Path("pages/index.html").write_text("mine")
    code, said = petrt("reconstruct", "in", "out", "--report", "pages")
    assert code == 2
    assert "index.html: the file exists and is no index" in said[-1]
    assert Path("pages/index.html").read_text() == "mine"
    assert not list(Path("out").glob("*.nii.gz"))


def test_a_record_of_another_run_is_refused(petrt):
    petrt("reconstruct", "in/b.nii.gz", "b.nii.gz", "--json", "b.json")
    shutil.copy("b.json", "other.json")
    source = f"in/{NAME}.nii.gz"
    petrt("reconstruct", source, "o.nii.gz")
    code, said = petrt("report", source, "o.nii.gz", "--json", "other.json")
    assert code == 3
    assert "other.json: the record of another input or output" in said[-1]
    Path("other.json").write_text("[]")
    code, said = petrt("report", source, "o.nii.gz", "--json", "other.json")
    assert code == 3
    assert "no record of a run" in said[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("in",), 2, "in: not a folder of petrt demo, and no cases.json in it"),
        (("nothing", "in"), 3, "nothing: no such file"),
        (("in", "empty"), 3, "empty: no output of in is in it"),
        (("in", "in", "in"), 2, "3 paths"),
        (("in/b.nii.gz", "small.nii.gz"), 3, "its grid is not that of b.nii.gz"),
        (("in/b.nii.gz", "in/b.nii.gz", "--labels", "small.nii.gz"), 3, "its grid is not that"),
        (("in", "copies", "--reference", "in/b.nii.gz"), 2, "--reference must be a folder"),
        (("in", "copies", "--json", "empty"), 3, "no file in it has the name of an input"),
        (("in", "copies", "--std", "absent"), 3, "absent: no such file"),
    ],
)
def test_refusals(petrt, arguments, code, text):
    Path("empty").mkdir()
    shutil.copytree("in", "copies")
    write_nifti(Path("small.nii.gz"), np.ones((4, 4, 4), np.float32))
    found, said = petrt("report", *arguments)
    assert found == code
    assert text in said[-1]
    assert not list(Path().rglob("*.html"))


@pytest.mark.usefixtures("undrawn")
def test_the_command_of_evaluate_makes_the_numbers_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(1).gamma(2, 300, (*SHAPE, 3)).astype(np.float32)
    write_nifti(Path("smith.nii.gz"), frames * np.float32(1.1))
    write_nifti(Path("full.nii.gz"), frames)
    labels = np.ones(SHAPE, np.int16)
    labels[8:] = 2
    write_nifti(Path("organs.nii.gz"), labels)
    options = ["--labels", "organs.nii.gz", "--names", "1=a liver,2=heart", "--scale", "2.5"]
    options += ["--protocol", "standard", "--protocol", "paper"]
    begin = ["evaluate", "smith.nii.gz", "full.nii.gz"]
    assert run([*begin, *options, "--report", "e.html", "--json", "e.json"]) == 0
    page, record = Path("e.html").read_text(), json.loads(Path("e.json").read_text())
    files = {"PRED": "smith.nii.gz", "REF": "full.nii.gz", "LABELS": "organs.nii.gz"}
    words = [files.get(word, word) for word in command_in(page)]
    assert run([*words, "--json", "again.json"]) == 0
    assert json.loads(Path("again.json").read_text()) == record
    for each in record["inputs"].values():
        assert each["sha256"] in page
        assert each["name"] not in page
    assert "frame 1 of 3" in page
    assert page.count("Frames</h2>") == 1


@pytest.mark.usefixtures("undrawn")
def test_evaluate(petrt):
    image, full = f"in/{NAME}.nii.gz", "in/b.nii.gz"
    code, _ = petrt("evaluate", image, full, "--report", "e.html", "--json", "e.json")
    assert code == 0
    page, record = Path("e.html").read_text(), json.loads(Path("e.json").read_text())
    assert NAME not in page
    assert summary(Path("e.html"))["activity_ratio"] == pytest.approx(
        record["frames"][0]["activity_ratio"], rel=1e-5
    )
    psnr = record["frames"][0]["metrics"]["standard"]["psnr"]
    assert f"<td>{psnr:.2f}</td>" in page
    assert petrt("evaluate", image, full, "--report", "-")[0] == 2
    assert petrt("evaluate", image, full, "--report", "e.html")[0] == 2
