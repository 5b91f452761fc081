"""SUV by z-rad, an independent program after the same manual, and of the manual's reference objects."""

from __future__ import annotations

import csv
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

import petrt.suv
from tests.suv.cases import CASES
from tests.suv.series_files import write
from tests.suv.zrad_answers import ANSWERS

# z-rad takes AcquisitionTime where SeriesTime is seconds before it, petrt SeriesTime; 0.03 %.
_SECONDS_APART = ("series before",)
SAID = {name: each for name, each in json.loads(ANSWERS.read_text())["answers"].items() if each}
# In the folder $PETRT_DATA, else in ``shared/data`` beside the repository.
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
OBJECTS = Path(os.environ.get("PETRT_DATA", BESIDE)) / "ibsi_suv_dro.tar.xz"


def test_z_rad_answers_most_cases():
    assert set(json.loads(ANSWERS.read_text())["answers"]) == set(CASES)
    assert len(SAID) > 0.8 * len(CASES)


@pytest.mark.parametrize("name", SAID)
def test_as_z_rad(tmp_path, name):
    suv = petrt.suv.volume(write(tmp_path, **CASES[name].changes)).data
    tolerance = 5e-4 if name in _SECONDS_APART else 2e-6
    np.testing.assert_allclose(suv[2, 1, [0, -1]], SAID[name], rtol=tolerance)


@pytest.mark.skipif(
    not OBJECTS.exists(), reason="no ibsi_suv_dro.tar.xz; set PETRT_DATA to its folder"
)
def test_reference_objects(tmp_path):
    """SUVbw of the insert 4.00, the background 1.00 and the cold insert 0.20, in each object."""
    with tarfile.open(OBJECTS) as archive:
        archive.extractall(tmp_path, filter="data")
    (table,) = tmp_path.rglob("DRO_list.csv")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert len(rows) >= 11
    for row in rows:
        suv = petrt.suv.volume(table.parent / row["ID"]).data
        inside = suv[suv > 0.01]
        found = (inside.min(), float(np.median(inside)), inside.max())
        expected = [row[f"SUV{what}_expected"] for what in ("min", "med", "max")]
        assert [f"{value:.2f}" for value in found] == expected, row["ID"]
        assert set(np.unique(np.round(inside, 2))) == {*np.float32(expected)}, row["ID"]
