"""What a derived series says of its making, and the identifiers that follow from it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from petrt.io.dicom.encoded import sequence

if TYPE_CHECKING:
    from pydicom import Dataset

NOTICE = "NOT FOR DIAGNOSTIC USE"
MAKER = "petrt"
# The namespace of derived identifiers; it must never change.
_NAMESPACE = uuid.UUID("5f0d6c4e-6c7b-5b1e-9a53-3f2d0c8e7a11")
# Of the software that writes the files (PS3.10, 7.1).
IMPLEMENTATION_UID = f"2.25.{uuid.uuid5(_NAMESPACE, 'implementation').int}"
# Longest texts of DICOM's types LO and ST.
_LONG, _SHORT_TEXT = 64, 1024
_EQUIPMENT = 0x0018A001  # ContributingEquipmentSequence
_KEY = re.compile(r"\bkey ([0-9a-f]+), (\d+) files$")

Role = Literal["image", "std", "coarse"]
# Role -> what the series is, what its description adds, and what is added to the source's SeriesNumber.
_ROLES: dict[Role, tuple[str, str, int]] = {
    "image": ("reconstruction", "", 1000),
    "std": ("standard deviation", " std", 2000),
    "coarse": ("coarse prediction", " coarse", 3000),
}


@dataclass(frozen=True)
class Derivation:
    """How a series was derived from another.

    ``settings`` is a text with all that decides its values beside the source and the model, such as JSON.
    The same source series, ``sha256`` of the model, ``settings`` and ``role`` give the same UIDs. ``key``
    (hexadecimal, may be "") is what a later run knows it by. ``summary`` is one sentence on the values.
    """

    model: str
    sha256: str
    version: str
    settings: str
    summary: str = ""
    key: str = ""
    role: Role = "image"

    def uid(self, *source: str) -> str:
        """The UID of what is derived from ``source``: a UUID of version 5, as an OID (PS3.5 B.2)."""
        name = "\n".join([*source, self.sha256, self.version, self.settings, self.role])
        return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"

    def describe(self, dataset: Dataset, files: int) -> None:
        """Set what says so in a slice: DerivationDescription, ContributingEquipmentSequence, the series'
        description and number. ``files``: how many there are in the series."""
        what, word, offset = _ROLES[self.role]
        text = f"{MAKER} {self.version}, model {self.model}: {what} of low-dose PET. {self.summary}"
        dataset.DerivationDescription = f"{text.strip()} {NOTICE}"[:_SHORT_TEXT]
        given = " ".join(str(dataset.get("SeriesDescription") or "").split())
        suffix = f"{MAKER}{word} {NOTICE}"
        shortened = given[: _LONG - len(suffix) - 1].strip()
        dataset.SeriesDescription = f"{shortened} {suffix}".strip()
        dataset.SeriesNumber = series_number(dataset) + offset
        others = dataset.get("ContributingEquipmentSequence") or []
        dataset[_EQUIPMENT] = sequence(_EQUIPMENT, [*others, self._equipment(files)])

    def _equipment(self, files: int) -> Dataset:
        from pydicom import Dataset

        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [code("109102", "Processing Equipment")]
        item.Manufacturer = MAKER
        item.ManufacturerModelName = self.model[:_LONG]
        item.DeviceSerialNumber = self.sha256[:_LONG]
        item.SoftwareVersions = self.version
        end = f"key {self.key or 0}, {files} files"
        text = f"model {self.model}, SHA-256 {self.sha256}; {self.settings}"
        item.ContributionDescription = f"{text[: _SHORT_TEXT - len(end) - 2]}; {end}"
        return item


def key_and_files(dataset: Dataset) -> tuple[str, int] | None:
    """The key of a slice that petrt derived, and the number of files of its series; None for another."""
    for item in reversed(dataset.get("ContributingEquipmentSequence") or []):
        found = _KEY.search(str(item.get("ContributionDescription", "")))
        if item.get("Manufacturer") == MAKER and found:
            return found[1], int(found[2])
    return None


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """A coded entry."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def series_number(dataset: Dataset) -> int:
    """The source's SeriesNumber; 0 where it is absent, or leaves no room for an offset."""
    try:
        number = int(dataset.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 0
    return number if 0 <= number < 1_000_000_000 else 0
