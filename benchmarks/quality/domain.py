"""What the noise tells: the dose of simulated subjects, false alarms on them, and what is recognised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.quality.cases import Source
from benchmarks.quality.unlike import Image, drawn, makers
from petrt.errors import UsageError
from petrt.evaluation.noise_domain import Judgement, doubts, judge
from petrt.evaluation.noise_level import signature
from petrt.imaging.grid import plan
from petrt.model.spec import ModelSpec

Record = dict[str, Any]

DRAWN = 24  # images of a kind
SEED = 16


def domain_record(model: ModelSpec, source: Source, numbers: range, doses: Sequence[int]) -> Record:
    """All of it for ``model``. ``source``: the test subjects, at 1/``doses``. Raises UsageError without a
    noise domain."""
    noise = model.domain.noise
    if noise is None:
        raise UsageError(f"model '{model.name}' has no noise domain", "petrt calibrate fits one")
    inside: dict[int, list[Judgement]] = {dose: [] for dose in doses}
    unlike: dict[str, list[Judgement]] = {}
    for number in numbers:
        for dose in doses:
            case = source(number, dose)
            inside[dose].append(_judged(model, (case.low, case.affine)))
        unlike.setdefault("full dose", []).append(_judged(model, (case.full, case.affine)))
        unlike.setdefault("noise-free simulation", []).append(
            _judged(model, (case.truth, case.affine))
        )
    for kind, maker in makers().items():
        unlike[kind] = [_judged(model, image) for image in drawn(maker, DRAWN, SEED)]
    own = [each for judged in inside.values() for each in judged]
    return {
        "settings": {"subjects": len(numbers), "fitted_on": noise.subjects, "usual": noise.usual},
        "false_alarms": {
            "volumes": len(own),
            "outside": sum(not each.inside for each in own),
            "dose_doubted": sum(
                doubts(1 / dose, each, noise) for dose, judged in inside.items() for each in judged
            ),
            "largest_distance": max(each.distance for each in own),
        },
        "dose": {f"1/{dose}": _dose(judged, 1 / dose) for dose, judged in inside.items()},
        "detected": {
            kind: {
                "volumes": len(judged),
                "outside": _share([not each.inside for each in judged]),
                "outside_or_doubted_at_1/100": _share(
                    [not each.inside or doubts(0.01, each, noise) for each in judged]
                ),
                "distance": [round(f([e.distance for e in judged]), 2) for f in (min, max)],
            }
            for kind, judged in unlike.items()
        },
    }


def _judged(model: ModelSpec, image: Image) -> Judgement:
    """As the runtime sees it: on the model's grid."""
    volume, affine = image
    grid = plan(volume.shape, affine, model.domain.voxel_mm, multiple=2**model.network.scales)
    height, width, depth = model.domain.voxel_mm
    found = signature(grid.to_network(volume), (depth, height, width))
    assert found is not None
    assert model.domain.noise is not None
    return judge(found, model.domain.noise)


def _dose(judged: list[Judgement], dose: float) -> Record:
    """Bias and spread of the estimates in per cent, and how many intervals hold the dose."""
    errors = np.log([each.dose / dose for each in judged])
    covered = [each.interval[0] <= dose <= each.interval[1] for each in judged]
    return {
        "bias_percent": round(100 * float(np.expm1(errors.mean())), 1),
        "sd_percent": round(100 * float(errors.std(ddof=1)), 1),
        "largest_factor": round(float(np.exp(np.abs(errors).max())), 2),
        "covered95": _share(covered),
    }


def _share(found: list[bool]) -> float:
    return round(sum(found) / len(found), 3)


def table(record: Record) -> Iterator[str]:
    """The section in Markdown."""
    alarms, volumes = record["false_alarms"], record["false_alarms"]["volumes"]
    yield from ("", "## The model's domain, and the dose from the noise", "")
    subjects, doses = record["settings"]["subjects"], len(record["dose"])
    yield f"{subjects} test subjects at {doses} doses, {volumes} volumes: "
    yield f"{alarms['outside']} taken for foreign, {alarms['dose_doubted']} whose true dose is doubted."
    yield from (
        "",
        "| dose | bias, % | SD, % | largest factor | in the 95 % interval, % |",
        "|---" * 5 + "|",
    )
    for dose, each in record["dose"].items():
        cells = [each["bias_percent"], each["sd_percent"], each["largest_factor"]]
        yield f"| {dose} | " + " | ".join(map(str, cells)) + f" | {100 * each['covered95']:.0f} |"
    yield from ("", "| image | volumes | outside, % | or doubted at 1/100, % |", "|---" * 4 + "|")
    for kind, each in record["detected"].items():
        both = 100 * each["outside_or_doubted_at_1/100"]
        yield f"| {kind} | {each['volumes']} | {100 * each['outside']:.0f} | {both:.0f} |"
