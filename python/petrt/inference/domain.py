"""The dose that the networks are told of a volume, and whether the volume lies in the model's domain."""

from __future__ import annotations

import statistics
import warnings as python_warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petrt.arrays import Array, grid_text
from petrt.diffusion.dose import AUTO, HINT, Told, clipped, dose_text
from petrt.errors import AssumedGrid, DomainWarning, UsageError, spoken
from petrt.evaluation.noise_domain import Judgement, doubts, judge
from petrt.evaluation.noise_level import signature
from petrt.model.spec import ModelSpec

Record = Mapping[str, Any]
ROUNDS_TO = 4  # significant digits in records


@dataclass(frozen=True)
class Seen:
    """What is known of a frame before the networks run. ``dose``: the one they are told, None if they take
    none. ``record``: the frame's part of the record; empty for a model without a noise domain."""

    dose: float | None
    record: dict[str, Any]


def look(grid: Array, model: ModelSpec, told: Told, threads: int, *, judged: bool = True) -> Seen:
    """Look at a frame [Z, H, W] on the network grid.

    Without ``judged`` nothing is recorded, and the frame is looked at only where its dose is to be estimated.
    A volume whose hot tissue is too small for an estimate has the model's own dose. Raises UsageError if the
    model has none.
    """
    given = None if isinstance(told, str) else told
    domain = model.domain.noise
    if domain is None or not (judged or told == AUTO):
        return Seen(given, {})
    height, width, depth = model.domain.voxel_mm
    found = signature(grid, (depth, height, width), threads)
    judgement = None if found is None else judge(found, domain)
    if told != AUTO:
        dose = given
    elif judgement is not None:
        dose = clipped(judgement.dose, model.domain)
    elif model.domain.dose_fraction is not None:
        dose = model.domain.dose_fraction
    else:
        raise UsageError("the noise of the volume does not tell its dose", HINT)
    doubted = judgement is not None and given is not None and doubts(given, judgement, domain)
    return Seen(dose, {"dose_fraction": dose, "noise": _record(judgement, doubted)})


def run_dose(told: Told, model: ModelSpec, frames: Sequence[Record]) -> float | None:
    """The dose in the record of a run: the one told, or the median of the frames' estimates."""
    if not isinstance(told, str):
        return told
    doses = [frame["dose_fraction"] for frame in frames if frame.get("dose_fraction") is not None]
    return statistics.median_low(doses) if doses else model.domain.dose_fraction


def dose_record(
    told: Told, asked: bool, model: ModelSpec, frames: Sequence[Record]
) -> dict[str, Any]:
    """Where the dose comes from, and what the noise tells of it. ``asked``: somebody gave it."""
    known = [frame["noise"] for frame in frames if frame.get("noise")]
    source = "estimated" if told == AUTO else "given" if asked else "model" if told else None
    if told == AUTO and not known:
        source = "model"
    record: dict[str, Any] = {"source": source, "estimate": None, "interval95": None}
    if known:
        middle = statistics.median_low([each["dose_estimate"] for each in known])
        its = next(each for each in known if each["dose_estimate"] == middle)
        record |= {"estimate": middle, "interval95": its["dose_interval95"]}
    return record


def domain_warnings(told: Told, model: ModelSpec, frames: Sequence[Record]) -> list[str]:
    """A line if frames lie outside the domain, one if their noise speaks against the given dose, and one if
    it tells nothing."""
    if model.domain.noise is None:
        return []
    judged = [(n, frame["noise"]) for n, frame in enumerate(frames, 1) if "noise" in frame]
    found = []
    outside = [(n, each) for n, each in judged if each and not each["inside"]]
    if outside:
        number, worst = max(outside, key=lambda each: each[1]["distance"])
        where = f" in {len(outside)} of {len(frames)} frames, most in frame {number}"
        found.append(
            f"outside the model's domain{where if len(frames) > 1 else ''}: unlike the training data "
            f"in {_listed(worst['unusual'])} (distance {worst['distance']:.3g}, usual up to "
            f"{worst['usual']:.3g})"
        )
    doubted = [(n, each) for n, each in judged if each and each["dose_doubted"]]
    if doubted and isinstance(told, float):
        number, first = doubted[0]
        where = f" of frame {number}, and {len(doubted) - 1} more," if len(frames) > 1 else ""
        found.append(
            f"the noise{where} is that of a dose of {_text(first)}; {dose_text(told)} is given"
        )
    if told == AUTO and (blind := [n for n, each in judged if not each]):
        where = f" of {len(blind)} of {len(frames)} frames" if len(frames) > 1 else ""
        found.append(
            f"the noise{where} does not tell the dose, for there is too little hot tissue: the model's own "
            "is used"
        )
    return found


def dose_line(stats: Record) -> str:
    """What the log says of an estimated dose; empty for a dose that was given."""
    known = stats.get("dose") or {}
    if known.get("source") != "estimated":
        return ""
    told, about = dose_text(stats["dose_fraction"]), known["estimate"]
    text = _text({"dose_estimate": about, "dose_interval95": known["interval95"]})
    limited = (
        "" if abs(about - stats["dose_fraction"]) < 1e-3 * about else f"; the model is told {told}"
    )
    return f"dose from the noise: {text}{limited}"


def dose_words(stats: Record) -> str:
    """The dose of a run and where it comes from; "" where nothing is known of it."""
    if stats["dose_fraction"] is None:
        return ""
    source = {"given": "given", "estimated": "from the noise", "model": "the model's"}
    known = source.get(stats["dose"]["source"])
    return f"dose {dose_text(stats['dose_fraction'])}{f' ({known})' if known else ''}"


def warn_assumed(shape: Sequence[int], model: ModelSpec) -> None:
    """Warn a caller in Python of an array of this ``shape`` that came without a voxel size."""
    if spoken() is not None:
        return
    text = (
        f"array: no affine and no voxel_mm, so it is taken as on the grid of model '{model.name}': "
        f"{grid_text(shape, model.domain.voxel_mm)}, x to the right, y to the front, z up; give voxel_mm or "
        "affine"
    )
    python_warnings.warn(text, AssumedGrid, stacklevel=3)


def warn_python(found: Sequence[str], name: str) -> None:
    """Warn a caller in Python, once for a volume; a command's log has it already."""
    if found and spoken() is None:
        python_warnings.warn(f"{name}: {'; '.join(found)}", DomainWarning, stacklevel=3)


def _record(judgement: Judgement | None, doubted: bool) -> dict[str, Any] | None:
    if judgement is None:
        return None
    return {
        "level": _rounded(judgement.level),
        "dose_estimate": _rounded(judgement.dose),
        "dose_interval95": [_rounded(end) for end in judgement.interval],
        "dose_doubted": doubted,
        "inside": judgement.inside,
        "distance": _rounded(judgement.distance),
        "usual": _rounded(judgement.usual),
        "unusual": list(judgement.unusual),
    }


def _rounded(number: float) -> float:
    return float(f"{number:.{ROUNDS_TO}g}")


def _text(noise: Record) -> str:
    """About 1/52 (1/66 to 1/41)."""
    low, high = noise["dose_interval95"]
    return f"about {_about(noise['dose_estimate'])} ({_about(low)} to {_about(high)})"


def _about(fraction: float) -> str:
    """As one over a whole number below a third, without claiming more digits than an estimate has."""
    return f"1/{round(1 / fraction)}" if fraction < 1 / 3 else f"{fraction:.2g}"


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
