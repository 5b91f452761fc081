"""The small model that many tests run."""

from __future__ import annotations

import torch

from petrt.nets import Model
from petrt.nets.presets import PRESETS
from petrt.spec import DomainSpec, ModelSpec


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
