"""Writes summary.html: the subjects of a data set, refusals with reasons, a slice of every volume."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petrt.data.dataset import Dataset
from petrt.data.index import DatasetIndex, SubjectEntry
from petrt.data.prepare.outcome import Outcome
from petrt.data.prepare.scan import FULL
from petrt.evaluation.report.figure import import_matplotlib

SUMMARY = "summary.html"
COLUMNS = (
    "subject",
    "source",
    "patient",
    "split",
    "kind",
    "input",
    "model grid",
    "doses",
    "activity ratio",
    "noise",
)
# The columns shown on a terminal.
NARROW = ("subject", "split", "input", "model grid", "doses", "activity ratio", "noise")
# Longest side of a slice in the summary, in pixels.
PICTURE = 160
# Top of the grey scale, as a multiple of the volume's scale.
TOP = 1.5

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { text-align: left; padding: .25em .7em;
border-bottom: 1px solid #ddd; vertical-align: top } figure { margin: 0 1em 1em 0 }
figcaption { color: #555 } figure span { display: inline-block; text-align: center }
.label { color: #a00; font-weight: 600 }
"""


def rows(
    index: DatasetIndex, split_of: Mapping[str, str], outcomes: Sequence[Outcome]
) -> list[tuple[str, ...]]:
    """A row with COLUMNS for each subject in the data set."""
    scans = {outcome.name: outcome.scans for outcome in outcomes}
    table: list[tuple[str, ...]] = []
    for name, entry in index.subjects.items():
        doses = sorted(entry.low)
        ratios = (scans[name][dose].activity_ratio for dose in doses)
        noise = (scans[name][dose].noise for dose in (FULL, *doses))
        table.append(
            (
                name,
                entry.source or "-",
                entry.patient,
                split_of[name],
                entry.kind,
                _grid(entry.placement.canonical_shape, entry.placement.voxel_mm),
                "x".join(str(n) for n in entry.placement.grid_shape),
                ", ".join(f"1/{dose}" for dose in doses),
                ", ".join(_number(ratio, ".3f") for ratio in ratios),
                ", ".join(_number(level, ".3f") for level in noise),
            )
        )
    return table


def summary(
    folder: Path, index: DatasetIndex, split_of: Mapping[str, str], outcomes: Sequence[Outcome]
) -> bytes:
    """The page as self-contained HTML with pictures of the volumes in ``folder``."""
    refused = [each for outcome in outcomes for each in outcome.refused]
    facts = (
        f"{len(index.subjects)} subjects; voxels of "
        f"{' x '.join(f'{mm:g}' for mm in index.voxel_mm)} mm (x, y, z); {index.dtype}; "
        f"scale: {index.scale_rule.kind}"
    )
    dataset = Dataset(folder, index, {})
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>petrt data set</title><style>{_STYLE}</style></head><body>",
        f"<h1>petrt data set</h1><p class='label'>{html.escape(index.label)}</p>",
        f"<p>{html.escape(facts)}</p><p>Subjects are numbered in the order of the source, folders "
        "sorted. Activity ratio: total of the low dose over that of the full dose. Noise: relative to the "
        "level in active voxels, full dose first.</p>",
        _table(COLUMNS, rows(index, split_of, outcomes)),
        f"<h2>Refused: {len(refused)}</h2>",
    ]
    if refused:
        lines = [(r.name, f"1/{r.dose}" if r.dose else "-", r.reason) for r in refused]
        parts.append(_table(("subject", "dose", "reason"), lines))
    parts.append(
        f"<h2>A middle slice of each volume</h2><p>Grey: 0 to {TOP:g} times the volume's scale.</p>"
    )
    parts += [_figure(dataset, name, entry) for name, entry in index.subjects.items()]
    parts.append("</body></html>\n")
    return "\n".join(parts).encode()


def _figure(dataset: Dataset, name: str, entry: SubjectEntry) -> str:
    """The axial slice at the centre of a subject's weights, at full dose and at each low dose."""
    weights = np.cumsum(entry.weights)
    z = int(np.searchsorted(weights, weights[-1] / 2))
    doses = dataset.doses(name)
    full = dataset.pair(name, doses[0]).full[z]
    slices = {"full": full} | {f"1/{dose}": dataset.pair(name, dose).low[z] for dose in doses}
    spans = "".join(
        f"<span><img alt='{name} {key}' src='data:image/png;base64,{_png(image)}'><br>{key}</span>"
        for key, image in slices.items()
    )
    return f"<figure><figcaption>{name}, slice {z}</figcaption>{spans}</figure>"


def _png(image: NDArray) -> str:
    """A slice [H, W] as a PNG in base64, the patient's right on the left and the front up."""
    import_matplotlib()
    from matplotlib.image import imsave

    step = max(1, -(-max(image.shape) // PICTURE))
    picture = np.asarray(image, np.float32)[::step, ::step].T[::-1, ::-1]
    buffer = io.BytesIO()
    imsave(buffer, picture, cmap="gray_r", vmin=0, vmax=TOP, format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _grid(shape: Sequence[int], voxel_mm: Sequence[float] | None) -> str:
    sizes = "" if voxel_mm is None else " of " + "x".join(f"{mm:.4g}" for mm in voxel_mm) + " mm"
    return "x".join(str(n) for n in shape) + sizes


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
