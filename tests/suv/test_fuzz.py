"""Whatever the fields hold: SUV in positive numbers, or one InputError of one line."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import petrt.suv
from petrt.errors import InputError
from petrt.io.dicom import series as dicom
from tests.suv.series_files import DOSE, drug, write

NUMBERS = st.sampled_from(
    [None, 0, -1, 1e-300, 1e300, 70, 1.75, 400, DOSE, 6586.2, 300_000, "70\\80"]
)
TIMES = st.sampled_from(
    [None, "", "00", "110000", "235960", "11:00:00", "now", "250000", "110000.5"]
)
DATES = st.sampled_from([None, "20250101", "2025.01.01", "19000101", "99991231", "00000000", "x"])
BOTH = st.sampled_from(
    [None, "20250101100000", "20250101100000+1400", "20250101", "19000101000000-1200", "+0100", "x"]
)
ZONES = st.sampled_from([None, "+0100", "-1200", "0100", "Z"])
WORDS = st.sampled_from(
    [None, "BQML", "GML", "CM2ML", "CPS", "CNTS", "START", "NONE", "ADMIN", "M", "O"]
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("PatientWeight", "PatientSize", "FrameReferenceTime", "DecayFactor"), NUMBERS),
    **dict.fromkeys(("ActualFrameDuration", "DoseCalibrationFactor"), NUMBERS),
    **dict.fromkeys(("SeriesTime", "AcquisitionTime"), TIMES),
    **dict.fromkeys(("SeriesDate", "AcquisitionDate", "StudyDate"), DATES),
    **dict.fromkeys(("DecayCorrection", "Units", "SUVType", "PatientSex", "CorrectedImage"), WORDS),
    "AcquisitionDateTime": BOTH,
    "TimezoneOffsetFromUTC": ZONES,
}
DRUG: dict[str, st.SearchStrategy[Any]] = {
    "RadionuclideTotalDose": NUMBERS,
    "RadionuclideHalfLife": NUMBERS,
    "RadiopharmaceuticalStartDateTime": BOTH,
    "RadiopharmaceuticalStartTime": TIMES,
}


def some(fields: dict[str, st.SearchStrategy[Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """Up to ``most`` of the fields with odd values."""
    names = st.lists(st.sampled_from(sorted(fields)), max_size=most, unique=True)
    return names.flatmap(lambda each: st.fixed_dictionaries({name: fields[name] for name in each}))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=some(FIELDS, 4), of_drug=some(DRUG, 3), kind=st.sampled_from(petrt.suv.KINDS))
def test_numbers_or_a_reason(tmp_path, changes, of_drug, kind):
    for old in tmp_path.iterdir():
        old.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, in writing
        try:
            write(
                tmp_path,
                shape=(2, 2, 2),
                RadiopharmaceuticalInformationSequence=drug(**of_drug),
                **changes,
            )
        except (ValueError, OverflowError, TypeError):
            return  # pydicom does not write this
    try:
        volume = dicom.read(tmp_path, force_units=True)
    except InputError:
        return
    shown = petrt.suv.display(volume, kind)
    assert "\n" not in shown.reason
    try:
        suv = petrt.suv.volume(volume, kind, force_units=True)
    except InputError:
        assert shown.reason
        return
    factors = petrt.suv.factors(volume, kind, force_units=True)
    assert (factors > 0).all()
    assert np.isfinite(suv.data).all()
    with pytest.raises(InputError, match="no DICOM series"):
        petrt.suv.factors(suv)
