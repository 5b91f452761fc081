"""Time outside the networks, peak memory, import and simulation time.

    python -m benchmarks.runtime            # needs petrt[train,onnxruntime]: it exports paper-size networks

The paper-size networks get random weights: neither time nor memory depends on their values.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import ROOT, save

PAPER = """
import sys, torch
from petrt.export.bundle import export_model
from petrt.nets import Model, PRESETS
from petrt.model.spec import DomainSpec, ModelSpec
torch.manual_seed(0)
spec = ModelSpec(name="paper", network=PRESETS["paper"], domain=DomainSpec(voxel_mm=(2.0, 2.0, 2.0)))
export_model(Model(spec.network), spec, sys.argv[1])
"""


def run_once(model: str, slices: int, samples: int, steps: int) -> dict[str, float]:
    """One volume 128 x 128 x ``slices``; called in a process of its own, so that its peak is its own."""
    import numpy as np

    from petrt.inference.reconstructor import Reconstructor

    volume = np.random.default_rng(0).gamma(2, 300, (128, 128, slices)).astype(np.float32)
    begun = time.perf_counter()
    reconstructor = Reconstructor(model, samples=samples, steps=steps)
    loaded = time.perf_counter() - begun
    seconds = reconstructor(volume).stats["seconds"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"load_s": round(loaded, 2), "peak_mib": round(peak), **seconds}


def apart(*arguments: str) -> dict[str, float]:
    """``run_once`` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.runtime", "--once", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    row: dict[str, float] = json.loads(done.stdout)
    print(arguments, row, flush=True)
    return row


def import_seconds() -> float:
    """Median of ``import petrt`` in fresh interpreters, the interpreter's own start left out."""
    code = "import time; t = time.perf_counter(); import petrt; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    times = [float(subprocess.check_output(command, text=True)) for _ in range(5)]
    return round(statistics.median(times), 3)


def simulation_seconds() -> float:
    """One 128^3 subject at full and 1/100 dose."""
    from petrt.data.simulate import simulate_subject

    begun = time.perf_counter()
    simulate_subject(0, 0)
    return round(time.perf_counter() - begun, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", nargs=4, help="model slices samples steps (internal)")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    if options.once:
        model, *numbers = options.once
        print(json.dumps(run_once(model, *(int(n) for n in numbers))))
        return
    with tempfile.TemporaryDirectory() as folder:
        paper = str(Path(folder) / "paper")
        subprocess.run([sys.executable, "-c", PAPER, paper], check=True)
        runs = [apart(paper, "16", "1", "10") for _ in range(options.repeats)]
        memory = {
            "paper, 128^3, 8 samples, 1 step": apart(paper, "128", "8", "1"),
            "demo, 128^3, 8 samples, 10 steps": apart("demo", "128", "8", "10"),
        }
    networks = ("guidance", "coarse", "denoiser")
    share = statistics.median(1 - sum(run[n] for n in networks) / run["total"] for run in runs)
    result = {
        "import_s": import_seconds(),
        "simulate_128_cubed_s": simulation_seconds(),
        "paper_size_16_slices": runs,
        "outside_share_median": round(share, 4),
        "memory": memory,
        "note": "The peak does not depend on the number of steps: the buffers are the same in each.",
    }
    print(f"outside the networks: {100 * result['outside_share_median']:.2f} % (median)")
    print(save("runtime", result))


if __name__ == "__main__":
    main()
