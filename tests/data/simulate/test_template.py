"""The shipped template is what the tool makes, where nilearn is there to make it."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from petrt.data.simulate.anatomy import load_template

TOOL = Path(__file__).parents[3] / "tools" / "make_template.py"


@pytest.mark.slow
def test_shipped_template_is_the_tools() -> None:
    pytest.importorskip("nilearn")
    tool = runpy.run_path(str(TOOL))
    shipped = load_template()
    for name, made in tool["template"]().items():
        levels = np.round(getattr(shipped, name) * tool["LEVELS"]).astype(int)
        assert np.abs(levels - made).max() <= 1, name  # another SciPy may round otherwise
    np.testing.assert_array_equal(shipped.first_mm, tool["FIRST_MM"])
    assert shipped.voxel_mm == tool["VOXEL_MM"]
