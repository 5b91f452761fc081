"""The model card that a shipped bundle holds, as Markdown."""

from __future__ import annotations

from typing import Any

from petrt.model.bundle import load_bundle

HEADINGS = {
    "population": "Population",
    "training": "Training",
    "numbers": "Numbers",
    "refusals": "What it refuses, and warns of",
    "biases": "Known biases",
}


def shipped() -> str:
    """The card of the bundle ``demo``."""
    return told(getattr(load_bundle("demo").model, "card", None))


def told(card: Any) -> str:
    """A section for each field of ``card`` that says something; a sentence where there is no card."""
    if card is None:
        return "The bundle itself holds no card yet; this page is its card.\n"
    parts = []
    for field, heading in HEADINGS.items():
        value = getattr(card, field)
        if value:
            lines = value if isinstance(value, str) else "\n".join(f"- {each}" for each in value)
            parts.append(f"### {heading}\n\n{lines}\n")
    return "\n".join(parts)
