"""Makes the derived series of a received one, as ``petrt reconstruct --out-format dicom`` does."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from petrt.diffusion.dose import told
from petrt.inference.domain import dose_line
from petrt.inference.judgement import figures
from petrt.inference.settings import derivation_of, key_of, settings_of
from petrt.io.dicom import series
from petrt.io.dicom.writer import write_series
from petrt.io.volume import Nonfinite

if TYPE_CHECKING:
    from petrt.inference.reconstructor import Reconstructor

logger = logging.getLogger("petrt")


class SeriesRunner:
    """Reconstructs series one after the other with a model that stays loaded; ``dose`` as it was given."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        *,
        dose: float | str | None,
        nonfinite: Nonfinite,
        max_voxels: int,
        force_units: bool,
    ) -> None:
        self._reconstructor, self._dose = reconstructor, dose
        self._nonfinite, self._max_voxels = nonfinite, max_voxels
        self._force_units = force_units
        self._settings = settings_of(
            reconstructor, told(dose, reconstructor.bundle.model), nonfinite
        )

    @property
    def settings(self) -> str:
        """A hash of all that decides values beside the input."""
        return hashlib.sha256(self._settings.encode()).hexdigest()

    def __call__(self, source: Path, folder: Path) -> None:
        """Derive a series from the one in ``source`` and write it as ``folder``. Raises PetrtError."""
        volume = series.read(
            source,
            force_units=self._force_units,
            max_voxels=self._max_voxels,
            nonfinite=self._nonfinite,
        )
        result = self._reconstructor(volume, dose=self._dose)
        stats = result.stats
        for warning in stats["warnings"][len(volume.warnings) :]:  # the others are logged
            logger.warning("warning: %s: %s", folder.name, warning)
        if dose := dose_line(stats):
            logger.info("%s: %s", folder.name, dose)
        key = key_of(self._settings, series.sha256(source))
        derivation = derivation_of(self._settings, key, stats, "image")
        write_series(folder, result.image.get_fdata(dtype="float32"), volume, derivation)
        seconds = stats["seconds"]["total"]
        outcome = figures(stats["frames"])
        extra = {"event": "done", "seconds": seconds}
        line = "%s: %s, %.1f s, %s"
        logger.info(line, folder.name, outcome, seconds, stats["label"], extra=extra)
