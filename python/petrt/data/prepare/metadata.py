"""The table beside the NIfTI files of the Ultra-low Dose PET challenge: what their headers cannot say.

udpet-challenge.github.io says of it: a CSV with weight, injected activity, the time from injection to
acquisition and the half-life. The columns of the 2025 test set are public in github.com/KUL-recon-lab/
2025_ud_pet_kul; those of the evaluation script's table (PID, weight, dose) are taken, too. Other columns are
passed over. Names are compared without case, blanks, hyphens and underscores.

    SUV = Bq/ml x weight in g / (injected activity x 2^(-time / half-life))        decay correction START

With the decay correction ADMIN the activity is that at the injection, and without a time and a half-life
(the script's table) it is taken as it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petrt.data.prepare.cells import read_cells
from petrt.errors import InputError
from petrt.files.names import printable, shown
from petrt.values import shown as shown_value

# Our name -> names in public copies of the table.
COLUMNS = {
    "file": ("niftifilename", "filename", "file", "pid"),
    "dose": ("dosereductionfactor", "drf"),
    "weight_kg": ("patientweightkg", "patientweight", "weightkg", "weight"),
    "activity_bq": (
        "radionuclidetotaldosebq",
        "radionuclidetotaldose",
        "injectedactivitybq",
        "injectedactivity",
        "totaldose",
        "dose",
    ),
    "seconds": ("timefrominjectiontoacquisitions", "timefrominjection", "deltats", "deltat"),
    "half_life_s": ("radionuclidehalflifes", "radionuclidehalflife", "halflifes", "halflife"),
    "sex": ("patientsex", "sex"),
    "tracer": ("radiopharmaceuticalname", "radiopharmaceutical", "tracer"),
    "scanner": ("manufacturermodelname", "scanner"),
    "unit": ("imageunits", "units", "unit"),
    "decay": ("decaycorrection",),
}
NUMBERS = {"weight_kg": (0.5, 400.0), "activity_bq": (1e4, 1e11), "seconds": (0.0, 1e6)}
NUMBERS |= {"half_life_s": (10.0, 1e8)}
# More activity than was injected cannot be in the image; counts and calibration have errors.
MOST_RETAINED = 1.1
# A body is about 1 g/ml; the image's body is a little larger, for its edge is blurred.
MOST_VOLUME = 1.5


@dataclass(frozen=True)
class Metadata:
    """One row: ``activity_bq`` injected, ``seconds`` from injection to acquisition. ``dose``: the reduction.

    None and "" where the table has no such column or cell.
    """

    file: str
    weight_kg: float
    activity_bq: float
    seconds: float | None = None
    half_life_s: float | None = None
    dose: int | None = None
    sex: str = ""
    tracer: str = ""
    scanner: str = ""
    unit: str = ""
    decay: str = ""

    @property
    def activity_at_scan(self) -> float:
        """Bq that are left of the injected activity at the time to which the image is corrected."""
        if self.decay.upper() == "ADMIN" or self.seconds is None or self.half_life_s is None:
            return self.activity_bq
        return self.activity_bq * 2 ** (-self.seconds / self.half_life_s)

    @property
    def suv_factor(self) -> float:
        """SUV (body weight, g/ml) of 1 Bq/ml."""
        return 1000 * self.weight_kg / self.activity_at_scan


def read_metadata(path: Path) -> dict[str, Metadata]:
    """File name, in small letters and without .nii.gz -> its row.

    Raises InputError for a table without file names, weight or activity, a file named twice, and a cell
    that is no number of its kind, with the line.
    """
    cells = read_cells(path)
    if not cells:
        raise InputError(f"{shown(path)}: empty", "give the challenge's table")
    columns = _columns(cells[0][1], path)
    rows: dict[str, Metadata] = {}
    for line, row in cells[1:]:
        where = f"{shown(path)}, line {line}"
        found = _row({key: row[i] for key, i in columns.items() if i < len(row)}, where)
        if rows.setdefault(stem(found.file), found) is not found:
            raise InputError(f"{where}: a file that an earlier line names", "remove one")
    return rows


def stem(name: str) -> str:
    """The key of a file in the table."""
    return re.sub(r"\.nii(\.gz)?$", "", Path(name).name.strip().lower())


def contradictions(row: Metadata, total_bq: float, body_ml: float) -> list[str]:
    """What of weight and activity cannot be, seen from the image: ``total_bq`` in it, and the volume
    ``body_ml`` of the body in it.

    An image may hold a part of the body, so only too much is told of, not too little.
    """
    found = []
    if total_bq > MOST_RETAINED * row.activity_at_scan:
        share = total_bq / row.activity_at_scan
        found.append(f"the image holds {share:.2g} times the activity that was injected")
    if body_ml > MOST_VOLUME * 1000 * row.weight_kg:
        found.append(f"a body of {body_ml / 1000:.3g} l weighs {row.weight_kg:g} kg")
    return found


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """Our name -> column."""
    plain = [re.sub(r"[\s_\-()\[\]./]", "", name.lower()) for name in header]
    found: dict[str, int] = {}
    for key, names in COLUMNS.items():
        there = [plain.index(name) for name in names if name in plain]
        if there:
            found[key] = there[0]
    if absent := [key for key in ("file", "weight_kg", "activity_bq") if key not in found]:
        what = {"file": "file names", "weight_kg": "weights", "activity_bq": "injected activities"}
        raise InputError(
            f"{shown(path)}: no column of {what[absent[0]]}: {', '.join(map(printable, header))}",
            "its columns are those of the challenge, as NiftiFileName, PatientWeight_kg, "
            "RadionuclideTotalDose_Bq",
        )
    return found


def _row(cells: Mapping[str, str], where: str) -> Metadata:
    values: dict[str, Any] = {key: _number(key, cells.get(key, ""), where) for key in NUMBERS}
    for key in ("file", "weight_kg", "activity_bq"):
        if not (cells.get(key) if key == "file" else values[key]):
            raise InputError(f"{where}: no {key}", "fill it in")
    words = ("file", "sex", "tracer", "scanner", "unit", "decay")
    values |= {key: printable(cells.get(key, "")) for key in words}
    dose = cells.get("dose", "")
    if dose and not re.fullmatch(r"\d{1,3}(\.0*)?", dose):
        raise InputError(f"{where}: dose reduction {shown_value(dose)}", "a whole number, as 100")
    if values["decay"].upper() == "NONE":
        raise InputError(f"{where}: images without decay correction", "SUV needs START or ADMIN")
    return Metadata(**values, dose=int(float(dose)) if dose else None)


def _number(key: str, text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    least, most = NUMBERS[key]
    if not least <= value <= most:
        raise InputError(
            f"{where}: {key} is {shown_value(text)}", f"a number between {least:g} and {most:g}"
        )
    return value
