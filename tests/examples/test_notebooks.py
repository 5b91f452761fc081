"""The notebooks of examples/ run in a real kernel, from the first cell to the last."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
PAGES = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def run(path: Path, folder: Path) -> Any:
    """The notebook, run in ``folder``. Raises for a cell that fails."""
    from nbclient import NotebookClient

    book = read(path)
    client = NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client and its event loop; the kernel has its own
        client.execute()
    return book


def outputs(book: Any, kind: str) -> list[str]:
    """What the cells show of a kind, such as text/html."""
    shown = [each for cell in book.cells for each in cell.get("outputs", [])]
    return [each["data"][kind] for each in shown if kind in each.get("data", {})]


def printed(book: Any, stream: str = "stdout") -> str:
    shown = [each for cell in book.cells for each in cell.get("outputs", [])]
    return "".join(each["text"] for each in shown if each.get("name") == stream)


def test_there_are_two_and_the_pages_name_them():
    assert [path.name for path in NOTEBOOKS] == ["denoise.ipynb", "evaluate.ipynb"]
    for path in NOTEBOOKS:
        assert f"examples/{path.name}" in PAGES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path):
    book = read(path)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []
    text = "".join(cell.source for cell in book.cells)
    assert "Not for diagnostic use" in text
    for name in re.findall(r"`(docs/[a-z_]+\.md)`", text):
        assert (ROOT / name).exists(), name


def test_denoise(tmp_path):
    book = run(ROOT / "examples" / "denoise.ipynb", tmp_path)
    assert printed(book, "stderr") == ""
    html = outputs(book, "text/html")
    assert any("data:image/png;base64," in each for each in html)
    assert any("<table>" in each and "90 % intervals" in each for each in html)
    assert not any("<progress" in each for each in html)  # it was there, and went
    plain = outputs(book, "text/plain")
    assert "Subject(96 x 96 x 32, 2 mm, Bq/ml, doses 1/20)" in plain
    assert any(each.startswith("Reconstructor(model demo, 8 samples") for each in plain)
    coverage = float(re.search(r"([\d.]+) % of \d+ active", printed(book))[1])
    assert 80 < coverage < 97
    assert plain[-1] == "['out.nii.gz', 'report.html', 'std.nii.gz', 'view.png']"


def test_evaluate(tmp_path):
    book = run(ROOT / "examples" / "evaluate.ipynb", tmp_path)
    assert printed(book, "stderr") == ""
    rows = re.findall(r"^(\S[\w ]*?) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", printed(book), re.M)
    scores = {name: [*map(float, numbers)] for name, *numbers in rows}
    assert [*scores] == ["input", "best Gaussian", "coarse", "fast"]
    assert scores["input"][0] < scores["best Gaussian"][0] < scores["fast"][0]
    assert all(abs(ratio - 1) < 0.05 for *_, ratio in scores.values())
    assert outputs(book, "image/png")  # the line through the lesion
