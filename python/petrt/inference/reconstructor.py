"""Bundle + engine + reverse loop -> reconstruction of a volume."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petrt import values
from petrt.diffusion.dose import told as told_dose
from petrt.diffusion.noise_schedule import step_table
from petrt.diffusion.presets import settle as settle_process
from petrt.engines.base import Engine
from petrt.engines.select import ChosenEngine, choose
from petrt.errors import UsageError
from petrt.evaluation.uncertainty.regions import Regions
from petrt.files.names import printable
from petrt.hardware.cpu import default_threads
from petrt.imaging.grid import Placement, plan
from petrt.inference import defaults
from petrt.inference.device import Tally
from petrt.inference.domain import domain_warnings, warn_assumed, warn_python
from petrt.inference.frames import Frames, Progress, shifted
from petrt.inference.given_noise import given_noise
from petrt.inference.judgement import refuse_change
from petrt.inference.notebook import watched
from petrt.inference.origin import Origin
from petrt.inference.pipeline import pipeline_of
from petrt.inference.reconstruction import Frame, Reconstruction, given_back
from petrt.inference.regions import RegionsOfRun, given_regions
from petrt.inference.run_record import run_record
from petrt.inference.settings import settings_of
from petrt.inference.verify_engine import verify_first_use
from petrt.io.inputs import Loaded, load, paths_of
from petrt.io.volume import Nonfinite
from petrt.model.bundle import Bundle, load_bundle

logger = logging.getLogger("petrt")

MOST_VOXELS = (1 << 62) - 1


class Reconstructor:
    """Keeps a model loaded; call it with volumes.

    Args:
        model: a bundle's path, the name of a model shipped with petrt, or a loaded bundle.
        samples: how many samples are averaged (AMS); 1 is a single draw; by default 8.
        preset: "fast" (one step; the default), "paper" (the model's own sampler; the default of a model
            without a coarse network) or "coarse" (no denoiser), see petrt.diffusion.presets.
        steps, sampler: the reverse process instead of a preset's.
        strength: how far the image goes from the input, at 0, to the model's, at 1; see
            petrt.diffusion.strength.
        seed: the noise depends on it, and on slice, sample, step and voxel alone, so results do not
            depend on batch size, slice order or thread count.
        engine, device, precision: see ``petrt.engines.select.choose``; ``engine`` may also be an engine
            itself, which has the other two.
        threads: slices that run side by side on a CPU, each on one thread; by default all cores this
            process may use (see petrt.inference.cpu.parallelism).
        batch: most (slices, samples) in one call of the denoiser; by default what suits the device.
        memory: on a CPU, bytes that this process may have in memory, by estimate; on a GPU, bytes that a
            batch may take. Default: 80 % of what is available, beside what it has already.
        skip_background: leave out slices that are pure background (see petrt.inference.background): their
            image, std and coarse prediction are 0. Other slices do not change by a bit.
        allow_activity_change: give an image also where it changes the total activity of a frame by more than
            10 %, which is refused otherwise (see petrt.inference.judgement).

    It serves several threads, and stays in its process: it cannot be pickled.

    Raises:
        InputError: a bundle that cannot be used. DeviceError: an absent device. UsageError: options
        that are wrong or contradict each other.
    """

    def __init__(
        self,
        model: str | Path | Bundle = defaults.MODEL,
        *,
        samples: int | None = None,
        preset: str | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        strength: float = defaults.STRENGTH,
        seed: int = defaults.SEED,
        engine: str | Engine = defaults.ENGINE,
        device: str = defaults.DEVICE,
        precision: str | None = None,
        threads: int | None = None,
        batch: tuple[int, int] | None = None,
        memory: int | None = None,
        skip_background: bool = defaults.SKIP_BACKGROUND,
        allow_activity_change: bool = False,
    ) -> None:
        batch = None if batch is None else values.pair("batch", batch, 1, values.MOST)
        if threads is not None:
            threads = values.whole("threads", threads, 1, values.MOST_WORKERS)
        if memory is not None:
            memory = int(values.real("memory", memory, 1, unit="bytes"))
        strength = values.real("strength", strength, 0, 1)
        seed = values.whole("seed", seed, 0, values.MOST_SEED)
        skip_background = values.switch("skip_background", skip_background)
        self.allow_activity_change = values.switch("allow_activity_change", allow_activity_change)
        if not isinstance(engine, str) and not callable(getattr(engine, "bind", None)):
            raise UsageError(f"engine is a {type(engine).__name__}", "give its name, or an engine")
        self.bundle: Bundle = model if isinstance(model, Bundle) else load_bundle(model)
        name, identity = printable(self.bundle.model.name), self.bundle.identity
        logger.debug("model: %s, identity %s", name, identity[:12])
        networks = self.bundle.model.network
        process = settle_process(
            self.bundle.model.sampler,
            preset=preset,
            sampler=sampler,
            steps=steps,
            samples=samples,
            coarse=networks.coarse is not None,
            denoiser=networks.denoiser is not None,
        )
        self.sampler, self.samples, self.preset = process.sampler, process.samples, process.preset
        ours = isinstance(engine, str)
        if isinstance(engine, str):
            choice = choose(self.bundle, engine, device, precision, verify=verify_first_use)
        else:
            choice = ChosenEngine(engine, "given")
        self.engine: Engine = choice.engine
        schedule, sampling = self.bundle.model.schedule, self.sampler
        self.table = None if sampling is None else step_table(schedule, sampling)
        self._frames = Frames(
            bundle=self.bundle,
            choice=choice,
            process=process,
            pipeline=pipeline_of(
                self.bundle, self.engine, self.table, threads, batch, memory, ours=ours
            ),
            seed=seed,
            strength=strength,
            skip_background=skip_background,
            threads=threads or default_threads(),
            announced=not ours,  # one that was given needs no reason
        )

    def __call__(
        self,
        volume: Any,
        *,
        affine: ArrayLike | None = None,
        voxel_mm: ArrayLike | None = None,
        dose: float | str | None = None,
        noise: NDArray[np.float32] | None = None,
        nonfinite: Nonfinite = defaults.NONFINITE,
        max_voxels: int = defaults.MAX_VOXELS,
        series: str | None = None,
        force_units: bool = False,
        allow_activity_change: bool | None = None,
        progress: Progress | bool | None = None,
        regions: Any = None,
    ) -> Reconstruction:
        """Reconstruct a path, nibabel image, NumPy, CuPy or torch array [X, Y, Z] or [X, Y, Z, T].

        A path is a NIfTI file, or a DICOM folder, file, DICOMDIR or zip; a list of paths is the files of a
        DICOM series. These give nibabel images, anything else its own kind. A bare array without ``affine``
        and ``voxel_mm`` is taken to lie on the model's grid already (x to the right, y to the front, z up);
        the warning AssumedGrid says so.
        ``stats["warnings"]`` says what is unusual, also about the result: its activity, its maximum.

        Args:
            affine: [4, 4], from the voxels of an array to RAS millimetres.
            voxel_mm: the three voxel sizes of an array in mm, instead of an affine.
            dose: the fraction of the full dose, in (0, 1], as 0.05 or "1/20"; by default "auto", the one
                that the noise of each frame tells, or for a model that cannot tell it the one it was mostly
                trained on. A model that takes no dose is only compared with it.
            noise: the noise itself, [steps + 1, samples, slices, 1, H, W] on the network
                grid (H along x, W along y, slices along z): entry 0 starts, entry i follows step i.
            nonfinite: "refuse", or "zero" to replace NaN and infinite voxels.
            max_voxels: files and images with more voxels are refused.
            series: the SeriesInstanceUID to read, where a DICOM folder holds several PET series.
            force_units: take DICOM series that are not quantitative, values unchanged.
            allow_activity_change: instead of the Reconstructor's own, for this volume.
            progress: called with (slices done, slices in all). True is a progress bar, False none; by
                default there is one in a notebook and at a Python prompt.
            regions: labels on the volume's grid, a NIfTI path, a nibabel image or an array; whole numbers, 0
                is outside. Each is measured in every sample, see ``Reconstruction.regions``.

        Raises:
            InputError: an unfit volume; ActivityChanged, one of them: a result that changes the activity
            of a frame too much. UsageError: a dose outside (0, 1], or none where the model needs one.
            DeviceError: non-finite output, or a process forked after this Reconstructor was made, in
            which its engine would wait for ever.
        """
        self._frames.pipeline.check_process()
        asked, told = dose is not None, told_dose(dose, self.bundle.model)
        allowed = self.allow_activity_change
        if allow_activity_change is not None:
            allowed = values.switch("allow_activity_change", allow_activity_change)
        max_voxels = values.whole("max_voxels", max_voxels, 1, MOST_VOXELS)
        force_units = values.switch("force_units", force_units)
        loaded = load(volume, affine, voxel_mm, nonfinite, max_voxels, series, force_units)
        if loaded.voxel_mm is None:
            warn_assumed(loaded.data.shape, self.bundle.model)
        placement = self._placement(loaded)
        if noise is not None:
            noise = given_noise(noise, len(loaded.frames), self._noise_shape(placement))
        marked = None
        if regions is not None:
            if self.strength < 1:
                raise UsageError(
                    f"regions are measured in the model's own image, not at strength {self.strength:g}",
                    "leave out the strength or the regions",
                )
            marked = given_regions(regions, loaded, self.bundle.model)
        started, tally = time.perf_counter(), Tally()
        slices, frames = placement.network_shape[0], []
        drawn = None if marked is None else self._frames.store(placement.network_shape)
        with watched(progress) as watcher:
            for index, frame in enumerate(loaded.frames):
                report = shifted(watcher, index * slices, len(loaded.frames) * slices)
                done = self._frames.frame(
                    frame, loaded, placement, index, noise, told, report, tally, drawn, marked
                )
                if not allowed:  # at once: a series may run for hours
                    refuse_change(loaded.name, done.record, index, len(loaded.frames))
                frames.append(done)
        stats = run_record(
            self.bundle,
            self._frames.choice,
            self._frames.process,
            self.seed,
            told,
            asked,
            loaded,
            placement,
            tally.record,
            [frame.record for frame in frames],
            self.strength,
            {
                "nonfinite": nonfinite,
                "force_units": force_units,
                "skip_background": self.skip_background,
                "allow_activity_change": allowed,
                "max_voxels": max_voxels,
                "series": series is not None,
                "noise": "given" if noise is not None else "drawn",
            },
        )
        seconds = time.perf_counter() - started
        stats["seconds"] = self._frames.pipeline.device.times(tally.seconds, seconds)
        parts = ", ".join(f"{part} {value:.2f}" for part, value in stats["seconds"].items())
        logger.debug("seconds: %s", parts)
        warn_python(domain_warnings(told, self.bundle.model, stats["frames"]), loaded.name)
        measured = self._measured(marked, frames, stats["dose_fraction"])
        origin = Origin(
            loaded.as_volume(self.bundle.model.domain.voxel_mm),
            paths_of(volume),
            series,
            settings_of(self, told, nonfinite),
        )
        return given_back(loaded, frames, stats, measured, origin)

    @property
    def seed(self) -> int:
        """Of the noise; it may be set for the next volume."""
        return self._frames.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._frames.seed = seed

    @property
    def strength(self) -> float:
        """How far the image goes from the input to the model's."""
        return self._frames.strength

    @property
    def skip_background(self) -> bool:
        """Whether slices of pure background are left out; it may be set for the next volume."""
        return self._frames.skip_background

    @skip_background.setter
    def skip_background(self, skip_background: bool) -> None:
        self._frames.skip_background = skip_background

    @property
    def side_by_side(self) -> int:
        """Slices that are computed at once where there are enough of them."""
        return self._frames.pipeline.device.side_by_side

    def memory_for(self, network_shape: tuple[int, int, int]) -> int | None:
        """Bytes, by estimate, that this process has while it runs a volume of ``network_shape`` [Z, H, W]
        on a CPU, beside the volume and its results; None on a GPU. Raises DeviceError if it may not."""
        return self._frames.pipeline.device.memory_for(network_shape, self.samples)

    def __repr__(self) -> str:
        engine, drawn = self.engine, "coarse prediction, no samples"
        if self.sampler is not None:
            steps = f"{self.sampler.steps} step{'s' if self.sampler.steps > 1 else ''}"
            drawn = f"{self.samples} sample{'s' if self.samples > 1 else ''} of {self.sampler.kind}, {steps}"
        parts = [
            *(f"model {printable(self.bundle.model.name)}", drawn, f"seed {self.seed}"),
            f"{engine.name} {engine.precision} on {engine.device}",
        ]
        if self.strength != 1:
            parts.insert(2, f"strength {self.strength:g}")
        return f"Reconstructor({', '.join(parts)})"

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a Reconstructor cannot be pickled: it holds an engine and buffers of this process",
            "build one in each process",
        )

    def on_grid(
        self,
        volume: NDArray[Any],
        *,
        dose: float | str | None = None,
        every: int = 1,
        progress: Progress | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Mean, samples' std and coarse prediction [Z, H, W] of a ``volume`` that is scaled already and
        lies on the model's grid, as in a prepared data set; the std is never calibrated.

        With ``every`` only slices 0, every, 2 every ... are sure to be reconstructed, the others may be 0.
        Raises as calling the Reconstructor does.
        """
        every = values.whole("every", every, 1, values.MOST)
        placement, results, _ = self._frames.on_grid(volume, dose, every, progress, False)
        mean, std, coarse = (placement.from_network(r).transpose(2, 0, 1) for r in results)
        return mean, std, coarse

    def drawn_on_grid(
        self,
        volume: NDArray[Any],
        *,
        dose: float | str | None = None,
        progress: Progress | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """As ``on_grid``, but mean, samples' std and the samples themselves [samples, Z, H, W].

        Raises also UsageError where there is no more than one sample.
        """
        placement, results, kept = self._frames.on_grid(volume, dose, 1, progress, True)
        if kept is None:
            raise UsageError("a single sample is drawn", "give samples=8")
        mean, std, _ = (placement.from_network(r).transpose(2, 0, 1) for r in results)
        samples = np.stack([placement.from_network(s).transpose(2, 0, 1) for s in kept])
        return mean, std, samples

    def _measured(
        self, marked: Regions | None, frames: Sequence[Frame], dose: float | None
    ) -> RegionsOfRun | None:
        if marked is None:
            return None
        drawn = tuple(frame.regions for frame in frames if frame.regions is not None)
        return RegionsOfRun(marked, drawn, self.bundle.model, self.sampler, self.samples, dose)

    def _placement(self, loaded: Loaded) -> Placement:
        """Where the volume lies on the model's network grid."""
        model = self.bundle.model
        return plan(
            loaded.frames[0].shape,
            loaded.affine_mm,
            model.domain.voxel_mm,
            voxel_mm=loaded.voxel_mm if loaded.affine_mm is None else None,
            multiple=2**model.network.scales,
            name=loaded.name,
        )

    def _noise_shape(self, placement: Placement) -> tuple[int, ...]:
        """The shape of the noise of one frame. Raises UsageError where none is drawn."""
        if self.table is None:
            raise UsageError(
                f"preset '{self.preset}' draws no samples, and noise is given", "leave noise out"
            )
        slices, height, width = placement.network_shape
        return self.table.steps + 1, self.samples, slices, 1, height, width
