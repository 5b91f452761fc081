"""Means, SUVpeak and maxima of regions, with intervals from the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petrt.arrays import Array, Array64
from petrt.evaluation.activity import bounding_box, compact_labels, peak_map
from petrt.evaluation.report.figure import NOT_FOR_DIAGNOSIS
from petrt.files.names import printable
from petrt.imaging.scaling import smoothed
from petrt.model.spec import RegionSpec, SamplesSpec

STATISTICS = ("mean", "peak", "max")
# The last four bend the line: spheres, lesions and whole tissues do not lie on one.
NAMES = (
    *("constant", "samples", "volume", "value", "detail", "dose"),
    *("volume2", "detail2", "detail_volume", "volume_dose"),
)
# The factors of ``values``.
BIASES = ("bias", "bias_dose", "recovery", "recovery_dose")
# Over the scale, added before logarithms: a region of air has no value, and samples may agree.
FLOOR = 1e-4
# Width of the Gaussian that shows how much a statistic depends on the resolution, in mm.
BLUR_MM = 3.0


@dataclass(frozen=True)
class Regions:
    """Regions on one grid [X, Y, Z], made by ``regions_of``: ``labels``, their ``names``, ``voxels``, ``ml``.

    ``box``: the part of the grid that holds them and the spheres of their peaks; ``inside``: indices of
    their voxels in it, and ``member``: the region of each.
    """

    labels: tuple[int, ...]
    names: tuple[str, ...]
    shape: tuple[int, ...]
    voxel_mm: tuple[float, float, float]
    box: tuple[slice, ...]
    inside: NDArray[np.int64]
    member: NDArray[np.int64]

    @property
    def voxels(self) -> NDArray[np.int64]:
        return np.bincount(self.member, minlength=len(self.labels))

    @property
    def ml(self) -> Array64:
        return self.voxels.astype(np.float64) * float(np.prod(self.voxel_mm) / 1000.0)

    def measured(self, volume: Array) -> Array64:
        """Mean, peak and maximum [3, regions] of a ``volume`` on the grid.

        The peak is the largest mean over a sphere of 1 cm^3 around a voxel of the region.
        """
        return self._measured(np.asarray(volume[self.box], np.float64))

    def blurred(self, volume: Array, threads: int = 1) -> Array64:
        """The same [3, regions] of the volume smoothed by a Gaussian of ``BLUR_MM``."""
        sigma = [BLUR_MM / mm for mm in self.voxel_mm]
        part = np.ascontiguousarray(volume[self.box], np.float32)
        return self._measured(smoothed(part, sigma, threads).astype(np.float64))

    def _measured(self, part: Array64) -> Array64:
        values, count = part.reshape(-1)[self.inside], len(self.labels)
        mean = np.bincount(self.member, values, count) / self.voxels
        peaks = peak_map(part, self.voxel_mm).reshape(-1)[self.inside]
        found = np.full((3, count), -np.inf)
        found[0] = mean
        for row, each in zip(found[1:], (peaks, values), strict=True):
            np.maximum.at(row, self.member, each)
        return found


def regions_of(
    labels: ArrayLike, voxel_mm: Sequence[float], names: Mapping[int, str] | None = None
) -> Regions:
    """The regions of ``labels`` [X, Y, Z], whole numbers with 0 outside, by rising label.

    Raises InputError for fractional labels, and where every voxel is 0.
    """
    shape = np.shape(labels)
    compact, values = compact_labels(labels, shape)
    box = bounding_box(compact > 0, voxel_mm)
    part = compact[box].reshape(-1)
    inside = np.flatnonzero(part)
    named = names or {}
    return Regions(
        labels=tuple(values),
        names=tuple(named.get(value, "") for value in values),
        shape=shape,
        voxel_mm=(float(voxel_mm[0]), float(voxel_mm[1]), float(voxel_mm[2])),
        box=box,
        inside=inside,
        member=part[inside] - 1,
    )


@dataclass(frozen=True)
class Drawn:
    """The statistics of a volume's regions: of the ``image``, the mean of the samples, and of the image
    ``blurred`` [3, regions]; of each of the ``samples`` [samples, 3, regions], None without any. ``scale``
    of the volume, 0 for one without activity."""

    image: Array64
    blurred: Array64
    samples: Array64 | None
    scale: float


@dataclass(frozen=True)
class Value:
    """A statistic of a region and its interval, in the volume's unit; None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True, repr=False)
class Region:
    """One region of one frame. ``reason``: why it has no intervals; "" where it has."""

    frame: int
    label: int
    name: str
    voxels: int
    ml: float
    mean: Value
    peak: Value
    max: Value
    reason: str = ""

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        shown = ", ".join(f"{key} {getattr(self, key)}" for key in STATISTICS)
        return f"Region({self.label}{name}, {self.ml:.4g} ml, {shown})"

    def record(self) -> dict[str, Any]:
        """One flat row; JSON-ready."""
        row: dict[str, Any] = {"frame": self.frame, "label": self.label, "name": self.name}
        row |= {"voxels": self.voxels, "ml": round(self.ml, 6)}
        for key in STATISTICS:
            each: Value = getattr(self, key)
            row |= {key: each.value, f"{key}_low": each.low, f"{key}_high": each.high}
        return row | {"reason": self.reason}


COLUMNS = ("frame", "label", "name", "ml", *STATISTICS)


class RegionTable(list[Region]):
    """Regions by frame and label, with intervals at ``level``. It prints as a table, and shows as one."""

    def __init__(self, rows: Iterable[Region], level: float) -> None:
        super().__init__(rows)
        self.level = level

    def __repr__(self) -> str:
        frames = len({row.frame for row in self})
        of = f" of {frames} frames" if frames > 1 else ""
        return f"RegionTable({len(self)} regions{of}, {100 * self.level:g} % intervals)"

    def __str__(self) -> str:
        rows = [COLUMNS, *self._cells()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = [
            "  ".join(each.ljust(width) for each, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, *(f"no intervals: {reason}" for reason in self._reasons())])

    def _repr_html_(self) -> str:
        def row(cells: Iterable[str], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{escape(each)}</{tag}>' for each in cells)}</tr>"

        body = "".join(row(cells, "td") for cells in self._cells())
        below = "".join(f"<div>no intervals: {escape(each)}</div>" for each in self._reasons())
        title = f"<caption>{100 * self.level:g} % intervals; {NOT_FOR_DIAGNOSIS}</caption>"
        return f"<table>{title}{row(COLUMNS, 'th')}{body}</table>{below}"

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                *(str(each.frame), str(each.label), printable(each.name), f"{each.ml:.4g}"),
                *(str(getattr(each, key)) for key in STATISTICS),
            )
            for each in self
        ]

    def _reasons(self) -> list[str]:
        return [*dict.fromkeys(printable(each.reason) for each in self if each.reason)]


def features(
    deviation: Array64, ml: Array64, value: Array64, detail: Array64, dose: float
) -> Array64:
    """The features [n, 10] of ``NAMES`` of n regions, over the scale.

    ``deviation``: standard deviation of the samples' statistic. ``value``: the statistic of the image.
    ``detail``: the same less that of the blurred image.
    """
    ones, log_ml = np.ones_like(deviation), np.log(ml)
    log_detail = np.log(np.abs(detail) + FLOOR)
    return np.stack(
        [
            ones,
            np.log(deviation + FLOOR),
            log_ml,
            np.log(np.maximum(value, 0) + FLOOR),
            log_detail,
            np.log(dose) * ones,
            log_ml**2,
            log_detail**2,
            log_detail * log_ml,
            log_ml * np.log(dose),
        ],
        axis=1,
    )


def values(value: Array64, detail: Array64, dose: float) -> Array64:
    """What the mean error is proportional to [n, 4]; it depends on the dose, too."""
    return np.stack([value, value * np.log(dose), detail, detail * np.log(dose)], axis=1)


def bias_of(spec: RegionSpec) -> Array64:
    """The factors of ``values`` [4]."""
    return np.array([getattr(spec, name) for name in BIASES])


def deviation_of(spec: RegionSpec, features_: Array64) -> Array64:
    """The standard deviation of the statistic [n] by the fit, over the scale."""
    # Row by row: a product of matrices may round a region by its place among the others.
    log_s = (features_ * np.array([getattr(spec, name) for name in NAMES])).sum(axis=1)
    result: Array64 = np.exp(np.clip(log_s, -30, 30))
    return result


def table(
    regions: Regions,
    drawn: Sequence[Drawn],
    fitted: SamplesSpec | None,
    why: Sequence[str],
    dose: float | None,
    level: float,
) -> list[Region]:
    """The regions of every frame with their intervals at ``level``.

    ``fitted``: None where no fit is valid; then ``why`` [regions] says it for all.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    rows = []
    for frame, each in enumerate(drawn):
        shown: dict[str, list[Value]] = {}
        for k, key in enumerate(STATISTICS):
            value = each.image[k]
            shown[key] = [Value(float(v)) for v in value]
            if fitted is None or dose is None or each.samples is None or each.scale <= 0:
                continue
            spec: RegionSpec = getattr(fitted, key)
            deviation = each.samples[:, k].std(axis=0, ddof=1) / each.scale
            detail = value - each.blurred[k]
            x = features(deviation, regions.ml, value / each.scale, detail / each.scale, dose)
            half = z * each.scale * deviation_of(spec, x)
            centre = value + values(value, detail, dose) @ bias_of(spec)
            shown[key] = [
                Value(float(v), float(max(c - h, 0.0)), float(c + h))
                for v, c, h in zip(value, centre, half, strict=True)
            ]
        for i, label in enumerate(regions.labels):
            reason = why[i] or ("no activity" if each.scale <= 0 else "")
            kept = {
                key: Value(shown[key][i].value) if reason else shown[key][i] for key in STATISTICS
            }
            rows.append(
                Region(
                    frame,
                    label,
                    regions.names[i],
                    int(regions.voxels[i]),
                    float(regions.ml[i]),
                    **kept,
                    reason=reason,
                )
            )
    return rows
