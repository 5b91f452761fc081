"""Files that belong to somebody else: one line with the system's reason, exit code 3."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from petrt.cli.app import run
from tests.helpers import write_nifti

if not hasattr(os, "seteuid"):
    pytest.skip("permissions of Unix", allow_module_level=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, which ``tmp_path`` is not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_a_stranger(arguments: list[str], path: Path) -> int:
    """``run`` while this user may not read ``path``; root, who may read everything, becomes nobody."""
    usual, user = stat.S_IMODE(path.stat().st_mode), os.geteuid()
    path.chmod(0)
    if user == 0:
        os.seteuid(65534)
    try:
        return run(arguments)
    finally:
        os.seteuid(user)
        path.chmod(usual)


@pytest.mark.parametrize("secret", ["low.nii", "low.nii.gz", "model/model.json", "model"])
def test_a_file_that_may_not_be_read_is_one_line(place, tiny_bundle, capsys, secret):
    model = Path(shutil.copytree(tiny_bundle, place / "model"))
    for path in (model, *model.iterdir()):
        path.chmod(0o755)
    for name in ("low.nii", "low.nii.gz"):
        write_nifti(
            place / name, np.random.default_rng(0).gamma(2, 300, (16, 16, 2)).astype(np.float32)
        )
    arguments = ["inspect", str(model if "model" in secret else place / secret)]
    assert run(arguments) == 0
    capsys.readouterr()
    assert as_a_stranger(arguments, place / secret) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "Permission denied" in line or "no permission" in line
    # A folder may be one of DICOM, whose names tell patients'.
    assert Path(secret).name in line or (secret == "model" and "folder: cannot be listed" in line)
