"""The index of reports: worst first, made of the pages themselves."""

from __future__ import annotations

import pytest

from petrt.errors import UsageError
from petrt.evaluation.report.html import SUMMARY, data, page
from petrt.evaluation.report.index import check_index, is_page_of, page_names, write_index
from tests.evaluation.report.document import Document


def summary(name: str, ratio: float | None, *warnings: str, **more: object) -> dict[str, object]:
    numbers = {"maximum_percent": -3.0, "noise_input": 10.0, "noise_output": 2.0, "frame": ""}
    return {
        "id": name,
        "activity_ratio": ratio,
        "warnings": list(warnings),
        "dose_fraction": 0.05,
        **numbers,
        **more,
    }


def write(folder, name: str, content: dict[str, object]) -> None:
    (folder / name).write_text(page("t", "", head=data(SUMMARY, content)))


def test_the_worst_come_first(tmp_path):
    write(tmp_path, "a.html", summary("aaa", 1.001))
    write(tmp_path, "b.html", summary("bbb", 0.93))
    write(tmp_path, "c d&.html", summary("ccc", 1.0, "one <warning>", "two"))
    write(tmp_path, "e.html", summary("", None))
    (tmp_path / "other.html").write_text("<html>not of petrt</html>")
    path = write_index(tmp_path)
    assert path == tmp_path / "index.html"
    document = Document(path.read_text())
    assert "4 cases" in document.text
    links = [link for link in document.links if not link.startswith("data:")]
    assert links == ["c%20d%26.html", "e.html", "b.html", "a.html"]
    assert "1 with warnings" in document.text
    assert "one &lt;warning&gt; · two" in path.read_text()
    assert write_index(tmp_path) == path  # its own index is replaced


def test_unknown_warnings_are_said_and_come_before_none(tmp_path):
    write(tmp_path, "a.html", summary("aaa", 1.2))
    write(tmp_path, "b.html", summary("bbb", 1.0) | {"warnings": None})
    write(tmp_path, "c.html", summary("ccc", 1.0, "one"))
    document = Document(write_index(tmp_path).read_text())
    links = [link for link in document.links if not link.startswith("data:")]
    assert links == ["c.html", "b.html", "a.html"]
    assert "1 with warnings, 1 without a record of the run" in document.text


def test_pages_are_named_by_their_input():
    one, other = "ab" * 32, "cd" * 32
    names = ["case-abababababab.html", "case-cdcdcdcdcdcd.html", "case-abababababab-2.html"]
    assert page_names([one, other, one]) == names


def test_a_reference_adds_decibels(tmp_path):
    write(tmp_path, "a.html", summary("aaa", 1.0, psnr_input=20.0, psnr_output=31.25))
    assert "31.25" in Document(write_index(tmp_path).read_text()).text


def test_a_foreign_index_is_kept(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(UsageError, match=r"index.html: the file exists"):
        check_index(tmp_path)
    check_index(tmp_path, overwrite=True)


def test_cases_that_failed_come_first(tmp_path):
    write(tmp_path, "a.html", summary("aaa", 1.0, "one"))
    words = Document(write_index(tmp_path, failed=[3]).read_text()).text
    assert "2 cases" in words
    assert "1 failed, 1 with warnings" in words
    assert words.index("failed, exit code 3") < words.index("aaa")


def test_an_index_of_some_pages(tmp_path):
    for name in ("a", "b"):
        write(tmp_path, f"{name}.html", summary(name * 3, 1.0))
    words = Document(write_index(tmp_path, ["b.html"]).read_text()).text
    assert "1 case" in words
    assert "aaa" not in words


def test_a_page_may_be_replaced_by_one_of_the_same_input(tmp_path):
    one, other = "ab" * 32, "cd" * 32
    (name,) = page_names([one])
    assert not is_page_of(tmp_path / name, one)
    write(tmp_path, name, summary(one[:12], 1.0))
    assert is_page_of(tmp_path / name, one)
    assert not is_page_of(tmp_path / name, other)
    (tmp_path / name).write_text("mine")
    assert not is_page_of(tmp_path / name, one)
