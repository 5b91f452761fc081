"""petrt: low-dose PET to standard-dose quality with a coarse-to-fine diffusion model.

>>> import petrt
>>> image = petrt.reconstruct("low_dose.nii.gz")

reconstruct         one volume: a path, a nibabel image or an array in, the same kind out
Reconstructor       keeps a model loaded; called with volumes, it gives Reconstructions
Reconstruction      .image, .std, .coarse, .stats, .regions(), .save(path), .show(); a picture in notebooks
load_bundle         a model by its path or name
errors              what can go wrong, as exceptions and warnings

More, each a module to import: petrt.suv (SUV of DICOM series), petrt.evaluation.metrics and .baselines (how
good is an image), petrt.data.simulate (simulated subjects), petrt.data.dataset (prepared data sets). The
commands are those of ``petrt --help``.

Not for diagnostic use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from petrt._core import __version__

if TYPE_CHECKING:
    from petrt import errors
    from petrt.inference.reconstruct import reconstruct
    from petrt.inference.reconstruction import Reconstruction
    from petrt.inference.reconstructor import Reconstructor
    from petrt.model.bundle import load_bundle

__all__ = ["Reconstruction", "Reconstructor", "__version__", "errors", "load_bundle", "reconstruct"]

_HOMES = {
    "Reconstruction": "petrt.inference.reconstruction",
    "Reconstructor": "petrt.inference.reconstructor",
    "load_bundle": "petrt.model.bundle",
    "reconstruct": "petrt.inference.reconstruct",
}


def __getattr__(name: str) -> Any:
    """Load on first use, so that ``import petrt`` stays quick."""
    from importlib import import_module

    if name == "errors":
        return import_module("petrt.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'petrt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
