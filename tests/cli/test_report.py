"""Pages from the command line: --report of reconstruct and evaluate, and petrt report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from petrt.cli.app import run
from tests.helpers import write_nifti

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


def test_a_folder_has_an_index(petrt):
    options = ("--report", "pages", "--json", "out")
    assert petrt("reconstruct", "in", "out", *options)[0] == 0
    names = {path.name for path in Path("pages").iterdir()}
    assert names == {"b.html", f"{NAME}.html", "index.html"}
    assert "2 cases" in Path("pages/index.html").read_text()
    assert json.loads(Path("out/cases.json").read_text())["cases"][0]["outputs"]["report"]
    # Nothing is to do; a page that is missing is made again.
    Path("pages/b.html").unlink()
    assert petrt("reconstruct", "in", "out", *options)[0] == 0
    assert Path("pages/b.html").is_file()
    # From the files: pages are named by hashes, so no name is in the folder.
    assert petrt("report", "in", "out")[0] == 0
    pages = list(Path("out/report").iterdir())
    assert len(pages) == 3
    for page in pages:
        assert NAME not in page.name
        assert NAME not in page.read_text()


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
        (("in",), 2, "in: not a folder of petrt demo"),
        (("nothing", "in"), 3, "nothing: no such file"),
        (("in", "empty"), 3, "empty: no output of in is in it"),
        (("in", "in", "in"), 2, "3 paths"),
        (("in/b.nii.gz", "small.nii.gz"), 3, "its grid is not that of b.nii.gz"),
    ],
)
def test_refusals(petrt, arguments, code, text):
    Path("empty").mkdir()
    write_nifti(Path("small.nii.gz"), np.ones((4, 4, 4), np.float32))
    found, said = petrt("report", *arguments)
    assert found == code
    assert text in said[-1]
    assert not list(Path().rglob("*.html"))


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
