"""What the package says of itself outside the repository: description, addresses, citation."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.metadata import Metadata
from readme_renderer import markdown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def release() -> Iterator[Any]:
    """The scripts of release/, which import each other by their bare names."""
    names = ("build_wheel", "readme", "repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "release")
        yield {name: importlib.import_module(name) for name in names}
    for name in names:
        del sys.modules[name]


@pytest.fixture(
    params=["", "https://github.com/owner/petrt", "https://gitlab.example.org/a/b/petrt"]
)
def repository(release, request) -> Any:
    return release["repository"].Repository(request.param) if request.param else None


def shown(text: str) -> str:
    """HTML of a description as a package index shows it."""
    html = markdown.render(text)
    assert html is not None
    return html


def parts(html: str) -> dict[str, list[str]]:
    """What must be the same wherever the README is shown."""
    return {
        tag: re.findall(rf"<{tag}\b[^>]*>([^<]*)", html) for tag in ("h1", "h2", "pre", "tr", "th")
    }


def test_an_index_shows_the_description_whole(release, repository):
    html = shown(release["readme"].outside(README, repository))
    assert parts(html) == parts(shown(README))
    assert html.count("<table>") == 1
    assert "](" not in html
    assert all(
        re.match(r"https://|#user-content-", at) for at in re.findall(r'href="([^"]*)"', html)
    )
    for words in re.findall(r"[^!]\[([^\]]*)\]\(", README):
        assert re.search(rf"\b{re.escape(words)}\b", html), words


def test_with_an_address_links_and_picture_lead_there(release):
    for address, inside in (
        ("https://github.com/owner/petrt", ""),
        ("https://gitlab.com/a/petrt", "/-"),
    ):
        repository = release["repository"].Repository(f"{address}.git")
        html = shown(release["readme"].outside(README, repository))
        assert re.findall(r'<img src="([^"]*)"', html) == [
            f"{address}{inside}/raw/HEAD/docs/demo.png"
        ]
        for target in re.findall(r"[^!]\[[^\]]*\]\((?!https:)([^)]*)\)", README):
            assert f'href="{address}{inside}/blob/HEAD/{target}"' in html


def test_without_an_address_no_picture_and_no_link_is_left_broken(release):
    html = shown(release["readme"].outside(README))
    assert "<img" not in html
    assert "Simulated brain at" not in html  # nor words that describe no picture
    links = re.findall(r'href="(https:[^"]*)"', html)
    assert links == re.findall(r"\]\((https:[^)]*)\)", README)


def test_other_pictures_and_links_stay(release):
    text = "![badge](https://example.org/b.svg)\n\n[here](#there) and ![a map](map.png) [x](y.md)\n"
    assert release["readme"].outside(text) == text.replace("![a map](map.png) [x](y.md)", "a map x")


def test_one_address_gives_the_usual_project_urls(release, repository, tmp_path):
    path = tmp_path / "METADATA"
    path.write_text(importlib.metadata.distribution("petrt").read_text("METADATA"))
    before = Metadata.from_email(path.read_bytes())
    release["build_wheel"].describe(path, repository)
    after = Metadata.from_email(path.read_bytes(), validate=True)
    new = {} if repository is None else repository.project_urls()
    assert after.project_urls == PROJECT["urls"] | new
    assert after.description == release["readme"].outside(README, repository)
    assert after.requires_dist == before.requires_dist
    assert str(after.version) == str(before.version)


def test_addresses_are_those_of_the_forge(release):
    Repository = release["repository"].Repository
    assert Repository("https://github.com/owner/petrt/").project_urls() == {
        "Homepage": "https://github.com/owner/petrt",
        "Documentation": "https://github.com/owner/petrt/blob/HEAD/docs/index.md",
        "Source": "https://github.com/owner/petrt",
        "Issues": "https://github.com/owner/petrt/issues",
        "Changelog": "https://github.com/owner/petrt/blob/HEAD/CHANGELOG.md",
    }
    urls = Repository("https://gitlab.example.org/a/b/petrt").project_urls()
    assert urls["Issues"] == "https://gitlab.example.org/a/b/petrt/-/issues"
    # The files that these lead to are there.
    inside = (re.findall(r"/HEAD/(.*)", address) for address in urls.values())
    assert all((ROOT / path).is_file() for found in inside for path in found)


@pytest.mark.parametrize(
    "address",
    [
        *("petrt", "http://github.com/a/b", "https://github.com/a", "https://example.org/a/b"),
        *("https://notgithub.com/a/b", "https://github.com/a/b\nX: y", "https://github.com/a/b c"),
    ],
)
def test_other_addresses_are_refused(release, address):
    with pytest.raises(ValueError, match="not https://HOST/OWNER/NAME"):
        release["repository"].Repository(address)


def test_the_citation_has_what_its_format_asks_for():
    """cff-version, message, title and authors are required, in version 1.2.0 of the format."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cff["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license"} <= {*cff}
    assert cff["version"] == PROJECT["version"]
    assert cff["license"] == PROJECT["license"]
    (paper,) = cff["references"]
    assert f"https://doi.org/{paper['doi']}" in README
    assert all({*author} == {"given-names", "family-names"} for author in paper["authors"])


def test_addresses_of_the_package_stand_in_the_readme():
    assert PROJECT["urls"]
    assert all(address in README for address in PROJECT["urls"].values())
