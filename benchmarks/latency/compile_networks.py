"""Run one variant of the networks once, so that what PyTorch compiles for it is kept for other processes.

    python -m benchmarks.latency.compile_networks petrt

Several of these run side by side: compiling is the work of one core at a time for the most part, and what
one has compiled the next process finds in $TORCHINDUCTOR_CACHE_DIR. Takes the options of latency.py.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common import source_digest
from benchmarks.latency import run as latency
from benchmarks.latency.gpu_agreement import demo_planes, demo_reconstructor
from benchmarks.latency.gpu_bench import AMS, Bench, through
from benchmarks.latency.unfolded import Unfolded
from petrt.hardware import gpus

# In a cold cache every process asks for a full batch, whatever the others hold just now.
MEMORY = 1 << 40


def petrt_networks(bench: Bench) -> None:
    through(bench.fastest(), bench.subject.planes)


def unfolded(bench: Bench, batch: int) -> None:
    """The baseline as the section "compiled" runs it."""
    loop = Unfolded(
        bench.subject,
        bench.torch_device,
        precision=bench.options.precision,
        batch=batch,
        compiled=True,
    )
    loop(bench.subject.planes[:batch])


def ams(bench: Bench) -> None:
    through(bench.fastest(AMS), bench.subject.planes)


def exact(bench: Bench) -> None:
    through(bench.reconstructor(bench.best, "fp32"), bench.subject.planes)


def transposed(bench: Bench) -> None:
    through(bench.fastest(upsample="transposed"), bench.subject.planes)


def batches(bench: Bench) -> None:
    through(bench.fastest(batch=bench.small_batch), bench.subject.planes)


def demo(bench: Bench) -> None:
    for precision in dict.fromkeys((bench.options.precision, "fp32")):
        through(demo_reconstructor(bench, bench.best, precision), demo_planes(bench))


VARIANTS: dict[str, Callable[[Bench], None]] = {
    "petrt": petrt_networks,
    "unfolded": lambda bench: unfolded(bench, bench.options.batches[0]),
    "unfolded-small": lambda bench: unfolded(bench, bench.options.batches[-1]),
    "ams": ams,
    "fp32": exact,
    "batches": batches,
    "transposed": transposed,
    "demo": demo,
    "none": lambda bench: None,  # exports the networks, which all others then find
}


def mark(variant: str, options: list[str], folder: Path) -> Path:
    """A file that says that this was compiled: another GPU, PyTorch, source or option, another file."""
    found = gpus.list_gpus()
    key = f"{torch.__version__} {found[:1]} {variant} {options} {source_digest()}"
    return folder / f"compiled-{variant}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog="other options: python -m benchmarks.latency --help",
        allow_abbrev=False,
    )
    parser.add_argument("variant", choices=VARIANTS)
    known, rest = parser.parse_known_args(arguments)
    variant = known.variant
    options = latency.parse(rest)
    if options.dry_run:
        from benchmarks.gpu import stand_in

        stand_in.install()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.bundles or Path(scratch)
        done = mark(variant, rest, folder)
        if done.exists():
            print(f"{variant}: compiled before")
            return 0
        started = time.perf_counter()
        bench = latency.make_bench(options, folder)
        assert isinstance(bench, Bench)
        bench.memory = MEMORY
        VARIANTS[variant](bench)
        done.touch()
        print(f"{variant}: {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
