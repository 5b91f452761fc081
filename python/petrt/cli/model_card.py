"""The card of a model as petrt inspect shows it: what it is for, what was measured, what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table

from petrt.cli.output import Output, add_row, cell
from petrt.cli.validation import validation_of

if TYPE_CHECKING:
    from petrt.model.bundle import Bundle
    from petrt.model.spec import ModelSpec

CARD = {
    "population": "trained on",
    "training": "training",
    "numbers": "measured",
    "refusals": "refuses",
    "biases": "biases",
}


def show_card(bundle: Bundle, name: str) -> None:
    """Print the card of ``bundle``, which the user calls ``name``."""
    console = Output()
    model = bundle.model
    console.print(cell(f"{model.name}: {model.description or 'no description'}", style="bold"))
    console.print(cell(model.label))
    for rows in (card_rows(model), fact_rows(bundle)):
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(no_wrap=True, min_width=11)
        table.add_column(overflow="fold")
        for key, value in rows:
            add_row(table, key, value)
        console.print()
        console.print(table)
    console.print()
    console.print(cell(f"all of it: petrt inspect {name} --all"), soft_wrap=True)


def card_rows(model: ModelSpec) -> Iterator[tuple[str, str]]:
    """The fields of the model card, a row for each sentence."""
    if model.card is None:
        yield "card", "none; petrt export --card adds one"
        return
    for field, heading in CARD.items():
        value = getattr(model.card, field)
        sentences = [value] if isinstance(value, str) else value
        for number, sentence in enumerate(sentences):
            yield ("" if number else heading), sentence


def fact_rows(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """What the bundle takes, and what its files say of how it was made."""
    model, record = bundle.model, bundle.manifest.export
    domain = model.domain
    yield "identity", bundle.identity
    yield "voxels", " x ".join(f"{size:g}" for size in domain.voxel_mm) + " mm" + _matrix(model)
    if domain.tracer:
        yield "tracer", domain.tracer
    yield "dose", _dose(model)
    yield "networks", _networks(record.get("size", {}))
    if model.network.denoiser is not None:
        yield "sampler", f"{model.sampler.kind}, {model.sampler.steps} steps (preset paper)"
    yield "uncertainty", _uncertainty(model)
    if (precision := record.get("precision")) is not None:
        yield "weights", str(precision)
    training = record.get("source", {})
    if (step := training.get("step")) is not None:
        yield "exported", f"from step {step} of its training"
    if validation := validation_of(training):
        yield "validation", str(validation)
        for warning in validation.warnings:
            yield "warning", warning


def _matrix(model: ModelSpec) -> str:
    matrix = model.domain.matrix
    return "" if matrix is None else f", {matrix[0]} x {matrix[1]} in plane"


def _dose(model: ModelSpec) -> str:
    from petrt.diffusion.dose import dose_text

    domain = model.domain
    if domain.dose_range is not None:
        low, high = (dose_text(each) for each in domain.dose_range)
        text = f"{low} to {high} of the full dose"
    elif domain.dose_fraction is not None:
        text = f"{dose_text(domain.dose_fraction)} of the full dose"
    else:
        return "unknown"
    if not model.network.dose:
        return text
    return f"{text}, {'told from the noise, or by' if domain.noise else 'to be given by'} --dose"


def _networks(size: dict[str, Any]) -> str:
    counted = {name: each for name, each in size.items() if isinstance(each, dict)}
    parts = {name: each["parameters"] for name, each in counted.items() if "parameters" in each}
    if not parts:
        return "not counted; petrt flops counts them"
    each = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in parts.items())
    return f"{sum(parts.values()) / 1e6:.2f} million parameters: {each}"


def _uncertainty(model: ModelSpec) -> str:
    if (fitted := model.uncertainty) is not None:
        fits = ", ".join(
            f"{fit.samples} samples of {fit.sampler.kind} ({fit.sampler.steps})"
            for fit in fitted.fits
        )
        return f"calibrated at {100 * fitted.level:g} % on {fitted.subjects} subjects: {fits}"
    if (old := model.calibration) is not None:
        return f"calibrated at {100 * old.level:g} % on {old.subjects} subjects, voxels only"
    return "not calibrated; petrt calibrate fits it"
