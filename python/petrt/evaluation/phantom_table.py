"""What a model does to the NEMA phantom, beside Gaussian filters: contrast recovery at equal noise, bias.

The image at the strength S is (1 - S) input + S output. Gaussian filters of the input give a curve of
contrast recovery over background variability for each sphere. The model is compared with the point of
this curve that has its own background variability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petrt.arrays import Array
from petrt.evaluation.activity import change, roi_statistics
from petrt.evaluation.nema import DIAMETERS_MM, NemaPhantom, NemaResult, measure, sphere_labels

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FILTERS_MM = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0)
"""Standard deviations of the Gaussian filters, mm."""
KINDS = ("mean", "max", "peak")


@dataclass(frozen=True)
class Images:
    """The volumes [X, Y, Z] of one phantom at one dose: ``low`` in, ``output`` out, ``full`` dose or None."""

    low: Array
    output: Array
    full: Array | None
    affine: NDArray[np.float64]
    nema: NemaPhantom
    pose: NDArray[np.float64] | None = None

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def at(self, strength: float) -> Array:
        """The image at a strength."""
        mixed = (1 - strength) * self.low + strength * self.output
        return np.asarray(mixed, np.float32)


@dataclass(frozen=True)
class Bias:
    """Bland-Altman over spheres and realisations: mean difference in per cent, and its 95 % limits
    mean +- 1.96 SD (SD with ddof 1); None for fewer than two."""

    count: int
    mean: float | None
    low: float | None
    high: float | None


def figures(images: Images, others: Mapping[str, Array] | None = None) -> dict[str, Any]:
    """The record of one realisation: the figures at each strength and of each filter; of ``others``, too.

    ``equal_noise``: for each sphere Q of the output and that of the Gaussian with the same background
    variability; None where no filter of the list has it. ``differences``: of mean, max and peak of the
    spheres from the full dose in per cent, by rising diameter.
    """

    def of(image: Array) -> NemaResult:
        return measure(image, images.affine, images.nema, images.pose)

    strengths = {f"{s:g}": of(images.at(s)) for s in STRENGTHS}
    filters = {f"{mm:g}": of(_gaussian(images.low, mm, images.voxel_mm)) for mm in FILTERS_MM}
    record: dict[str, Any] = {
        "strengths": {key: result.record() for key, result in strengths.items()},
        "gaussian_mm": {key: result.record() for key, result in filters.items()},
        "equal_noise": equal_noise(strengths["1"], [*filters.values()]),
        "activity_ratio": change(images.output, images.low).activity_ratio,
    }
    for name, image in (others or {}).items():
        result = of(image)
        record.setdefault("others", {})[name] = result.record() | {
            "equal_noise": equal_noise(result, [*filters.values()])
        }
    if images.full is not None:
        record["full"] = of(images.full).record()
        record["differences"] = {
            key: _differences(image, images)
            for key, image in (("input", images.low), ("output", images.output))
        }
    return record


def equal_noise(result: NemaResult, filters: Sequence[NemaResult]) -> list[dict[str, Any]]:
    """Each sphere's Q beside the Gaussian's at the same background variability, by linear interpolation
    along the filters, which are in order of rising width."""
    rows = []
    for index, sphere in enumerate(result.spheres):
        noise = np.array([each.spheres[index].variability_percent for each in filters])
        contrast = np.array([each.spheres[index].contrast_percent for each in filters])
        noise = np.minimum.accumulate(noise)  # it falls with the width, but for chance
        gaussian = None
        if noise[-1] <= sphere.variability_percent <= noise[0]:
            gaussian = float(np.interp(sphere.variability_percent, noise[::-1], contrast[::-1]))
        gain = None
        if gaussian is not None and gaussian > 0:
            gain = 100 * (sphere.contrast_percent / gaussian - 1)
        rows.append({**asdict(sphere), "gaussian_percent": gaussian, "gain_percent": gain})
    return rows


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over realisations of the figures at strength 0 and 1, of the Gaussian at equal noise, and the
    biases; spheres by rising diameter."""
    found: dict[str, Any] = {"realisations": len(records), "spheres": []}
    for index, diameter in enumerate(DIAMETERS_MM):
        row: dict[str, Any] = {"diameter_mm": diameter}
        for key, strength in (("input", "0"), ("output", "1")):
            spheres = [record["strengths"][strength]["spheres"][index] for record in records]
            row["hot"] = spheres[0]["hot"]
            row[key] = _mean(s["contrast_percent"] for s in spheres)
            row[f"{key}_variability"] = _mean(s["variability_percent"] for s in spheres)
        pairs = [record["equal_noise"][index] for record in records]
        row["gaussian"] = _mean(pair["gaussian_percent"] for pair in pairs)
        row["gain_percent"] = _mean(pair["gain_percent"] for pair in pairs)
        if all("full" in record for record in records):
            spheres = [record["full"]["spheres"][index] for record in records]
            row["full"] = _mean(s["contrast_percent"] for s in spheres)
        found["spheres"].append(row)
    for key, strength in (("input", "0"), ("output", "1")):
        found[f"lung_{key}"] = _mean(r["strengths"][strength]["lung_percent"] for r in records)
    found["activity_ratio"] = _mean(record["activity_ratio"] for record in records)
    if all("differences" in record for record in records):
        found["bias"] = {
            image: {
                kind: asdict(
                    bland_altman([v for r in records for v in r["differences"][image][kind]])
                )
                for kind in KINDS
            }
            for image in ("input", "output")
        }
    return found


def bland_altman(differences: Sequence[float | None]) -> Bias:
    """Mean and 95 % limits of agreement of differences in per cent; None among them do not count."""
    known = np.array([value for value in differences if value is not None])
    if not len(known):
        return Bias(0, None, None, None)
    mean = float(known.mean())
    if len(known) < 2:
        return Bias(1, mean, None, None)
    half = 1.96 * float(known.std(ddof=1))
    return Bias(len(known), mean, mean - half, mean + half)


def _differences(image: Array, images: Images) -> dict[str, list[float | None]]:
    """Per cent by which mean, max and peak of the hot spheres differ from the full dose's."""
    labels = sphere_labels(image.shape, images.affine, images.nema, images.pose)
    rows = roi_statistics(image, labels, reference=images.full, voxel_mm=images.voxel_mm)
    hot = {n for n, sphere in enumerate(images.nema.spheres, start=1) if sphere.hot}
    return {
        kind: [getattr(row, f"{kind}_bias_percent") for row in rows if row.label in hot]
        for kind in KINDS
    }


def _gaussian(image: Array, mm: float, voxel_mm: Sequence[float]) -> Array:
    if not mm:
        return image
    filtered = ndimage.gaussian_filter(image, [mm / size for size in voxel_mm], mode="nearest")
    return np.asarray(filtered, np.float32)


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if known else None
