"""What the GPU's sections share: the subject, engines loaded once, and ways through them."""

from __future__ import annotations

import argparse
import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency.subject import Subject, kept
from petrt.bench.timing import Run
from petrt.diffusion.dose import settle
from petrt.engines import select
from petrt.engines.tensorrt.engine import is_installed
from petrt.errors import PetrtError
from petrt.export.bundle import export_model
from petrt.export.folding.fold import Upsample
from petrt.export.tensorrt.install import build_engine
from petrt.export.tensorrt.request import make_request
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import MANIFEST, Bundle, load_bundle

ENGINES = ("tensorrt", "tensorrt-rtx", "torch", "onnxruntime")
AMS = 8
# Five runs of a batch settle what a graph is worth (petrt.inference.cuda.launches).
SETTLED = 5


@dataclass
class Bench:
    """The subject, the options and what was found so far; ``bundles``: a folder for exported networks.

    ``memory``: bytes that a batch may take, None for the package's own choice.
    """

    options: argparse.Namespace
    subject: Subject
    bundles: Path = Path()
    found: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    states: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    running: str | None = None
    deadline: float = math.inf
    memory: int | None = None
    loaded: dict[tuple[Any, ...], Reconstructor] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        return bool(self.options.device != "cpu")

    @property
    def torch_device(self) -> str:
        """Where PyTorch's own side of a comparison runs; in a dry run there is no GPU for it."""
        return "cpu" if self.options.dry_run else str(self.options.device)

    @property
    def size(self) -> int:
        return int(self.subject.volume.shape[0])

    @property
    def slices(self) -> int:
        return int(self.subject.volume.shape[2])

    @property
    def small_batch(self) -> tuple[int, int]:
        """Slices and samples of a batch that leaves several of them in a volume."""
        return min(32, max(1, self.slices // 2)), 1

    def reconstructor(
        self,
        engine: str,
        precision: str,
        samples: int = 1,
        *,
        batch: tuple[int, int] | None = None,
        upsample: Upsample = "conv",
    ) -> Reconstructor:
        """Loaded once; PetrtError where this machine lacks the engine."""
        key = (engine, precision, upsample, samples, batch)
        if key not in self.loaded:
            # One engine for all of them: networks are compiled for every batch shape.
            same = [r for k, r in self.loaded.items() if k[:3] == key[:3]]
            bundle = self.bundle(upsample)
            made = same[0].engine if same else self._engine(bundle, engine, precision)
            self.loaded[key] = Reconstructor(
                bundle,
                preset="paper",
                samples=samples,
                engine=made,
                batch=batch,
                memory=self.memory,
                allow_activity_change=True,
            )
        return self.loaded[key]

    def bundle(self, upsample: Upsample = "conv") -> Path:
        """The subject's networks, exported in one of the two forms of an upsampling convolution."""
        if upsample == "conv":
            return self.subject.bundle
        steps = len(self.subject.table.levels)
        folder = kept(self.bundles, self.options.preset, steps, upsample)
        if not (folder / MANIFEST).exists():
            export_model(self.subject.model, self.subject.spec, folder, upsample=upsample)
        return folder

    def _engine(self, path: Path, engine: str, precision: str) -> Any:
        bundle = load_bundle(path)
        if engine in select.GPU_ONLY and self.on_gpu and is_installed(engine):
            self._build(bundle, engine, precision)
        return select.select_engine(bundle, engine, self.options.device, precision)

    def _build(self, bundle: Bundle, engine: str, precision: str) -> None:
        """An engine for these random networks: nobody has installed one before."""
        request = make_request(
            bundle,
            engine=engine,
            precision=precision,
            gpus=[self.options.device],
            slices=self.slices,
            samples=1,
            sizes=[(self.size, self.size)],
        )
        build_engine(request, bar=lambda label, unit: nullcontext(lambda done, total: None))

    @property
    def engines(self) -> list[str]:
        """Those that run here in the headline precision; ``absent`` says why others do not."""
        for engine in ENGINES:
            if engine in self.absent:
                continue
            try:
                self.reconstructor(engine, self.options.precision)
            except PetrtError as error:
                self.absent[engine] = str(error)
        there = [engine for engine in ENGINES if engine not in self.absent]
        if not there:
            raise RuntimeError(f"no engine runs here: {self.absent}")
        return there

    @property
    def best(self) -> str:
        """The fastest engine in the headline precision; unmeasured, the first that ``auto`` would take."""
        if "volume" not in self.found:
            return self.engines[0]
        volume: dict[str, Any] = self.found["volume"]["engines"]
        return min(volume, key=lambda name: float(volume[name]["median_s"]))

    def fastest(self, samples: int = 1, **options: Any) -> Reconstructor:
        """The best engine in the headline precision."""
        return self.reconstructor(self.best, self.options.precision, samples, **options)


def through(
    reconstructor: Reconstructor,
    planes: NDArray[np.float32],
    noise: NDArray[np.float32] | None = None,
    every: int = 1,
) -> tuple[NDArray[np.float32], ...]:
    """Mean, std and coarse prediction of scaled ``planes`` [Z, H, W], host memory to host memory.

    That is all the work a baseline of plain networks does, and none of what a volume takes beside:
    grid, scale and checks.
    """
    dose = settle(None, reconstructor.bundle.model)
    return reconstructor._frames.pipeline.run(
        planes,
        reconstructor.samples,
        reconstructor.seed,
        first_id=0,
        noise=noise,
        report=lambda done: None,
        dose=dose,
        every=every,
    )


def ways(bench: Bench, reconstructor: Reconstructor) -> dict[str, Run]:
    """What is timed of petrt beside a baseline: "pipeline", the same planes, and "volume", all of it."""
    return {
        "pipeline": lambda: through(reconstructor, bench.subject.planes),
        "volume": lambda: reconstructor(bench.subject.volume),
    }
