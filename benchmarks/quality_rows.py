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

from pathlib import Path
from typing import Any

from petrt.bundle import MANIFEST, Bundle, load_bundle
from petrt.cli.app import run
from petrt.errors import InputError
from petrt.nets.count import count

CONFIGS = Path(__file__).parent / "rows"
DOSE = 100
ROWS = {
    "a": "SR3",
    "b": "P alone",
    "c": "+ D",
    "d": "+ NAS",
    "e": "+ spectrum",
    "f": "+ contrastive",
}


def load_rows(folder: Path, work: Path) -> dict[str, Bundle]:
    """The rows that lie in ``folder``/a … f: bundles, or training runs, which are exported first."""
    bundles = {}
    for name in ROWS:
        source = folder / name
        if not source.is_dir():
            continue
        if not (source / MANIFEST).is_file():
            source = work / "bundles" / name
            source.parent.mkdir(parents=True, exist_ok=True)
            arguments = ["export", str(folder / name), "-o", str(source), "--overwrite"]
            if run(arguments) != 0:
                raise InputError(f"row {name} could not be exported", "its message stands above")
        bundles[name] = load_bundle(source)
    if not bundles:
        raise InputError(f"no row of {', '.join(ROWS)} in the folder", "one subfolder for each row")
    return bundles


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
