"""Writes the records of a run: run.json, log.jsonl and, through petrt.train.board, curves."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any

import torch
from accelerate import Accelerator

from petrt import __version__
from petrt.data.dataset import INDEX, SPLITS, Dataset
from petrt.files.atomic import atomic_write_bytes, atomic_write_json
from petrt.files.names import shown
from petrt.files.outputs import explained
from petrt.hardware.cpu import default_threads
from petrt.train.board import Board
from petrt.train.config import TrainConfig
from petrt.train.data import Batch
from petrt.train.trainer import Losses
from petrt.train.validate import Images, Scores, ValidationSlices, as_json

LOG = "log.jsonl"
RUN = "run.json"
# Steps between two lines of the log.
EVERY = 10


def dataset_hash(dataset: Dataset) -> str:
    """SHA-256 of the training data: dataset.json, which holds the volumes' hashes, and train.txt."""
    content = [(dataset.folder / name).read_bytes() for name in (INDEX, "train.txt")]
    return hashlib.sha256(b"".join(content)).hexdigest()


def write_run(
    run: Path,
    config: TrainConfig,
    dataset: Dataset,
    accelerator: Accelerator,
    *,
    step: int,
    threads: int,
    init: Path | None,
) -> None:
    """Write run.json: configuration, data, and one entry for each start or resumption of the run.

    Of paths only the last part is written.
    """
    path = run / RUN
    sessions = []
    if step:
        with suppress(OSError, ValueError, KeyError):
            sessions = json.loads(path.read_text(encoding="utf-8"))["sessions"]
    device = accelerator.device
    sessions.append(
        {
            "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "after_step": step,
            "init": None if init is None else shown(init),
            "command": [shown(argument) for argument in sys.argv],
            "versions": {"petrt": __version__, "python": platform.python_version()}
            | {name: version(name) for name in ("torch", "accelerate", "numpy")},
            "hardware": {
                "device": torch.cuda.get_device_name(device)
                if device.type == "cuda"
                else device.type,
                "processes": accelerator.num_processes,
                "threads": threads,
                "cores": default_threads(),
                "system": f"{platform.system()} {platform.machine()}",
            },
        }
    )
    content = {
        "config": config.model_dump(mode="json"),
        "dataset": {
            "label": dataset.index.label,
            "sha256": dataset_hash(dataset),
            "subjects": {split: len(dataset.split(split)) for split in SPLITS},
        },
        "sessions": sessions,
    }
    atomic_write_json(path, content, overwrite=True)


class Clock:
    """Measures the fraction of the training steps' time spent waiting for data."""

    def __init__(self) -> None:
        self._waited = self._worked = 0.0
        self._ready = monotonic()

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield ``batches``, and count the time to get each as waiting."""
        iterator = iter(batches)
        while True:
            begun = monotonic()
            batch = next(iterator, None)
            if batch is None:
                return
            self._ready = monotonic()
            self._waited += self._ready - begun
            yield batch

    def stepped(self) -> None:
        """Mark the end of a step, so that a validation after it does not count."""
        self._worked += monotonic() - self._ready

    def waiting(self) -> float:
        """The fraction of waiting since the last call."""
        total = self._waited + self._worked
        share = self._waited / total if total else 0.0
        self._waited = self._worked = 0.0
        return share


class Journal:
    """Writes log.jsonl and the board, in the main process.

    ``step``: the last step done before; later lines, of an interrupted process, are deleted.
    ``seconds``: the run's time until then.
    """

    def __init__(self, run: Path, *, step: int, seconds: float) -> None:
        self._path = run / LOG
        self._begun = monotonic() - seconds
        self._values: dict[str, list[float]] = defaultdict(list)
        _keep_lines(self._path, step)
        self._board = Board(run, step + 1)

    @property
    def seconds(self) -> float:
        """The total time of the run in seconds, over all its processes' starts."""
        return round(monotonic() - self._begun, 1)

    def add(self, losses: Losses, rate: float) -> None:
        """Add one step to the next line's means."""
        values = {f"terms/{name}": value for name, value in losses.terms.items()}
        values |= {f"targets/{name}": value for name, value in losses.targets.items()}
        for name, value in (values | {"norm": losses.norm, "rate": rate}).items():
            self._values[name].append(value)

    def line(self, step: int, waiting: float, scores: Scores) -> None:
        """Write means since the last line, the fraction of waiting, and a validation's scores, if any.

        Raises UsageError if the disk refuses.
        """
        means = {name: fmean(values) for name, values in self._values.items()}
        content: dict[str, Any] = {
            "step": step,
            "seconds": self.seconds,
            "waiting": round(waiting, 4),
        }
        for name, value in means.items():
            group, _, key = name.rpartition("/")
            (content.setdefault(group, {}) if group else content)[key] = value
        if scores:
            content["validation"] = as_json(scores)
        with explained(self._path), self._path.open("ab", buffering=0) as file:
            file.write(f"{json.dumps(content)}\n".encode())
        self._board.curves(step, {f"train/{name}": v for name, v in means.items()})
        self._board.curves(step, {"train/waiting": waiting})
        self._board.scores(step, scores)
        self._values.clear()

    @property
    def pending(self) -> bool:
        """Whether steps were added since the last line."""
        return bool(self._values)

    def picture(self, step: int, case: ValidationSlices, images: Images) -> None:
        """Write pictures of a validation subject to the board."""
        self._board.panel(step, case, images)

    def close(self) -> None:
        """Write pending values of the board."""
        self._board.close()


def _keep_lines(path: Path, last: int) -> None:
    """Delete lines after step ``last``, and an incomplete last line."""
    kept = []
    if last and path.is_file():
        for line in path.read_bytes().splitlines():
            with suppress(ValueError, TypeError, KeyError):
                if json.loads(line)["step"] <= last:
                    kept.append(line + b"\n")
    atomic_write_bytes(path, b"".join(kept), overwrite=True)
