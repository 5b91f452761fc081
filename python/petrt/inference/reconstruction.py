"""What a reconstruction gives: frames on their input grid, and all of them as the kind that came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from petrt.arrays import Array, grid_text
from petrt.diffusion.strength import deviation
from petrt.errors import UsageError
from petrt.evaluation.activity import change
from petrt.evaluation.uncertainty.regions import Drawn, Regions, RegionTable
from petrt.files.names import printable
from petrt.inference import defaults
from petrt.inference.domain import dose_words
from petrt.inference.origin import Origin
from petrt.inference.regions import RegionsOfRun
from petrt.io.inputs import Loaded, give_back
from petrt.values import real

if TYPE_CHECKING:
    from petrt.io.dicom.writer import Compression


@dataclass(frozen=True, repr=False)
class Reconstruction:
    """What a reconstruction gives, on the input's grid, in its units and as its kind.

    A notebook shows it with a picture. ``save`` writes it, ``show`` shows it, ``regions`` measures it.

    Attributes:
        image: the mean of the samples (AMS), below strength 1 between it and the input.
        std: their standard deviation (ddof 1), None without two samples; where the model has a calibration
            for this sampler, number of samples and dose, calibrated, so that image +- z(level) * std covers
            the full-dose image (docs/uncertainty.md), else only the spread of the samples: ``stats["std"]``
            says which and why. Below strength 1 it is that of petrt.diffusion.strength.
        coarse: the coarse prediction x_cp.
        stats: JSON-ready record of the run.
        origin: what it was made of. It keeps the input in memory, and an array as it is, without a copy.
    """

    image: Any
    std: Any
    coarse: Any
    stats: dict[str, Any]
    measured: RegionsOfRun | None = None
    origin: Origin | None = None

    def regions(self, level: float = defaults.LEVEL) -> RegionTable:
        """Mean, peak (of a 1 ml sphere) and maximum of each region and frame, in the image's unit, with the
        intervals that hold those of the full-dose image with probability ``level``: a list of
        petrt.evaluation.uncertainty.regions.Region that prints, and shows in a notebook, as a table.

        Raises UsageError where the Reconstructor was called without ``regions``, and for a bad level.
        """
        if self.measured is None:
            raise UsageError("no regions were given", "call the Reconstructor with regions=LABELS")
        level = real("level", level, 0.0, 1.0)
        if not 0 < level < 1:
            raise UsageError(f"level is {level:g}", "give a fraction between 0 and 1, as 0.9")
        return self.measured.table(level)

    def save(
        self,
        path: str | Path,
        *,
        what: str = "image",
        out_format: str | None = None,
        compress: Compression | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write the result as ``petrt reconstruct`` does, byte for byte, in the kind of file that ``path``
        names; it appears whole or not at all.

        Of a DICOM series that is a derived series in the folder ``path``, unless it ends in .nii or .nii.gz;
        of anything else a NIfTI file, of an array without an affine in RAS from the origin on. A name that
        ends in .png gives the picture of ``--preview``, one in .html the page of ``--report``.

        Args:
            what: "image", "std" or "coarse". A std of DICOM whose name ends in .dcm is a Parametric Map.
            out_format: "nifti" or "dicom", whatever came in.
            compress: "rle" or "jpegls", of DICOM.
            overwrite: replace what is there.

        Raises:
            UsageError: an output that exists or cannot be written, or no std. InputError: input files that
            are gone: they are read again for the key of the result, which tells what it was made from.
        """
        from petrt.inference.save import save

        save(self, path, what, out_format, compress, overwrite)

    def show(self) -> None:
        """Show input, output, difference and std: in a notebook below the cell, else in a window.

        Raises DeviceError where there is neither a notebook nor a screen.
        """
        from petrt.inference.shown import show

        show(self)

    def __repr__(self) -> str:
        return f"Reconstruction({', '.join(self._words())})"

    def _words(self) -> list[str]:
        """What it is, as far as it is known: grid, unit, dose, samples, model."""
        stats, parts = self.stats, []
        if self.origin is not None:
            from petrt.suv import stored_unit

            volume = self.origin.volume
            parts = [grid_text(volume.data.shape, volume.voxel_mm)]
            parts += [unit] if (unit := stored_unit(volume)) else []
        parts += [dose] if (dose := dose_words(stats)) else []
        drawn = f"{stats['samples']} sample{'s' if stats['samples'] > 1 else ''}"
        parts.append(drawn if stats["sampler"] is not None else "coarse prediction, no samples")
        if self.std is not None:
            parts.append(f"std {'' if stats['std']['calibrated'] else 'not '}calibrated")
        if stats["strength"] != 1:
            parts.append(f"strength {stats['strength']:g}")
        return [*parts, f"model {printable(stats['model']['name'])}"]

    def _repr_html_(self) -> str | None:
        """For notebooks; None, which leaves the line alone, where the input is not known."""
        if self.origin is None:
            return None
        from petrt.inference.shown import html_of

        return html_of(self)


@dataclass(frozen=True)
class Frame:
    """One frame's results on its input grid and its part of the record; no ``std`` of a single sample.
    ``away``: the distance of ``image`` from the model's own, None where there is none. ``regions``: those
    of the frame, where they are wanted."""

    image: Array
    std: Array | None
    coarse: Array
    record: dict[str, Any]
    away: Array | None = None
    regions: Drawn | None = None


def unchanged(
    frame: Array, samples: int, negative_fraction: float, regions: Regions | None = None
) -> Frame:
    """A frame without activity is its own reconstruction. ``empty`` in its record: it is constant or nowhere
    above 0; else there is activity, but too little or too much below 0 for a scale."""
    image = np.array(frame, np.float32)
    std = np.zeros_like(image) if samples > 1 else None
    highest = float(image.max())
    record = {
        "scale": 0.0,
        **asdict(change(image, frame)),
        "negative_fraction": negative_fraction,
        "unchanged": True,
        "empty": highest <= 0 or highest == float(image.min()),
    }
    drawn = None if regions is None else Drawn(*(regions.measured(image),) * 2, None, 0.0)
    return Frame(image, std, image.copy(), record, regions=drawn)


def given_back(
    loaded: Loaded,
    frames: Sequence[Frame],
    stats: dict[str, Any],
    measured: RegionsOfRun | None = None,
    origin: Origin | None = None,
) -> Reconstruction:
    """The frames as the kind of volume that came in, their standard deviation calibrated."""
    factor = np.float32(stats["std"]["factor"])
    stds = [deviation(frame.std * factor, frame.away) for frame in frames if frame.std is not None]
    return Reconstruction(
        image=give_back(loaded, [frame.image for frame in frames]),
        std=give_back(loaded, stds) if stds else None,
        coarse=give_back(loaded, [frame.coarse for frame in frames]),
        stats=stats,
        measured=measured,
        origin=origin,
    )
