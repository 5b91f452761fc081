"""Standardised uptake values (SUV) of PET series: for display, reports and statistics.

>>> import petrt.suv
>>> scan = petrt.suv.volume("series/", "bw")  # SUVbw in g/ml

SUV is never the unit that a reconstruction is stored in. docs/suv.md has the equations and their sources.
"""

from petrt.suv.formulas import KINDS, UNITS, Kind, check_kind
from petrt.suv.series import factors
from petrt.suv.volumes import Display, as_stored, display, stored_unit, unit_name, volume

__all__ = [
    "KINDS",
    "UNITS",
    "Display",
    "Kind",
    "as_stored",
    "check_kind",
    "display",
    "factors",
    "stored_unit",
    "unit_name",
    "volume",
]
