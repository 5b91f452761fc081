"""The small model that many tests run, and a volume for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from petrt.arrays import Array64
from petrt.inference import reconstructor
from petrt.model.bundle import load_bundle
from petrt.model.bundle_writer import write_bundle
from petrt.model.spec import DomainSpec, ModelSpec
from petrt.nets import Model
from petrt.nets.presets import PRESETS


def tiny_spec() -> ModelSpec:
    return ModelSpec(
        name="tiny",
        network=PRESETS["tiny"],
        domain=DomainSpec(voxel_mm=(2.0, 2.0, 2.0), matrix=(32, 32)),
        sigma_r=0.05,
        clip=20.0,
    )


def tiny_model() -> Model:
    """Random weights, the same in every test."""
    torch.manual_seed(0)
    return Model(tiny_spec().network).eval()


def with_voxels(model: Path, voxel_mm: float, out: Path) -> Path:
    """Write the bundle ``model`` as ``out``, for cubic voxels of another size. Returns ``out``."""
    bundle = load_bundle(model)
    domain = bundle.model.domain.model_copy(update={"voxel_mm": (voxel_mm,) * 3})
    write_bundle(bundle, bundle.model.model_copy(update={"domain": domain}), out)
    return out


def noisy_blob(shape: tuple[int, int, int]) -> np.ndarray:
    """A blurred blob with noise, [X, Y, Z]; not symmetric in any axis."""
    rng = np.random.default_rng(3)
    x, y, z = np.indices(shape)
    blob = 900 * np.exp(-(((x - 6) / 4) ** 2) - ((y - 12) / 6) ** 2 - ((z - 2) / 2) ** 2)
    return (blob + rng.gamma(2, 20, shape)).astype(np.float32)


class Reconstructor(reconstructor.Reconstructor):
    """Of networks that were not trained: their images change the activity, and are given all the same."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_activity_change": True} | options)


class Unfolded:
    """The networks of a model in PyTorch and float64, as petrt.diffusion.reference takes them."""

    def __init__(self, model: Model) -> None:
        self._model = model.double()

    @torch.no_grad()
    def guidance(self, nas: Array64, spectrum: Array64) -> Any:
        return self._model.guidance(torch.from_numpy(nas), torch.from_numpy(spectrum))

    @torch.no_grad()
    def coarse(self, nas: Array64, features: Any) -> Array64:
        x = torch.from_numpy(nas[:, 2:3])
        return self._model.coarse_of(x, torch.from_numpy(nas), features).numpy()

    @torch.no_grad()
    def denoiser(self, x: Array64, r: Array64, level: float, features: Any) -> Array64:
        images = torch.from_numpy(x), torch.from_numpy(r)
        return self._model.denoiser(*images, torch.tensor([level]), features).numpy()
