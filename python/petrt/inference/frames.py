"""Frames through the networks: to the network grid and the scale, through the pipeline, and back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array, plain
from petrt.diffusion.dose import Told
from petrt.diffusion.dose import told as told_dose
from petrt.diffusion.presets import Process
from petrt.diffusion.strength import blend
from petrt.engines.select import ChosenEngine
from petrt.errors import InputError
from petrt.evaluation.activity import change
from petrt.evaluation.uncertainty.regions import Regions
from petrt.imaging.grid import Placement, plan
from petrt.imaging.scaling import scale_of
from petrt.imaging.transform import seen, unseen
from petrt.inference.background import active_slices
from petrt.inference.calibrated import calibrated
from petrt.inference.device import Results, Tally, linear
from petrt.inference.domain import look
from petrt.inference.pipeline import Pipeline, check_finite
from petrt.inference.reconstruction import Frame, unchanged
from petrt.inference.regions import drawn_regions
from petrt.inference.samples import sample_store
from petrt.io.inputs import Loaded
from petrt.model.bundle import Bundle

logger = logging.getLogger("petrt")

Progress = Callable[[int, int], None]


@dataclass
class Frames:
    """What a Reconstructor does with one frame; its options are the Reconstructor's.

    ``threads``: of the host's own work, before and after the pipeline. ``announced``: whether the log says
    already which engine runs, and why.
    """

    bundle: Bundle
    choice: ChosenEngine
    process: Process
    pipeline: Pipeline
    seed: int
    strength: float
    skip_background: bool
    threads: int
    announced: bool

    def frame(
        self,
        frame: Array,
        loaded: Loaded,
        placement: Placement,
        index: int,
        noise: Array | None,
        told: Told,
        report: Callable[[int], None],
        tally: Tally,
        drawn: Array | None,
        marked: Regions | None,
    ) -> Frame:
        """One frame: to the network grid and the scale, through the networks, and back."""
        voxel_mm = loaded.voxel_mm or self.bundle.model.domain.voxel_mm
        scale = scale_of(frame, self.bundle.model.scale, voxel_mm, self.threads)
        negative = loaded.stats.negative  # counted already; of a series it is that of all frames
        if negative and len(loaded.frames) > 1:
            negative = int(np.count_nonzero(frame < 0))
        if scale == 0.0:
            return unchanged(frame, self.process.samples, negative / frame.size, marked)
        grid = placement.to_network(frame, self.threads)
        grid /= np.float32(scale)
        active = self._active(grid)
        known = look(grid, self.bundle.model, told, self.threads)
        results = self._through(
            grid, loaded.name, index, noise, known.dose, report, active, tally=tally, drawn=drawn
        )
        results = calibrated(
            results, self.bundle.model, self.process, known.dose, active, self.threads
        )
        # The standard deviation of one sample is not brought back: there is none.
        wanted = results if self.process.samples > 1 else (results.mean, results.coarse)
        for result in wanted:
            result *= np.float32(scale)
        own, *std, coarse = (placement.from_network(r, self.threads) for r in wanted)
        image, away = blend(frame, own, self.strength)
        measured = None
        if marked is not None:
            measured = drawn_regions(marked, image, drawn, placement, scale, self.threads)
        skipped = 0 if active is None else int((~active).sum())
        record = {
            "scale": scale,
            **asdict(change(image, frame)),
            "negative_fraction": negative / frame.size,
            "background_slices": skipped,
            **known.record,
        }
        return Frame(
            image, std[0] if std else None, coarse, record, away if std else None, measured
        )

    def on_grid(
        self,
        volume: NDArray[Any],
        dose: float | str | None,
        every: int,
        progress: Progress | None,
        drawn: bool,
    ) -> tuple[Placement, Results, Array | None]:
        """A volume [Z, H, W] over the scale on the model's grid: where it lies on the network's, the results
        there, and with ``drawn`` the samples, if there is more than one."""
        self.pipeline.check_process()
        told = told_dose(dose, self.bundle.model)
        zyx = np.asarray(plain(volume, "volume"), np.float32)
        if zyx.ndim != 3:
            raise InputError(f"array of shape {zyx.shape}", "expected [Z, H, W]")
        xyz = zyx.transpose(1, 2, 0)
        placement = plan(xyz.shape, multiple=2**self.bundle.model.network.scales)
        grid = placement.to_network(xyz, self.threads)
        kept = self.store(placement.network_shape) if drawn else None
        report = shifted(progress, 0, -(-len(grid) // every))
        known = look(grid, self.bundle.model, told, self.threads, judged=False)
        active = self._active(grid)
        results = self._through(
            grid, "volume", 0, None, known.dose, report, active, every, drawn=kept
        )
        return placement, results, kept

    def store(self, shape: tuple[int, int, int]) -> Array | None:
        """Where the samples of a volume are kept; None where there is no more than one."""
        return sample_store(self.process.samples, shape) if self.process.samples > 1 else None

    def _through(
        self,
        grid: Array,
        name: str,
        index: int,
        noise: Array | None,
        dose: float | None,
        report: Callable[[int], None],
        active: NDArray[np.bool_] | None,
        every: int = 1,
        tally: Tally | None = None,
        drawn: Array | None = None,
    ) -> Results:
        """Frame ``index`` of a series through the networks; NonfiniteOutput unless it comes out finite."""
        if not self.announced:  # once, and not before an error that needs no engine
            logger.info("engine: %s", self.choice.reason, extra={"event": "engine"})
            self.announced = True
        results = self.pipeline.run(
            seen(grid, self.bundle.model.transform),
            self.process.samples,
            self.seed,
            first_id=index * self.pipeline.ids(len(grid)),
            noise=noise,
            report=report,
            dose=dose,
            active=active,
            every=every,
            tally=tally,
            drawn=drawn,
        )
        wanted = results if self.process.samples > 1 else (results.mean, results.coarse)
        check_finite(wanted, name, self.bundle, self.choice.engine)
        transform = self.bundle.model.transform
        if drawn is not None and transform.kind != "linear":
            for sample in drawn:
                sample[:] = unseen(sample, transform)
        return linear(results, transform)

    def _active(self, grid: Array) -> NDArray[np.bool_] | None:
        return active_slices(grid) if self.skip_background else None


def shifted(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    """A frame's progress as that of the whole series: ``before`` slices were done when it began."""

    def report(done: int) -> None:
        if progress:
            progress(before + done, total)

    return report
