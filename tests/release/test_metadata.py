"""What the package says of itself outside the repository: description, addresses, citation."""

from __future__ import annotations

import base64
import importlib.util
import re
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def outside() -> Any:
    spec = importlib.util.spec_from_file_location("readme_outside", ROOT / "release/readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.outside


def targets(text: str) -> list[tuple[str, str]]:
    return re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text)


def test_the_picture_is_part_of_the_description(outside):
    text = outside(README, ROOT)
    assert all(
        target.startswith(("https://", "data:image/jpeg;base64,")) for _, target in targets(text)
    )
    ((_, picture),) = [each for each in targets(text) if each[0]]
    with Image.open(BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
        assert image.size[0] == 800
    assert len(text) < 200_000
    assert "[model card]" not in text
    assert "model card" in text


def test_with_an_address_everything_leads_there(outside):
    text = outside(README, ROOT, "https://example.org/petrt/")
    assert ("!", "https://example.org/petrt/raw/HEAD/docs/demo.png") in targets(text)
    assert ("", "https://example.org/petrt/blob/HEAD/docs/model_card.md") in targets(text)
    assert all(target.startswith("https://") for _, target in targets(text))


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
