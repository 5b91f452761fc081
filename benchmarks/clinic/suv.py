"""SUVbw of reference objects, of a real series, and by z-rad.

The folder of data holds ibsi_suv_dro.tar.xz (reference objects of the IBSI for SUV, CC BY 4.0) and
ge_fdg_sts001.zip (a real GE series, CC BY 3.0). What is absent is left out.
"""

from __future__ import annotations

import csv
import json
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import petrt.suv

OBJECTS, REAL = "ibsi_suv_dro.tar.xz", "ge_fdg_sts001.zip"
# Voxels outside the phantom are 0. Its parts are the cold insert, the background and the hot insert.
PARTS = ("min", "med", "max")


def section(folder: Path) -> dict[str, Any]:
    """All figures of SUV that ``folder`` has the data for."""
    found: dict[str, Any] = {"z-rad": against_z_rad()}
    if (folder / OBJECTS).exists():
        found["reference_objects"] = reference_objects(folder / OBJECTS)
    if (folder / REAL).exists():
        found["real_series"] = real_series(folder / REAL)
    return found


def reference_objects(archive: Path) -> dict[str, Any]:
    """SUVbw of the parts of each object: as computed, and as its table expects."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (table,) = Path(folder).rglob("DRO_list.csv")
        for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
            suv = petrt.suv.volume(table.parent / row["ID"]).data
            inside = suv[suv > 0.01]
            values = (inside.min(), np.median(inside), inside.max())
            rows[row["ID"]] = {
                "what": row["Description"].strip(),
                "suv": [round(float(value), 5) for value in values],
                "expected": [float(row[f"SUV{part}_expected"]) for part in PARTS],
            }
    right = [f"{a:.2f}" == f"{b:.2f}" for row in rows.values() for a, b in _pairs(row)]
    return {
        "objects": rows,
        "right_to_two_decimals": f"{sum(right)} of {len(right)}",
        "largest_difference": max(abs(a - b) for row in rows.values() for a, b in _pairs(row)),
    }


def _pairs(row: dict[str, Any]) -> list[tuple[float, float]]:
    return list(zip(row["suv"], row["expected"], strict=True))


def real_series(path: Path) -> dict[str, Any]:
    from petrt.io.dicom.series import read

    volume = read(path)
    started = time.perf_counter()
    factors = petrt.suv.factors(volume)
    seconds = time.perf_counter() - started
    suv = volume.data * factors[0]
    return {
        "slices": volume.data.shape[2],
        "suvbw_of_1_bq_per_ml": float(factors[0, 0]),
        "suvmax": round(float(suv.max()), 2),
        "mean_where_above_0.5": round(float(suv[suv > 0.5].mean()), 3),
        "seconds_for_factors": round(seconds, 3),
    }


def against_z_rad() -> dict[str, Any]:
    """The synthetic series of the tests: petrt against the stored answers of z-rad."""
    from tests.suv.cases import CASES
    from tests.suv.series_files import write
    from tests.suv.zrad_answers import ANSWERS

    stored = json.loads(ANSWERS.read_text())
    apart = {}
    for name, said in stored["answers"].items():
        if said is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = petrt.suv.volume(write(Path(folder), **CASES[name].changes)).data
        apart[name] = float(np.abs(found[2, 1, [0, -1]] / np.array(said) - 1).max())
    worst = sorted(apart, key=apart.__getitem__)[-2:]
    return {
        "version": stored["z-rad"],
        "series": len(stored["answers"]),
        "series_that_z_rad_answers": len(apart),
        "within_2e-6": sum(each < 2e-6 for each in apart.values()),
        "largest_relative_differences": {name: apart[name] for name in reversed(worst)},
    }
