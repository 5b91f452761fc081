"""A reconstruction as a person sees it: a picture, a page, and what a notebook shows of it."""

from __future__ import annotations

import base64
import html
import io
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from petrt.arrays import Array
from petrt.errors import DeviceError, InputError
from petrt.evaluation.report.case import Case
from petrt.evaluation.report.figure import DPI, NOT_FOR_DIAGNOSIS, import_matplotlib
from petrt.evaluation.report.picture import comparison, comparison_png
from petrt.files.names import printable, shown
from petrt.inference.domain import dose_words
from petrt.inference.judgement import figures
from petrt.inference.notebook import in_notebook
from petrt.inference.origin import made_of
from petrt.io.inputs import values_of
from petrt.suv import display

if TYPE_CHECKING:
    from petrt.inference.reconstruction import Reconstruction

logger = logging.getLogger("petrt")

SMALL_PX = 720  # width of the picture in a notebook, which keeps it


def shown_case(result: Reconstruction, *, coarse: bool = False) -> tuple[Case, str]:
    """What a picture or page shows of a result, in SUV where that can be formed, and why it is not.

    Of a series it is the first frame that holds something, since the first of all is often empty.
    """
    volume = made_of(result).volume
    shown_in = display(volume)
    frames = result.stats["frames"]
    filled = [n for n, frame in enumerate(frames) if not frame.get("unchanged")]
    number = next(iter(filled), 0)

    def of(data: Any) -> Array:
        values = shown_in.of(values_of(data))
        return values[..., number] if values.ndim == 4 else values

    what = Case(
        of(volume.data),
        of(result.image),
        volume.affine_mm,
        shown_in.unit,
        coarse=np.maximum(of(result.coarse), 0) if coarse else None,
        std=None if result.std is None else of(result.std),
        record=result.stats,
        frame=f"frame {number + 1} of {len(frames)}" if volume.data.ndim == 4 else "",
    )
    if volume.series is None or not shown_in.reason:
        return what, ""
    return what, f"in {shown_in.unit or 'the unit of the file'}: {shown_in.reason}"


def run_note(what: Case) -> str:
    """One line on the run behind a picture: model, dose, samples, unit, frame."""
    record = what.record
    parts = [f"model {record['model']['name']}"]
    if dose := dose_words(record):
        parts.append(dose)
    if record["sampler"] is None:
        parts.append("coarse prediction, no samples")
    else:
        parts.append(f"{record['samples']} samples, seed {record['seed']}")
    if record["strength"] != 1:
        parts.append(f"strength {record['strength']:g}")
    parts += [what.unit or "unit unknown", *([what.frame] if what.frame else [])]
    return " · ".join([*parts, f"petrt {record['petrt']}"])


def title_of(result: Reconstruction) -> str:
    """What the input is called. The folder of a DICOM series is often named after its patient."""
    volume = made_of(result).volume
    if volume.series is not None:
        return "DICOM series"
    return shown(volume.path) if volume.path is not None else ""


def picture_of(result: Reconstruction, *, width_px: int | None = None, title: bool = True) -> bytes:
    """The picture of ``petrt reconstruct --preview``, a PNG."""
    what, reason = shown_case(result)
    if reason:
        logger.info("%s", reason)
    columns = comparison(what.input, what.output, uncertainty=what.std, calibrated=what.calibrated)
    return comparison_png(
        columns,
        affine=what.affine,
        unit=what.unit,
        title=title_of(result) if title else "",
        notes=[run_note(what)],
        width_px=width_px,
    )


def page_of(result: Reconstruction) -> str:
    """The page of ``petrt reconstruct --report``, self-contained HTML."""
    from petrt.evaluation.report.page import case_page

    stats = result.stats
    if "hashes" not in stats:
        stats = stats | {"hashes": made_of(result).hashes(stats["model"]["sha256"])}
    what, _ = shown_case(replace(result, stats=stats), coarse=True)
    return case_page(what)


def html_of(result: Reconstruction) -> str:
    """What a notebook shows: one line, the warnings, and the picture, without names of files."""
    stats = result.stats
    lines = [
        f"<b>{_text(repr(result))}</b>",
        _text(f"{figures(stats['frames'])}; {stats['label']}"),
    ]
    lines += [f"⚠ {_text(warning)}" for warning in stats["warnings"]]
    body = "".join(f"<div>{line}</div>" for line in lines)
    try:
        picture = picture_of(result, width_px=SMALL_PX, title=False)
    except InputError as error:  # such as an affine that no picture can be turned by
        return f"{body}<div>no picture: {_text(error.message)}</div>"
    data = base64.b64encode(picture).decode("ascii")
    alt = _text(f"input and output, {NOT_FOR_DIAGNOSIS}")
    return f'{body}<img alt="{alt}" src="data:image/png;base64,{data}" style="max-width:100%">'


def show(result: Reconstruction) -> None:
    """``Reconstruction.show``."""
    picture = picture_of(result)
    if in_notebook():
        from IPython.display import Image
        from IPython.display import display as put

        put(Image(picture))
        return
    _window(picture)


def _window(picture: bytes) -> None:
    """A window of matplotlib with the picture. Raises DeviceError where there is no screen."""
    matplotlib = import_matplotlib()
    from matplotlib import pyplot
    from matplotlib.backends.registry import BackendFilter, backend_registry

    backend = matplotlib.get_backend().lower()
    if backend in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
        raise DeviceError(
            f"no window can be shown: there is no screen (matplotlib draws with {backend})",
            "write a picture or a page with save('view.png') or save('view.html')",
        )
    pixels = pyplot.imread(io.BytesIO(picture))
    height, width = pixels.shape[:2]
    figure = pyplot.figure("petrt", figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(pixels)
    pyplot.show()


def _text(value: str) -> str:
    return html.escape(printable(value))
