"""A sender of DICOM objects, as a scanner is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE

VERIFICATION = "1.2.840.10008.1.1"


def associate(
    port: int, classes: Sequence[str], calling: str = "SCANNER", called: str = "PETRT"
) -> Any:
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    for each in classes:
        ae.add_requested_context(each, "1.2.840.10008.1.2.1")
    return ae.associate("127.0.0.1", port, ae_title=called)


def send(port: int, objects: Sequence[Path | pydicom.Dataset]) -> list[Any]:
    """The status of each object: a dataset, without Status where no answer came."""
    datasets = [pydicom.dcmread(x) if isinstance(x, Path) else x for x in objects]
    association = associate(port, sorted({str(each.SOPClassUID) for each in datasets}))
    assert association.is_established
    # pynetdicom leaves it open where the other side has closed the connection.
    with association.dul.socket.socket:
        answers = [association.send_c_store(each) for each in datasets]
        if association.is_established:
            association.release()
    return answers


def numbers(answers: Sequence[Any]) -> list[int | None]:
    return [answer.get("Status") for answer in answers]
