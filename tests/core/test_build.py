"""What the build promises."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from petrt import _core

ROOT = Path(__file__).resolve().parents[2]

KERNEL = """
#include "petrt/noise.h"
#include "petrt/step.h"
__global__ void all(float* v, petrt::StepCoefs coefs, petrt::NoiseKey key) {
  const float z = petrt::normals4(key, threadIdx.x).z[0];
  const float x0 = petrt::predict_x0(coefs, 1.0f, v[0], v[1]);
  v[0] = petrt::next_r(coefs, v[0], x0, v[2], z);
  petrt::add_sample(petrt::reconstruct(v[3], 1.0f, v[0]), 1.0f, v[4], v[5]);
}
"""


def test_version_is_the_one_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version is not None
    assert _core.__version__ == version[1]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_formulas_compile_for_the_gpu(tmp_path: Path) -> None:
    """The formulas of step.h and noise.h are device code as they stand."""
    source = tmp_path / "all.cu"
    source.write_text(KERNEL)
    include = f"-I{ROOT / 'csrc' / 'include'}"
    command = ["nvcc", "-std=c++17", "-fmad=false", "-ptx", include, "-o", "all.ptx", source.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ".entry" in (tmp_path / "all.ptx").read_text()
