"""Do samples vary along z as errors do? One subject, with independent and with coherent noise.

    python -m benchmarks.quality.coherence --subjects-dir TEST

The width of the coherent noise is fitted to the error of the mean of samples of independent slices, as
``petrt.evaluation.coherence`` says. Correlations are those of voxels and the voxels ``apart`` slices above,
over active voxels of the head's box. Writes ``coherence.json`` and ``coherence.png``, sagittal views.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import RESULTS, write_json
from benchmarks.quality.cases import FIRST, QualityCase, View, simulated
from benchmarks.quality.figure import NOTICE
from benchmarks.quality.model import Settings, reconstruct
from petrt.arrays import Array
from petrt.bench.machine import describe
from petrt.evaluation.coherence import neighbour_correlation, sigma_of, slice_correlation
from petrt.evaluation.metrics import standard_mask
from petrt.evaluation.report.figure import DPI, png
from petrt.files.atomic import atomic_write_bytes
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import Bundle, load_bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

APART = (1, 2, 3)


@dataclass(frozen=True)
class Seen:
    """Maps [Z, X, Y] of one width, over the full dose's maximum: the error of the samples' mean, their std,
    and the deviation of sample 0 from the mean."""

    error: Array
    std: Array
    deviation: Array


def of_width(bundle: Bundle, sigma_z: float) -> Bundle:
    """The model with another width of its noise along z."""
    model = bundle.model.model_copy(update={"noise_sigma_z": sigma_z})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"model": model}))


def look(bundle: Bundle, case: QualityCase, settings: Settings, options: dict[str, Any]) -> Seen:
    """Samples of ``case``, their mean, and the first of them alone."""
    full = settings.views[case.dose].cut(case).full
    found = reconstruct(bundle, case, settings, samples=settings.samples, **options)
    first = reconstruct(bundle, case, settings, samples=1, **options)
    peak = full.max()
    parts = (found.image - full, found.std, first.image - found.image)
    return Seen(*(np.moveaxis(part / peak, 2, 0) for part in parts))


def correlations(values: Array, mask: NDArray[np.bool_]) -> list[float]:
    """Of slices 1, 2 and 3 apart: every n-th slice has neighbours n apart."""
    found = []
    for apart in APART:
        parts = [
            (values[first::apart], mask[first::apart]) for first in range(min(apart, len(values)))
        ]
        weights = [np.count_nonzero(inside[:-1] & inside[1:]) for _, inside in parts]
        each = [neighbour_correlation(part, inside) for part, inside in parts]
        found.append(round(float(np.average(each, weights=weights)), 4))
    return found


def record(seen: Seen, mask: NDArray[np.bool_], sigma_z: float) -> dict[str, Any]:
    """The figures of one width."""
    return {
        "sigma_z": sigma_z,
        "noise": [round(slice_correlation(sigma_z, apart), 4) for apart in APART],
        "deviation": correlations(seen.deviation, mask),
        "std": correlations(seen.std, mask),
        "error": correlations(seen.error, mask),
        "rms_error": float(np.sqrt(np.mean(np.square(seen.error[mask], dtype=np.float64)))),
        "mean_std": float(np.mean(seen.std[mask], dtype=np.float64)),
    }


def measure(
    bundle: Bundle, case: QualityCase, settings: Settings, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Seen]]:
    """The record of both widths, and what the figure shows of them."""
    full = settings.views[case.dose].cut(case).full
    mask = np.moveaxis(standard_mask(full), 2, 0)
    independent = look(of_width(bundle, 0.0), case, settings, options)
    sigma_z = round(sigma_of(neighbour_correlation(independent.error, mask)), 3)
    coherent = look(of_width(bundle, sigma_z), case, settings, options)
    shown = {
        "each slice for itself": independent,
        f"coherent noise, {sigma_z:.2f} slices": coherent,
    }
    widths = (0.0, sigma_z)
    rows = [record(seen, mask, width) for seen, width in zip(shown.values(), widths, strict=True)]
    return {"apart": list(APART), "fitted_sigma_z": sigma_z, "widths": rows}, shown


def calibrated(
    bundle: Bundle, case: QualityCase, settings: Settings, options: dict[str, Any]
) -> list[float] | None:
    """Correlations of the calibrated map of standard deviations; None where the model has none."""
    run = Reconstructor(
        bundle,
        samples=settings.samples,
        seed=settings.seed,
        threads=settings.threads,
        allow_activity_change=True,
        **options,
    )
    done = run(case.low, affine=case.affine, dose=1 / case.dose)
    if not done.stats["std"]["calibrated"]:
        return None
    # Slices that are pure background keep 0.
    mask = standard_mask(case.full) & (done.std > 0)
    return correlations(np.moveaxis(done.std, 2, 0), np.moveaxis(mask, 2, 0))


def save_figure(path: Path, shown: Mapping[str, Seen], voxel_mm: tuple[float, ...]) -> None:
    """Sagittal views through the middle: a row for each width. 256 colours, for a small file."""
    with Image.open(io.BytesIO(png(lambda: _draw(shown, voxel_mm)))) as picture:
        few = picture.convert("RGB").quantize(256)
    buffer = io.BytesIO()
    few.save(buffer, format="png", optimize=True)
    atomic_write_bytes(path, buffer.getvalue(), overwrite=True)


def _draw(shown: Mapping[str, Seen], voxel_mm: tuple[float, ...]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.6), dpi=DPI, facecolor="white", layout="constrained")
    panels = figure.subplots(len(shown), 3)
    top_std = max(float(np.quantile(seen.std, 0.998)) for seen in shown.values())
    top = max(float(np.quantile(np.abs(seen.deviation), 0.998)) for seen in shown.values())
    for row, (name, seen) in zip(panels, shown.items(), strict=True):
        columns = (
            ("a sample less the mean", seen.deviation, "RdBu_r", -top, top),
            ("std of the samples", seen.std, "magma", 0.0, top_std),
            ("|error| of the mean", np.abs(seen.error), "magma", 0.0, 0.2),
        )
        for axes, (title, values, colours, low, high) in zip(row, columns, strict=True):
            plane = values[:, values.shape[1] // 2]
            aspect = voxel_mm[2] / voxel_mm[1]
            limits = {"vmin": 100 * low, "vmax": 100 * high, "origin": "lower"}
            picture = axes.imshow(100 * plane, cmap=colours, aspect=aspect, **limits)
            axes.set(xticks=[], yticks=[], title=title)
            figure.colorbar(picture, ax=axes, shrink=0.8)
        row[0].set_ylabel(name)
    figure.suptitle(f"Sagittal views, in % of the maximum ({NOTICE})", fontsize=11)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.quality.coherence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--subject", type=int, default=FIRST, help="number of the test subject")
    parser.add_argument("--subjects-dir", type=Path, help="folder that petrt simulate wrote")
    parser.add_argument("--dose", type=int, default=100, help="100 is 1/100")
    parser.add_argument("--model", default="demo", help="bundle, or name of a shipped model")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--sampler", default="mean")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of coherence.json")
    options = parser.parse_args()
    case = simulated(options.subjects_dir)(options.subject, options.dose)
    settings = Settings(options.samples, 0, options.threads, {options.dose: View(head=True)})
    bundle = load_bundle(options.model)
    process = {"sampler": options.sampler, "steps": options.steps}
    found, shown = measure(bundle, case, settings, process)
    about = {"model": bundle.model.name, "identity": bundle.identity, "case": case.name}
    about |= {"samples": options.samples, **process}
    found["calibrated_std"] = calibrated(bundle, case, settings, process)
    write_json(options.out / "coherence.json", {"machine": describe(), **about, **found})
    save_figure(options.out / "coherence.png", shown, case.voxel_mm)
    for row in found["widths"]:
        print(row)
    print("calibrated map:", found["calibrated_std"])


if __name__ == "__main__":
    main()
