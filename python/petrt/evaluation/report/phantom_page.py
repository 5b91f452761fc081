"""The page of ``petrt phantom``: contrast recovery against background variability, in cards and plots."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from petrt.evaluation.report.case import Case
from petrt.evaluation.report.html import Html, card, fixed, number, table, text
from petrt.evaluation.report.page import case_page

KEYS = ("input", "input_variability", "output", "output_variability", "gaussian", "gain_percent")
HEAD = (
    "sphere",
    "Q, input",
    "N, input",
    "Q, output",
    "N, output",
    "Q, Gaussian at N, output",
    "gain",
)
NOTE = (
    "Contrast recovery Q and background variability N in per cent (NEMA NU 2). The Gaussian filter has the "
    "background variability of the output."
)


def phantom_page(
    report: Mapping[str, Any],
    case: Case,
    pictures: Mapping[tuple[str, str], bytes] | None = None,
    command: str = "",
) -> str:
    """The page of a phantom's ``report`` (petrt.inference.phantom_report), as HTML.

    ``case``: one reconstruction of it, which the page shows in planes. ``pictures``: PNG of each kind of
    phantom and dose. ``command``: what makes the report again.
    """
    return case_page(case, command=command, more=phantom_cards(report, pictures or {}))


def phantom_cards(report: Mapping[str, Any], pictures: Mapping[tuple[str, str], bytes]) -> Html:
    """A card for each kind of phantom and dose: the table of its spheres, and its picture."""
    cards = []
    for kind, doses in report["phantoms"].items():
        for dose, found in doses.items():
            rows = [
                [f"{row['diameter_mm']:g} mm", *(fixed(row[key], 1) for key in KEYS)]
                for row in found["spheres"]
            ]
            said = f"Activity, output / input: {number(found['activity_ratio'])}."
            body = Html(f"{table(HEAD, rows)}<p class='note'>{text(said)}</p>")
            picture = pictures.get((kind, dose))
            if picture is not None:
                plain = base64.b64encode(picture).decode("ascii")
                body = Html(f'{body}<img class="plot" alt="" src="data:image/png;base64,{plain}">')
            cards.append(card(f"NEMA phantom ({kind}), {dose} dose", body, NOTE))
    return Html("".join(cards))
