"""Tries a wheel where there is nothing else: ``python release/try_wheel.py WHEEL ENVIRONMENT``.

A new environment gets the wheel and what it requires, all as wheels, with no compiler in reach. There
``petrt doctor`` and a small reconstruction must work. The environment stays: ``make sbom`` lists it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

VOLUME = """
import nibabel, numpy
data = numpy.random.default_rng(0).gamma(2, 300, (32, 32, 8)).astype(numpy.float32)
nibabel.Nifti1Image(data, numpy.diag([2.0, 2, 2, 1])).to_filename("low.nii.gz")
"""
CHECK = """
import nibabel, numpy, petrt
low, out = (nibabel.load(name) for name in ("low.nii.gz", "out.nii.gz"))
assert out.shape == low.shape and numpy.array_equal(out.affine, low.affine)
assert numpy.isfinite(out.get_fdata()).all()
"""


def fresh(wheel: Path, place: Path) -> Path:
    """A new environment at ``place`` with ``wheel`` and its requirements alone; returns its Python."""
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    variables = os.environ | {"CC": "/bin/false", "CXX": "/bin/false"}
    variables.pop("PYTHONPATH", None)  # pip would take what lies there as installed
    subprocess.run(
        [*pip, "install", "-q", "--only-binary", ":all:", str(wheel)], check=True, env=variables
    )
    return python


def works(python: Path, folder: Path) -> None:
    """Run petrt in the environment of ``python``, with nothing on the path but that environment."""
    keep = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    clean = keep | {
        "PATH": str(python.parent),
        "HOME": str(folder),
        "PETRT_CACHE": str(folder / "cache"),
    }

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(python), *command],
            cwd=folder,
            env=clean,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    # Noise has not the activity of a brain, which is not what is tried here.
    options = ("--json", "record.json", "--allow-activity-change", "--threads", "1", "-q")
    run("-c", VOLUME)
    assert "native" in run("-m", "petrt", "doctor")
    run("-m", "petrt", "reconstruct", "low.nii.gz", "out.nii.gz", *options)
    run("-c", CHECK)
    record = json.loads((folder / "record.json").read_text())
    print(
        f"{record['petrt']}: {record['engine']['name']} {record['engine']['version']}, "
        f"{record['seconds']['total']} s"
    )


if __name__ == "__main__":
    environment = Path(sys.argv[2]).resolve()
    interpreter = fresh(Path(sys.argv[1]).resolve(), environment)
    work = environment / "try"
    work.mkdir()
    works(interpreter, work)
    shutil.rmtree(work)
