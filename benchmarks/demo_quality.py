"""Image quality of the shipped model on held-out simulated subjects: the table of the README.

    python benchmarks/demo_quality.py [--subjects 4] [--samples 8]

Subject 0 is the one that ``petrt demo`` shows. None was seen in training (other seed).
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import defaultdict
from typing import Any

from common import save

from petrt.baselines import best_gaussian, nonlocal_means
from petrt.cli.demo import DOSE, SEED, SHAPE
from petrt.metrics import evaluate
from petrt.reconstructor import Reconstructor
from petrt.simulate import simulate_subject
from petrt.stats import change, roi_statistics

VOXEL_MM = (2.0, 2.0, 2.0)


def measure(subject: int, samples: int, model: str) -> dict[str, Any]:
    """All volumes of one subject against its full-dose image and against the noise-free truth."""
    person = simulate_subject(SEED, subject, doses=(DOSE,), shape=SHAPE)
    low, full = person.low[DOSE], person.full
    volumes = {
        "low-dose": low,
        "best Gaussian": best_gaussian(low, full).image,
        "non-local means": nonlocal_means(low, full).image,
    }
    seconds = {}
    for label, count in (("one sample", 1), (f"AMS-{samples} mean", samples)):
        reconstructor = Reconstructor(model, samples=count)
        started = time.perf_counter()
        result = reconstructor(low, affine=person.affine)
        seconds[label] = round(time.perf_counter() - started, 1)
        volumes.setdefault("coarse", result.coarse)
        volumes[label] = result.image
    regions = roi_statistics(
        volumes[f"AMS-{samples} mean"], person.labels, reference=full, voxel_mm=VOXEL_MM
    )
    return {
        "subject": subject,
        "scores": {label: evaluate(v, full) for label, v in volumes.items()},
        "psnr_against_truth": {
            label: evaluate(v, person.truth, protocols=["standard"])["standard"]["psnr"]
            for label, v in {**volumes, "full dose": full}.items()
        },
        "activity_ratio": {label: change(v, full).activity_ratio for label, v in volumes.items()},
        "regions": [
            {"label": r.label, "mean_bias_percent": r.mean_bias_percent,
             "peak_bias_percent": r.peak_bias_percent}
            for r in regions
        ],
        "seconds": seconds,
    }  # fmt: skip


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Mean and standard deviation over subjects of every number, by volume and protocol."""
    collected: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        for label, protocols in row["scores"].items():
            for protocol, numbers in protocols.items():
                for key, value in numbers.items():
                    collected[label, protocol, key].append(value)
    summary: dict[str, dict[str, dict[str, list[float]]]] = {}
    for (label, protocol, key), values in collected.items():
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        cell = [round(statistics.mean(values), 4), round(spread, 4)]
        summary.setdefault(label, {}).setdefault(protocol, {})[key] = cell
    return summary


def markdown(summary: dict[str, Any]) -> str:
    """The README's table: PSNR / SSIM / NMSE by protocol."""
    protocols = list(next(iter(summary.values())))
    lines = ["| | " + " | ".join(f"`{p}`" for p in protocols) + " |"]
    lines.append("|---" * (len(protocols) + 1) + "|")
    for label, numbers in summary.items():
        cells = [
            f"{n['psnr'][0]:.2f} dB / {n['ssim'][0]:.3f} / {n['nmse'][0]:.4f}"
            for n in numbers.values()
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    rows = []
    for subject in range(options.subjects):
        rows.append(measure(subject, options.samples, options.model))
        psnr = {k: round(v["standard"]["psnr"], 2) for k, v in rows[-1]["scores"].items()}
        print(f"subject {subject}: {psnr}", flush=True)
    summary = summarise(rows)
    table = markdown(summary)
    print(table)
    path = save(
        "demo_quality",
        {
            "what": "PSNR / SSIM / NMSE against the full-dose image, mean over subjects",
            "seed": SEED,
            "shape": list(SHAPE),
            "dose": f"1/{DOSE}",
            "summary_mean_sd": summary,
            "table": table.splitlines(),
            "subjects": rows,
        },
    )
    print(path)


if __name__ == "__main__":
    main()
