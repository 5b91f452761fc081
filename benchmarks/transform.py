"""Two small networks trained alike on the scaled activity and on its logarithm (petrt.imaging.transform).

    python -m benchmarks.transform --out benchmarks/results    transform.json; about 20 minutes on one core

Both are coarse networks with neighbouring slices and the dose, with the same seed: the same first weights
and the same slices. They are judged on other simulated subjects, in activity, against the full dose, in the
field of view that they were trained on: group normalisation of so small a network, trained on one size,
shifts on another (a whole slice of 128 voxels: activity ratios of 0.94 and 1.28 instead of 1.00 and 1.01).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.statistics import paired
from petrt.data.dataset import Dataset, open_dataset
from petrt.data.prepare import Options, prepare
from petrt.data.simulate import write_dataset
from petrt.data.simulate.phantom import LABELS
from petrt.evaluation.metrics import evaluate
from petrt.export import export_bundle
from petrt.files.atomic import atomic_write_json
from petrt.inference.reconstructor import Reconstructor
from petrt.train.config import TrainConfig
from petrt.train.fit import fit

SHAPE, VOXEL_MM = (128, 128, 32), 2.0
CROP = 64  # voxels: the middle of the head
DOSES = (100, 20)
KINDS = ("linear", "log1p")
TISSUES = ("grey", "white")


def config(kind: str, seed: int, steps: int) -> TrainConfig:
    """The training of one network."""
    network = {
        "guides": "nas",
        "dose": True,
        "coarse": {"base": 8, "multipliers": [1, 2, 4, 6], "blocks": 1, "norm_groups": 4},
        "guidance": {"stem": 4, "widths": [4, 8, 16, 16], "norm_groups": 4},
    }
    return TrainConfig.model_validate(
        {
            "seed": seed,
            "steps": steps,
            "coarse_steps": steps,
            "batch": 8,
            "checkpoint_every": steps,
            "validate_every": steps,
            "data": {"doses": dict.fromkeys(DOSES, 1.0), "crops": [[CROP, CROP]]},
            "model": {
                "name": f"small-{kind}",
                "label": "simulated data; not for diagnostic use",
                "domain": {"voxel_mm": [VOXEL_MM] * 3, "dose_fraction": 1 / DOSES[0]},
                "transform": {"kind": kind},
                "network": network,
            },
            "loss": {"coarse_weight": 200.0},
            "optimizer": {"rate": 1.5e-3, "ema": 0.998},
            "validation": {"subjects": 1, "every": 16},
        }
    )


def trained(data: Path, work: Path, kind: str, args: argparse.Namespace) -> Reconstructor:
    """The network, run by the runtime."""
    run = fit(config(kind, args.seed, args.steps), data, work / kind, threads=args.threads)
    export_bundle(run, work / f"{kind}-bundle")
    options: dict[str, Any] = {"threads": args.threads, "engine": "native"}
    return Reconstructor(work / f"{kind}-bundle", **options, allow_activity_change=True)


def measured(run: Reconstructor, dataset: Dataset, name: str, dose: int) -> dict[str, float]:
    """PSNR and NRMSE of two protocols, activity and the bias of tissues, of one subject."""
    pair = dataset.pair(name, dose)
    middle = [slice((n - CROP) // 2, (n + CROP) // 2) for n in pair.full.shape[1:]]
    box = (slice(None), *middle)
    full = np.asarray(pair.full[box], np.float32) * np.float32(pair.gain)
    image = run.on_grid(np.asarray(pair.low[box], np.float32), dose=1 / dose)[0]
    scores = evaluate(image, full, protocols=("standard", "challenge"))
    found = {f"{p}.{key}": m[key] for p, m in scores.items() for key in ("psnr", "nrmse", "ssim")}
    found["activity_ratio"] = float(image.sum() / full.sum())
    labels = dataset.labels(name)
    assert labels is not None
    for tissue in TISSUES:
        inside = np.asarray(labels)[box] == LABELS[tissue]
        found[f"{tissue}_bias"] = float(100 * (image[inside].mean() / full[inside].mean() - 1))
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=16, help="training subjects")
    parser.add_argument("--test", type=int, default=8)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = compare(Path(folder), args)
    args.out.mkdir(parents=True, exist_ok=True)
    atomic_write_json(args.out / "transform.json", record, overwrite=True)


def compare(work: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The record of the comparison."""
    count, begun = args.train + 1 + args.test, time.perf_counter()
    write_dataset(work / "raw", range(3000, 3000 + count), args.seed, DOSES, shape=SHAPE)
    shares = (args.train / count, 1 / count, args.test / count)
    prepare([work / "raw"], work / "data", Options(split=shares))
    dataset = open_dataset(work / "data")
    runs = {kind: trained(work / "data", work, kind, args) for kind in KINDS}
    names, record = dataset.split("test"), {}
    for dose in DOSES:
        rows = {
            kind: {name: measured(run, dataset, name, dose) for name in names}
            for kind, run in runs.items()
        }
        record[f"1/{dose}"] = _table(rows)
    return {
        "what": "small coarse networks trained alike on activity and on log(1 + k x), k = 10",
        "label": "simulated data; not for diagnostic use",
        "settings": {k: v for k, v in vars(args).items() if k != "out"} | {"shape": SHAPE},
        "seconds": round(time.perf_counter() - begun),
        "doses": record,
    }


def _table(rows: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Means over subjects of each kind, and the paired difference log1p - linear."""
    subjects = list(rows[KINDS[0]])
    found: dict[str, Any] = {"subjects": len(subjects)}
    for key in rows[KINDS[0]][subjects[0]]:
        columns = {kind: {s: rows[kind][s][key] for s in subjects} for kind in KINDS}
        means = {kind: round(float(np.mean([*c.values()])), 5) for kind, c in columns.items()}
        gain = paired(columns["log1p"], columns["linear"])
        found[key] = means | {"log1p - linear": None if gain is None else gain.record()}
    return found


if __name__ == "__main__":
    main()
