"""Pictures need no folder for settings and caches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRAW = """
import errno, hashlib, logging, os, pwd, sys, tempfile
kind = sys.argv[1]

def unknown(_):
    raise KeyError

def full(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")

if kind != "usual":
    pwd.getpwuid = unknown
    tempfile.mkdtemp = full
from petrt.evaluation.report.figure import import_matplotlib, png

def draw():
    from matplotlib.figure import Figure
    figure = Figure(figsize=(2, 1))
    figure.text(0.5, 0.5, "text")
    return figure

if kind == "imported":  # by somebody else, with matplotlib's own warnings
    logging.getLogger("matplotlib").setLevel("ERROR")
    try:
        import matplotlib.figure
    except (OSError, RuntimeError):
        pass
import_matplotlib()
print(hashlib.sha256(png(draw)).hexdigest())
assert "MATPLOTLIBRC" not in os.environ
"""


def drawn(kind: str, folder: Path, **environment: str) -> str:
    """The picture's hash in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "XDG", "MATPLOT"))}
    kept.pop("HOME")
    command = [sys.executable, "-c", DRAW, kind]
    done = subprocess.run(
        command, env=kept | environment, cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> str:
    home = tmp_path_factory.mktemp("home")
    return drawn("usual", home, HOME=str(home))


@pytest.mark.parametrize("kind", ["fresh", "imported"])
@pytest.mark.parametrize("home", ["read-only", "none"])
def test_a_picture_is_the_same_without_a_writable_folder(tmp_path, usual, kind, home):
    environment = {"HOME": "/proc/nowhere"} if home == "read-only" else {}
    assert drawn(kind, tmp_path, **environment) == usual
    assert list(tmp_path.iterdir()) == []
