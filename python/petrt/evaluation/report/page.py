"""A self-contained HTML page of one reconstruction, with three linked planes of its volumes."""

from __future__ import annotations

import base64
import math

from petrt.evaluation.report import html, sections
from petrt.evaluation.report.case import Case, activity_centre, fixed_steps
from petrt.evaluation.report.html import SUMMARY, Html, card, number, text
from petrt.evaluation.report.layers import Layers, layers_of
from petrt.evaluation.report.made import command_of, provenance
from petrt.evaluation.report.picture import comparison, comparison_png
from petrt.evaluation.report.reference import against_reference, scores_of


def case_page(case: Case, *, command: str = "", more: Html | None = None) -> str:
    """The page of a ``case``, in any orientation, as HTML.

    ``command``: what makes the output again. ``more``: cards (petrt.evaluation.report.html.card) of a
    command's own, shown before the planes. The page names the input by its hash alone. It takes about 5 s
    for 128^3 voxels on one core.
    """
    case = case.in_ras()
    layers = layers_of(case)
    top = layers.each[0].high
    scores = scores_of(case)
    summary = sections.summary_of(case, scores)
    title = sections.heading(case)
    body = Html(
        f"<h1>{text(title)}</h1><p class='sub'>{text(sections.subtitle(case))}</p>"
        f"{sections.warnings(case, summary)}{sections.tiles(case, summary)}"
        f"{more or ''}{_viewer(case, layers)}"
        f"{sections.numbers(case, top)}{against_reference(case, scores)}"
        f"{provenance(case, command or command_of(case.record), html.asset('LICENSE.niivue'))}"
    )
    volumes = "".join(
        f'<script type="application/octet-stream" id="layer-{layer.name}">{layer.data}</script>'
        for layer in layers.each
    )
    described = [
        {key: getattr(layer, key) for key in ("name", "title", "kind", "low", "high", "step")}
        for layer in layers.each
    ]
    view = {"layers": described, "top": top, "centre": centre(case)}
    content = html.data("viewer-data", view) + volumes
    scripts = "".join(
        f"<script>{html.asset(name)}</script>" for name in ("niivue.umd.js", "viewer.js")
    )
    head = html.data(SUMMARY, summary)
    return html.page(f"petrt report: {title}", body, head=head, content=content, scripts=scripts)


def _viewer(case: Case, layers: Layers) -> Html:
    """The planes with what moves them, and a still picture for paper and for browsers without WebGL."""
    names = [layer for layer in layers.each if layer.name != "input"]
    buttons = "".join(
        f'<button data-layer="{layer.name}" aria-pressed="false">{text(layer.title)}<kbd>{i}</kbd></button>'
        for i, layer in enumerate(names, 1)
    )
    top = layers.each[0].high
    windows = "".join(
        f'<option value="{each!r}"{" selected" if each == top else ""}>0 – {text(number(each))}</option>'
        for each in _tops(top)
    )
    maps = "".join(f"<option>{name}</option>" for name in ("inverse grey", "grey", "hot"))
    values = "".join(
        f'<span>{text(layer.title)} <b id="value-{layer.name}">–</b></span>'
        for layer in layers.each
    )
    hints = (
        ("←→", "slider"),
        ("space", f"{case.base} or layer"),
        ("b", "blink"),
        (f"1–{len(names)}", "layers"),
        ("↑↓", "slices"),
        ("+ −", "window"),
        ("r", "reset"),
    )
    keys = "".join(f"<span><kbd>{key}</kbd> {what}</span>" for key, what in hints)
    x, y, z = layers.extent_mm
    unit = text(case.unit or "unit of the file")
    body = f"""
<p id="viewer-fault" class="note" role="status"></p>
<div class="tools"><div class="layers" role="group" aria-label="layer">{buttons}</div></div>
<div class="tools"><label class="slide"><span>{text(case.base)}</span>
<input id="slider" type="range" min="0" max="100" value="100"
 aria-label="from {text(case.base)} to the layer">
<span id="right-name">output</span></label>
<button id="blink" aria-pressed="false">blink<kbd>b</kbd></button></div>
<div id="stage" style="aspect-ratio:{x + x + y:.0f}/{max(y, z) * 1.04:.0f};max-height:78vh">
<canvas id="lower" tabindex="-1" aria-hidden="true"></canvas>
<canvas id="upper" tabindex="0" aria-label="three planes; arrow keys move"></canvas></div>
<img class="picture" alt="three planes of the volumes" src="{_picture(case)}">
<div class="under"><div class="values">{values}</div><div id="place"></div></div>
<div class="under"><div class="scale"><span id="bar-low"></span><span id="bar"></span>
<span id="bar-high"></span> {unit}</div>
<div class="scale"><label>window <select id="window">{windows}</select></label>
<label>colours <select id="grey">{maps}</select></label><button id="reset">reset</button></div></div>
<div class="hints">{keys}<span>wheel: slices · right button: move</span></div>"""
    note = "The patient's right is on the left."
    if layers.bins != (1, 1, 1):
        size = " × ".join(f"{mm:.3g}" for mm in layers.voxel_mm)
        note += f" Shown in voxels of {size} mm; all numbers are of the whole resolution."
    return card("Planes", body, note)


def _tops(top: float) -> list[float]:
    """Tops of windows around ``top``, by the same fixed steps."""
    power = math.floor(math.log10(top))
    steps = {step for by in (-2, -1, 0, 1) for step in fixed_steps(power + by)}
    return [each for each in sorted(steps) if top / 10 <= each <= top * 5]


def centre(case: Case) -> list[float]:
    """The centre of the output's activity in mm, or the middle of an empty volume."""
    voxel = activity_centre(case.output)
    return [float(mm) for mm in case.affine[:3, :3] @ voxel + case.affine[:3, 3]]


def _picture(case: Case) -> str:
    """The comparison picture as a data URL."""
    columns = comparison(
        case.input,
        case.output,
        reference=case.reference if case.base == "input" else None,
        uncertainty=case.std,
        calibrated=case.calibrated,
    )
    if case.base != "input":
        columns = {name.replace("input", case.base): each for name, each in columns.items()}
    content = comparison_png(columns, affine=case.affine, unit=case.unit)
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
