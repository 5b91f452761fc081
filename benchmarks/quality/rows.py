"""The rows of the paper's Table 2 at a size for two CPU cores: configurations in ``benchmarks/rows``.

    a  SR3: the denoiser samples the image itself, no coarse network
    b  the coarse network P alone, without guides
    c  b + the denoiser D of the residual
    d  c + neighbouring slices
    e  d + spectrum
    f  e + the contrastive term, in its bounded form

L_main does not reach P in these runs, and batches depend on (seed, step) alone. So the P of row c is trained
as row b's is, and its coarse prediction stands for row b where no run of b is given.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from petrt.errors import InputError
from petrt.export import export_bundle
from petrt.model.bundle import MANIFEST, Bundle, load_bundle
from petrt.nets.checkpoint import load_checkpoint
from petrt.nets.count import count
from petrt.train.checkpoints import newest

CONFIGS = Path(__file__).parents[1] / "rows"
DOSE = 100
IMAGE_CLIP = 3.0  # in units of the scale: beyond any lesion
ROWS = {
    "a": "SR3",
    "b": "P alone",
    "c": "+ D",
    "d": "+ NAS",
    "e": "+ spectrum",
    "f": "+ contrastive",
}


def load_rows(folder: Path, work: Path) -> dict[str, Bundle]:
    """The rows that lie in ``folder``/a … f: bundles, or training runs, which are exported first.

    Raises InputError for none at all, and for a run that has not come to its end.
    """
    bundles = {}
    for name in ROWS:
        source = folder / name
        if source.is_dir():
            bundle = source if (source / MANIFEST).is_file() else _exported(source, work, name)
            bundles[name] = _unclipped(load_bundle(bundle))
    if not bundles:
        raise InputError(f"no row of {', '.join(ROWS)} in the folder", "one subfolder for each row")
    return bundles


def _exported(run: Path, work: Path, name: str) -> Path:
    """The bundle of a finished run."""
    checkpoint = newest(run)
    _, _, info = load_checkpoint(checkpoint)
    step, steps = int(info["step"]), int(info["config"]["steps"])
    if step < steps:
        raise InputError(
            f"row {name} was trained for {step} of {steps} steps", "petrt train --resume ends it"
        )
    out = work / "bundles" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    export_bundle(checkpoint, out, overwrite=True)
    return out


def _unclipped(bundle: Bundle) -> Bundle:
    """``bundle`` itself, or without P with a wider clamp of x0.

    Training clamps x0 to +-1 in units of the scale. A residual never gets there; of the image itself, the
    hottest 84 ml lie above by the definition of the scale, and would be cut off.
    """
    spec = bundle.model
    if spec.network.coarse:
        return bundle
    wider = spec.model_copy(update={"clip": IMAGE_CLIP / spec.sigma_r})
    manifest = bundle.manifest.model_copy(update={"model": wider})
    return dataclasses.replace(bundle, manifest=manifest)


def describe(name: str, bundle: Bundle) -> dict[str, Any]:
    """What the row is, and its size: parameters and MACs as the paper's Table 2 counts them."""
    spec = bundle.model
    total = count(spec.network, 128, 128).total(spec.sampler.steps)
    return {
        "what": ROWS[name],
        "weights_million": round(total.table_parameters / 1e6, 4),
        "gmac": round(total.macs / 1e9, 3),
        "steps": spec.sampler.steps if spec.network.denoiser else 0,
    }
