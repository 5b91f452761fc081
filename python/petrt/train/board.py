"""Writes curves of training and validation and pictures of validation slices for TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.train.validate import Images, Scores, ValidationSlices

FOLDER = "board"
# Factor that brightens errors in pictures.
ERROR_GAIN = 5.0
SLICES = 3

logger = logging.getLogger(__name__)


class Board:
    """Writes ``RUN/board``. Without TensorBoard it logs that once and writes nothing.

    ``first``: the first step of this process. Values of an interrupted process from there on are hidden.
    """

    def __init__(self, run: Path, first: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.info(
                "no curves in %s: TensorBoard is not installed (pip install tensorboard)", FOLDER
            )
            return
        self._writer = SummaryWriter(str(run / FOLDER), purge_step=first)

    def curves(self, step: int, values: Mapping[str, float]) -> None:
        """Write training values; ``values``: tag -> value."""
        for tag, value in values.items():
            self._write("add_scalar", tag, value, step)

    def scores(self, step: int, scores: Scores) -> None:
        """Write one PSNR curve (dB) for each protocol and image."""
        self.curves(
            step,
            {f"psnr {name}/{image}": v for name, s in scores.items() for image, v in s.items()},
        )

    def panel(self, step: int, case: ValidationSlices, images: Images) -> None:
        """Write a picture with slices of one subject, see the function ``panel``."""
        title = " | ".join([*images, "full", f"{ERROR_GAIN:g} x error"])
        self._write("add_image", f"{case.pair.name}: {title}", panel(case, images), step)

    def close(self) -> None:
        """Write pending values."""
        self._write("close")

    def _write(self, method: str, *arguments: object) -> None:
        """Call the writer. If the disk refuses, training continues without curves."""
        if self._writer is None:
            return
        try:
            getattr(self._writer, method)(*arguments)
        except OSError as error:
            logger.warning("no more curves in %s: %s", FOLDER, error.strerror)
            self._writer = None


def panel(case: ValidationSlices, images: Images) -> NDArray[np.float32]:
    """A picture [1, h, w] in 0..1 of up to ``SLICES`` slices: each image, the full dose, |last image - full|.

    White is the full-dose volume's maximum. The orientation is radiological: the patient's right is on
    the left, anterior is up.
    """
    full = case.full
    rows = np.unique(np.linspace(0, len(full) - 1, SLICES + 2)[1:-1].round().astype(int))
    last = list(images.values())[-1]
    columns = [*images.values(), full, ERROR_GAIN * np.abs(last - full)]
    upright = [[column[row, ::-1, ::-1].T for column in columns] for row in rows]
    picture = np.block(upright)[None] / case.peak
    return np.clip(picture, 0, 1).astype(np.float32)
