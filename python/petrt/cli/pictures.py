"""The picture and the page of a case: in SUV where it can be formed, of one frame."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

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

    assert case.preview is not None
    what, said = shown_case(case.preview, volume, result)
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


def write_report(case: InputCase, volume: Volume, result: Reconstruction) -> list[Line]:
    """Write the page of a case (--report); log lines say why it is not in SUV."""
    from petrt.evaluation.report.page import case_page
    from petrt.files.atomic import atomic_write_bytes

    assert case.report is not None
    what, said = shown_case(case.report, volume, result, coarse=True)
    atomic_write_bytes(case.report, case_page(what).encode(), overwrite=case.overwrite)
    return said


def shown_case(
    path: Path, volume: Volume, result: Reconstruction, *, coarse: bool = False
) -> tuple[Case, list[Line]]:
    """What ``path`` is to show: of a series the first frame that holds something, since the first of all is
    often empty."""
    import numpy as np

    from petrt.evaluation.report.case import Case
    from petrt.suv import display

    shown_in = display(volume)
    frames = result.stats["frames"]
    filled = [n for n, frame in enumerate(frames) if not frame.get("unchanged")]
    number = next(iter(filled), 0)

    def of(data: Any) -> Any:
        values = shown_in.of(data)
        return values[..., number] if values.ndim == 4 else values

    def loaded(image: Any) -> Any:
        return None if image is None else of(image.get_fdata(dtype="float32"))

    what = Case(
        of(volume.data),
        loaded(result.image),
        volume.affine_mm,
        shown_in.unit,
        coarse=np.maximum(loaded(result.coarse), 0) if coarse else None,
        std=loaded(result.std),
        record=result.stats,
        frame=f"frame {number + 1} of {len(frames)}" if volume.data.ndim == 4 else "",
    )
    if volume.series is None or not shown_in.reason:
        return what, []
    unit = shown_in.unit or "the unit of the file"
    return what, [(logging.INFO, f"{shown(path)}: in {unit}: {shown_in.reason}")]


def run_note(what: Case) -> str:
    """One line on the run behind a picture: model, dose, samples, unit, frame."""
    from petrt.diffusion.dose import dose_text

    record = what.record
    parts = [f"model {record['model']['name']}"]
    if record["dose_fraction"] is not None:
        source = {"given": "given", "estimated": "from the noise", "model": "the model's"}
        known = source.get(record["dose"]["source"])
        parts.append(f"dose {dose_text(record['dose_fraction'])}{f' ({known})' if known else ''}")
    if record["sampler"] is None:
        parts.append("coarse prediction, no samples")
    else:
        parts.append(f"{record['samples']} samples, seed {record['seed']}")
    if record["strength"] != 1:
        parts.append(f"strength {record['strength']:g}")
    parts += [what.unit or "unit unknown", *([what.frame] if what.frame else [])]
    return " · ".join([*parts, f"petrt {record['petrt']}"])
