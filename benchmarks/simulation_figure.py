"""Simulated subjects at low and full dose: python -m benchmarks.simulation_figure SIMULATED OUT.png

SIMULATED is what ``petrt simulate --scanner varied`` wrote. Each subject gets one axial slice through the
middle of its brain, at 1/DOSE and at full dose, and the tracer and reconstruction that were drawn for it.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from petrt.data.simulate.phantom import GREY, WHITE

HALF_WIDTH_MM = 112


def middle(folder: Path, files: dict[str, str], dose: int) -> list[NDArray[Any]]:
    """The slice [X,Y] at the brain's centre of low and full dose, in units of the full dose's bright part."""
    low, full, labels = (
        nib.Nifti1Image.from_filename(folder / files[key])
        for key in (f"1to{dose}", "full", "labels")
    )
    brain = np.isin(np.asarray(labels.dataobj), (GREY, WHITE))
    z = int(np.flatnonzero(brain.any(axis=(0, 1))).mean())
    reach = round(HALF_WIDTH_MM / float(full.header.get_zooms()[0]))
    centre = full.shape[0] // 2
    window = slice(max(centre - reach, 0), centre + reach)
    images = [np.asarray(i.dataobj[window, window, z], np.float64) for i in (low, full)]
    bright = np.percentile(images[1][brain[window, window, z]], 99)
    return [image / bright for image in images]


def caption(drawn: dict[str, Any]) -> str:
    """What decides the look of a subject."""
    psf = f", PSF {drawn['psf_fwhm_mm']:.1f}" if drawn["psf_fwhm_mm"] else ""
    filtered = f", filter {drawn['post_fwhm_mm']:.1f}" if drawn["post_fwhm_mm"] else ", no filter"
    sign = " +" if drawn["positive"] else ""
    return (
        f"{drawn['tracer']}{sign}, {drawn['pixel_mm']:g} x {drawn['slice_mm']:g} mm\n"
        f"{drawn['iterations']} x {drawn['subsets']}{psf}{filtered}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("simulated", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dose", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--subjects", type=int, default=12, help="default: %(default)s")
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    index = json.loads((options.simulated / "dataset.json").read_text(encoding="utf-8"))
    names = list(index["files"])[: options.subjects]
    figure, axes = plt.subplots(
        -(-len(names) // 3), 6, figsize=(9, 2.05 * -(-len(names) // 3)), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for name, (left, right) in zip(names, axes.reshape(-1, 2), strict=False):
        low, full = middle(options.simulated, index["files"][name], options.dose)
        for axis, image in ((left, low), (right, full)):
            axis.imshow(
                image.T, origin="lower", cmap="gray_r", vmin=0, vmax=1.1, interpolation="nearest"
            )
        left.set_title(caption(index["drawn"][name]), fontsize=6, loc="left")
    figure.text(
        0.01, 0.005, f"left 1/{options.dose}, right full dose; {index['description']}", fontsize=6
    )
    figure.tight_layout(pad=0.3, rect=(0, 0.015, 1, 1))
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("L").quantize(32).save(options.out, optimize=True)  # small


if __name__ == "__main__":
    main()
