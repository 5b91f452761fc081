"""Links between the pages, from the pages to files, and on the site that is built from them. No network."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

ALL = (*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "benchmarks" / "README.md")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads)


def links(page: Path) -> list[str]:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_there_are_links_to_check():
    assert sum(len(links(page)) for page in ALL) > 60


def test_every_page_is_in_the_contents():
    index = (ROOT / "docs" / "index.md").read_text()
    listed = re.findall(r"^(?:.* <)?([a-z_]+)>?$", index, re.MULTILINE)
    assert sorted({*listed} - {"petrt"}) == sorted(
        path.stem for path in (ROOT / "docs").glob("*.md") if path.stem != "index"
    )


@pytest.fixture(scope="module")
def built_links():
    path = ROOT / "docs" / "_ext" / "built_links.py"
    spec = importlib.util.spec_from_file_location("built_links", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_site_is_checked(built_links, tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1><a href="b.html#there"></a><a href="#top"></a>'
    )
    (tmp_path / "b.html").write_text('<p id="there"></p><a href="https://example.org/x"></a>')
    assert built_links.problems(tmp_path) == []
    (tmp_path / "b.html").write_text(
        '<a href="c.html"></a><a href="a.html#gone"></a><script src="https://example.org/x.js"></script>'
    )
    assert built_links.problems(tmp_path) == [
        "a.html: b.html#there names no place in b.html",
        "b.html: loads https://example.org/x.js from elsewhere",
        "b.html: c.html leads nowhere",
        "b.html: a.html#gone names no place in a.html",
    ]
