"""Runs a training: start or resume, steps, validation, checkpoints, records."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object

from petrt.data.dataset import Dataset, open_dataset
from petrt.errors import InputError, UsageError
from petrt.files.locks import LockHeld, locked
from petrt.files.names import shown
from petrt.files.outputs import explained
from petrt.train import checkpoints
from petrt.train.collapse import Watch
from petrt.train.config import TrainConfig
from petrt.train.data import Batch, Slices
from petrt.train.interrupt import Interrupt, TrainingStopped
from petrt.train.loader import explained_loader, loader
from petrt.train.record import EVERY, Clock, Journal, dataset_hash, write_run
from petrt.train.trainer import Losses, Trainer
from petrt.train.validate import GivenUp, Scores, as_json, cases, mean_scores, predict, scores

LOCK = ".lock"
SIGMA_BATCHES = 8

Progress = Callable[[int, dict[str, float]], None]

logger = logging.getLogger(__name__)


def fit(
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    resume_from: int | None = None,
    init: Path | None = None,
    threads: int = 1,
    verify: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Train ``config`` on the prepared data set ``data`` and return the folder of the newest checkpoint.

    It runs in one process, or in every process of ``accelerate launch`` or torchrun: they share the batch
    evenly and average gradients. The precision is ``config.precision``, not the launcher's.

    A checkpoint holds the moving average as the model, the raw weights and Adam's moments. ``resume``
    continues from the newest checkpoint of ``out``, ``resume_from`` from that step, and deletes later ones.
    All random numbers depend only on (seed, step), so a resumed run gives the weights of an uninterrupted
    one: bit for bit on one thread; on several, PyTorch's sums have no fixed order. ``init``: a checkpoint
    or run whose weights a new run starts with. ``verify``: compare the hashes of the volumes first, in one
    process of each machine. ``progress`` is called in the main process with each step
    and its losses.

    Raises InputError for missing or unsuitable data or checkpoints. Raises UsageError if ``out`` is in
    use, cannot be written, holds a run that is not resumed, or holds no run to resume. Raises DeviceError
    where loader processes fail, TrainingCollapsed, and TrainingStopped after SIGTERM or SIGINT.
    """
    torch.set_num_threads(threads)
    accelerator = _accelerator(config, threads)
    dataset = open_dataset(data, verify=False)
    if verify and accelerator.is_local_main_process:
        dataset.verify([*dataset.split("train"), *dataset.split("validation")])
    _check_model(config, dataset)
    seen = checkpoints.steps_of(out)
    step = _first_step(out, resume or resume_from is not None, resume_from)
    trainer = Trainer(config, accelerator)
    interrupt = Interrupt(accelerator)
    loop = _Loop(trainer, dataset, out, threads, interrupt)
    if step is not None:
        loop.take_up(step)
    elif init is not None:
        taken, kept = checkpoints.start_from(trainer, init)
        if accelerator.is_main_process:
            logger.info("%d tensors taken from %s, %d begin anew", taken, shown(init), kept)
    accelerator.wait_for_everyone()  # all must read the folder before one changes it
    with _owned(out, accelerator, seen), interrupt, explained_loader():
        loop.open_journal(init)
        try:
            return loop.run(progress)
        finally:
            loop.close()


class _Loop:
    """Steps, validation, checkpoints and records of one run."""

    def __init__(
        self, trainer: Trainer, dataset: Dataset, out: Path, threads: int, interrupt: Interrupt
    ) -> None:
        accelerator = trainer.accelerator
        self.interrupt = interrupt
        self.trainer, self.dataset, self.out, self.threads = trainer, dataset, out, threads
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.ids = dataset.split("train")
        self.shares = Slices(dataset, self.ids, trainer.config, self.rank, self.world)
        # Each process validates some of the subjects.
        self.cases = cases(dataset, trainer.config)[self.rank :: self.world]
        self.watch = Watch(trainer.config)
        self.clock = Clock()
        self.journal: Journal | None = None
        self.info: dict[str, Any] = {
            "dataset": dataset_hash(dataset),
            "seconds": 0.0,
            "validation": None,
            "threads": threads,
            "torch": torch.__version__,
        }

    def take_up(self, step: int) -> None:
        """Continue from the checkpoint of ``step``."""
        then = checkpoints.restore(self.trainer, self.out, step, self.info["dataset"])
        if self.trainer.accelerator.is_main_process:
            logger.info("continuing after step %d", step)
        self.watch.start = then["targets"]
        self.info |= {key: then[key] for key in ("seconds", "validation")}

    def open_journal(self, init: Path | None) -> None:
        """Clean the run's folder and open its records, in the main process only."""
        trainer = self.trainer
        if not trainer.accelerator.is_main_process:
            return
        checkpoints.clean(self.out)
        for step in checkpoints.steps_of(self.out):
            if step > trainer.step:
                checkpoints.remove(self.out, step)
        write_run(
            self.out,
            trainer.config,
            self.dataset,
            trainer.accelerator,
            step=trainer.step,
            threads=self.threads,
            init=init,
        )
        self.journal = Journal(self.out, step=trainer.step, seconds=self.info["seconds"])

    def run(self, progress: Progress | None) -> Path:
        """Train to the last step; returns the newest checkpoint."""
        trainer, config, interrupt = self.trainer, self.trainer.config, self.interrupt
        if not trainer.step:  # tests the disk, and makes the run resumable from the start
            self._save()
        batches = loader(
            self.dataset,
            self.ids,
            config,
            first_step=trainer.step,
            rank=self.rank,
            world=self.world,
            pin=trainer.accelerator.device.type == "cuda",
            stopped=interrupt.stopped,
        )
        timed = self.clock.timed(batches)
        while trainer.step < config.steps:
            batch = next(timed, None)
            if batch is None:  # a signal came before it
                if self.journal and self.journal.pending:
                    self.journal.line(trainer.step, self.clock.waiting(), {})
                self._save()
                raise TrainingStopped(interrupt.signal, trainer.step)
            losses = self._step(batch)
            if progress and self.journal:
                progress(trainer.step, losses.terms)
            stop = interrupt.agreed()
            ends = bool(stop) or trainer.step == config.steps
            if not stop and (ends or trainer.step % config.validate_every == 0):
                found = self._validate()
                stop = interrupt.agreed()
                ends = ends or bool(stop)
            else:
                found = {}
            if self.journal and (ends or found or trainer.step % EVERY == 0):
                self.journal.line(trainer.step, self.clock.waiting(), found)
            self.watch.validation(trainer.step, found)
            if ends or trainer.step % config.checkpoint_every == 0:
                self._save()
            if stop:
                raise TrainingStopped(stop, trainer.step)
        return checkpoints.path_of(self.out, trainer.step)

    def close(self) -> None:
        """Write pending records."""
        if self.journal:
            self.journal.close()

    def _step(self, batch: Batch) -> Losses:
        trainer = self.trainer
        if trainer.denoising and trainer.sigma_r is None:
            trainer.sigma_r = trainer.measure_sigma_r(
                map(self.shares.__getitem__, range(SIGMA_BATCHES))
            )
            if self.journal:
                logger.info("the denoiser joins; residuals are divided by %.4g", trainer.sigma_r)
        rate = trainer.rate()
        losses = trainer.gradients(batch.to(trainer.accelerator.device))
        self.watch.step(trainer.step, losses.terms | {"norm": losses.norm}, losses.targets)
        trainer.update()
        self.clock.stepped()
        if self.journal:
            self.journal.add(losses, rate)
        return losses

    def _validate(self) -> Scores:
        """Mean scores over all validation subjects, the same in every process; {} without any."""
        trainer, validation = self.trainer, self.trainer.config.validation
        spec = checkpoints.model_spec(trainer.config, trainer.sigma_r)
        # Before the denoiser joins there are no samples.
        samples = 0 if trainer.sigma_r is None else validation.samples
        rows: list[Scores] = []
        with suppress(GivenUp):
            for case in self.cases:
                images = predict(
                    trainer.averaged,
                    spec,
                    case.pair.low,
                    case.ids,
                    dose=1 / case.pair.dose,
                    samples=samples,
                    threads=self.threads,
                    stopped=self.interrupt.stopped,
                )
                rows.append(scores(case, images, validation.protocols))
                if self.journal and len(rows) == 1:
                    self.journal.picture(trainer.step, case, images)
        rows = gather_object(rows)
        if not rows or self.interrupt.stopped():
            return {}
        found = mean_scores(rows)
        self.info["validation"] = {"step": trainer.step, "psnr": as_json(found)}
        return found

    def _save(self) -> None:
        if self.journal:
            info = self.info | {"seconds": self.journal.seconds, "targets": self.watch.start}
            with self.interrupt.saving():
                checkpoints.save(self.trainer, self.out, info)


def _accelerator(config: TrainConfig, threads: int) -> Accelerator:
    """Set up accelerate, and warn if its setting differs from what its launcher was asked for."""
    # Accelerate keeps the first precision of a process, but a process may have several runs.
    AcceleratorState._reset_state()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else accelerate chooses for itself
    mixed = {"fp32": "no", "bf16": "bf16"}[config.precision]
    # Without this argument, processes without a GPU do not form a group.
    cpu = not torch.accelerator.is_available()
    accelerator = Accelerator(mixed_precision=mixed, cpu=cpu)
    if accelerator.is_main_process:
        asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if asked not in ("no", mixed):
            logger.warning("precision is the configuration's %s, not %s", config.precision, asked)
        if accelerator.num_processes == 1 and "MASTER_PORT" in os.environ:
            # Accelerate sets this for several processes, but starts only one on CPUs.
            logger.warning("this is the only process; torchrun starts several on CPUs")
    return accelerator


def _check_model(config: TrainConfig, dataset: Dataset) -> None:
    """Raise InputError unless scale rule and voxel size of the model equal the data set's."""
    for key, wanted, got in (
        ("model.scale", config.model.scale, dataset.scale_rule),
        ("model.domain.voxel_mm", config.model.domain.voxel_mm, dataset.voxel_mm),
    ):
        if wanted != got:
            raise InputError(
                f"{key} is {wanted}, the data set was prepared with {got}",
                "change the configuration, or prepare the data set for it",
            )


def _first_step(out: Path, resume: bool, wanted: int | None) -> int | None:
    """The step to continue from, None for a new run. Raises UsageError if that is not possible."""
    steps = checkpoints.steps_of(out)
    if not resume:
        if steps or (out / checkpoints.OLD_FOLDER).exists():
            raise UsageError(
                f"{shown(out)} holds a training run",
                "continue it with --resume, or choose another --out",
            )
        return None
    if not steps:
        raise UsageError(
            f"{shown(out)} holds no checkpoint to continue from", "start the run without --resume"
        )
    if wanted is not None and wanted not in steps:
        there = ", ".join(map(str, steps))
        raise UsageError(f"{shown(out)} has no checkpoint of step {wanted}", f"it has {there}")
    return steps[-1] if wanted is None else wanted


@contextmanager
def _owned(out: Path, accelerator: Accelerator, seen: list[int]) -> Iterator[None]:
    """Make and lock the run's folder in the main process.

    Raises UsageError if it is in use, or if its checkpoints are no longer those ``seen`` before.
    """
    if not accelerator.is_main_process:
        yield
        return
    with ExitStack() as held:
        try:
            with explained(out):
                (out / checkpoints.FOLDER).mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(out / LOCK, seconds=0.0, mode=0o666))
        except LockHeld:
            raise UsageError(
                f"{shown(out)} is being trained by another process",
                f"choose another --out; if that process is gone, delete {LOCK} there",
            ) from None
        if checkpoints.steps_of(out) != seen:
            raise UsageError(
                f"{shown(out)} was trained by another process meanwhile",
                "continue it with --resume, or choose another --out",
            )
        yield
