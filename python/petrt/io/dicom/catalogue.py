"""The series in a folder, list or archive: what they are, and which of them is meant."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from petrt.errors import InputError, way
from petrt.io.dicom import multiframe
from petrt.io.dicom.files import Source, dicom_files
from petrt.io.dicom.header import Header, quiet, read_headers

logger = logging.getLogger(__name__)

Wanted = str | Collection[str] | None

_SALT = secrets.token_bytes(16)
_UID = re.compile(r"[0-9.]{1,64}")
# So many series are listed in a message.
_LISTED = 8


@dataclass(frozen=True)
class SeriesInfo:
    """Fields of a series without patient data; "" or 0 if a field is absent.

    ``patient_key`` and ``acquisition_key`` are salted hashes of the patient's ID and of the scan's
    start time: scans with equal keys belong together. The keys of different processes compare only with
    a common salt; they must not be stored. Scans with one ``frame_of_reference_uid`` share coordinates.
    ``slices`` counts the places of one frame, ``frames`` the times or gates (0 x 0 for what is no volume).
    ``pet``: its modality and class are those of PET images.
    """

    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    patient_key: str
    acquisition_key: str
    modality: str
    units: str
    manufacturer: str
    rows: int
    columns: int
    slices: int
    frames: int = 1
    pet: bool = False


def inspect(source: Source, *, salt: bytes = _SALT) -> list[SeriesInfo]:
    """List the series in ``source`` (folder with subfolders, files, DICOMDIR, zip) without reading pixels.

    Raises InputError if there is no DICOM image or a file is damaged. Nothing else is checked.
    """
    with quiet(), dicom_files(source) as files:
        series = read_headers(files)
        return [_info(uid, headers, salt) for uid, headers in series.items()]


def chosen(series: dict[str, list[Header]], wanted: Wanted = None) -> list[str]:
    """The UIDs of the series that are meant: those of ``wanted`` that are here, else all PET series.

    Where there is no PET series, the only series of another kind (which reading then refuses). Raises
    InputError, which lists the series, if none of ``wanted`` is here.
    """
    if wanted is not None:
        names = {wanted} if isinstance(wanted, str) else set(wanted)
        found = [uid for uid in series if uid in names]
        if not found:
            some = ", ".join(repr(_shown(name)) for name in sorted(names)[:_LISTED])
            raise InputError(f"no series {some}", f"there are: {_listed(series, list(series))}")
        return found
    pet = [uid for uid, headers in series.items() if is_pet(headers[0])]
    if pet and len(pet) < len(series):
        others = [uid for uid in series if uid not in pet]
        logger.info("other series are left out: %s", _listed(series, others))
    return pet or list(series)


def choose(series: dict[str, list[Header]], wanted: Wanted = None) -> tuple[str, list[Header]]:
    """The one series of ``chosen``. Raises InputError, which lists them, if there are several."""
    uids = chosen(series, wanted)
    if len(uids) > 1:
        kind = "PET " if is_pet(series[uids[0]][0]) else ""
        first = way("series", uids[0], "chooses the first")
        every = way("all_series", "", "takes all") if "--" in first else ""
        raise InputError(
            f"{len(uids)} DICOM {kind}series: {_listed(series, uids)}",
            ", ".join(filter(None, (first, every))) or "leave one in its folder",
        )
    return uids[0], series[uids[0]]


def is_pet(header: Header) -> bool:
    """Whether a file is a PET image by modality and class, where it states them."""
    kinds = (multiframe.PET_IMAGE, *multiframe.MULTI_FRAME, "")
    return header.text("Modality") == "PT" and header.text("SOPClassUID") in kinds


def _shown(uid: str) -> str:
    """A UID, which nobody's name can be in; else what it is."""
    return uid if _UID.fullmatch(uid) else "not a UID"


def _listed(series: dict[str, list[Header]], uids: list[str]) -> str:
    texts = [
        f"{_shown(uid)} ({series[uid][0].text('Modality') or 'no modality'}, "
        f"{len(series[uid])} files)"
        for uid in uids[:_LISTED]
    ]
    more = [f"and {len(uids) - _LISTED} more"] if len(uids) > _LISTED else []
    return ", ".join(texts + more)


def _info(uid: str, headers: list[Header], salt: bytes) -> SeriesInfo:
    if headers[0].text("SOPClassUID") in multiframe.MULTI_FRAME:
        headers = [frame for header in headers for frame in multiframe.frames_of(header)]
    first = headers[0]
    began = min(h.text("AcquisitionDate") + h.text("AcquisitionTime") for h in headers)
    rows, columns = (
        int(first.numbers(field)[0]) if first.has(field) else 0 for field in ("Rows", "Columns")
    )
    places = Counter(h.words("ImagePositionPatient") for h in headers)
    return SeriesInfo(
        series_uid=uid,
        study_uid=first.text("StudyInstanceUID"),
        frame_of_reference_uid=first.text("FrameOfReferenceUID"),
        patient_key=_key(first.text("PatientID"), salt),
        acquisition_key=_key(began, salt),
        modality=first.text("Modality"),
        units=first.text("Units"),
        manufacturer=first.text("Manufacturer"),
        rows=rows,
        columns=columns,
        slices=len(places),
        frames=max(places.values()),
        pet=is_pet(first),
    )


def _key(text: str, salt: bytes) -> str:
    return hashlib.sha256(salt + text.encode()).hexdigest() if text else ""
