"""petrt: low-dose PET to standard-dose quality with a coarse-to-fine diffusion model.

>>> import petrt
>>> image = petrt.reconstruct("low_dose.nii.gz")

Not for diagnostic use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from petrt._core import __version__

if TYPE_CHECKING:
    from petrt.inference.reconstruct import reconstruct
    from petrt.inference.reconstruction import Reconstruction
    from petrt.inference.reconstructor import Reconstructor
    from petrt.model.bundle import load_bundle

__all__ = ["Reconstruction", "Reconstructor", "__version__", "load_bundle", "reconstruct"]

_HOMES = {
    "Reconstruction": "petrt.inference.reconstruction",
    "Reconstructor": "petrt.inference.reconstructor",
    "load_bundle": "petrt.model.bundle",
    "reconstruct": "petrt.inference.reconstruct",
}


def __getattr__(name: str) -> Any:
    """Load on first use, so that ``import petrt`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'petrt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
