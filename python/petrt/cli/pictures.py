"""The picture and the page of a case: in SUV where it can be formed, of one frame."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from petrt.cli.plan import InputCase
from petrt.files.names import shown

if TYPE_CHECKING:
    from pathlib import Path

    from petrt.evaluation.report.case import Case
    from petrt.inference.reconstruction import Reconstruction
    from petrt.io.volume import Volume

# Level and text of a log line. Only the main thread logs, between two progress bars.
Line = tuple[int, str]


def write_picture(case: InputCase, volume: Volume, result: Reconstruction) -> list[Line]:
    """Write the picture of a case (--preview); log lines say why it is not in SUV."""
    from petrt.evaluation.report.picture import comparison, save_comparison
    from petrt.inference.shown import run_note

    assert case.preview is not None
    what, said = shown_case(case.preview, result)
    columns = comparison(what.input, what.output, uncertainty=what.std, calibrated=what.calibrated)
    save_comparison(
        case.preview,
        columns,
        affine=what.affine,
        unit=what.unit,
        # The folder of a DICOM series is often named after its patient.
        title=shown(case.source) if volume.series is None else "DICOM series",
        notes=[run_note(what)],
        overwrite=case.overwrite,
    )
    return said


def write_report(case: InputCase, result: Reconstruction) -> list[Line]:
    """Write the page of a case (--report); log lines say why it is not in SUV."""
    from petrt.evaluation.report.index import is_page_of
    from petrt.evaluation.report.page import case_page
    from petrt.files.atomic import atomic_write_bytes

    assert case.report is not None
    what, said = shown_case(case.report, result, coarse=True)
    digest = what.record.get("hashes", {}).get("input")
    own = digest is not None and is_page_of(case.report, digest)  # a page of the same input
    atomic_write_bytes(case.report, case_page(what).encode(), overwrite=case.overwrite or own)
    return said


def shown_case(
    path: Path, result: Reconstruction, *, coarse: bool = False
) -> tuple[Case, list[Line]]:
    """What ``path`` is to show."""
    from petrt.inference import shown as seen

    what, reason = seen.shown_case(result, coarse=coarse)
    return what, [(logging.INFO, f"{shown(path)}: {reason}")] if reason else []
