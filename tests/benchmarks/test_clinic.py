"""The section ``suv`` of the clinic's figures: complete without data, right with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.clinic import suv

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
DATA = Path(os.environ.get("PETRT_DATA", BESIDE))


def test_what_needs_no_data(tmp_path):
    found = suv.section(tmp_path)
    assert list(found) == ["z-rad"]
    compared = found["z-rad"]
    assert compared["within_2e-6"] == compared["series_that_z_rad_answers"] - 1
    assert compared["series_that_z_rad_answers"] > 40


@pytest.mark.skipif(not (DATA / suv.OBJECTS).exists(), reason="needs $PETRT_DATA")
def test_reference_objects():
    found = suv.reference_objects(DATA / suv.OBJECTS)
    assert (
        found["right_to_two_decimals"]
        == f"{3 * len(found['objects'])} of {3 * len(found['objects'])}"
    )
    assert found["largest_difference"] < 0.005
