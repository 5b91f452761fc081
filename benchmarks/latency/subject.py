"""What latency is measured on: networks of a preset with random weights, and a volume."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import source_digest
from petrt.bench.volume import make_volume
from petrt.diffusion.noise_schedule import StepTable, step_table
from petrt.export.bundle import export_model
from petrt.export.folding.fold import Upsample
from petrt.export.size import folded_count
from petrt.model.bundle import MANIFEST
from petrt.model.spec import DomainSpec, ModelSpec, SamplerSpec
from petrt.nets import PRESETS, Model


@dataclass(frozen=True)
class Subject:
    """``model``: unfolded networks; ``bundle``: their export; ``volume`` [X, Y, Z] on its grid."""

    spec: ModelSpec
    model: Model
    bundle: Path
    table: StepTable
    volume: NDArray[np.float32]

    @property
    def planes(self) -> NDArray[np.float32]:
        """The volume as the networks take it, without its scale: [Z, H, W] with maximum 1."""
        planes = np.ascontiguousarray(self.volume.transpose(2, 0, 1))
        return planes / planes.max()


def make_subject(
    preset: str, size: int, slices: int, steps: int, folder: Path, upsample: Upsample = "conv"
) -> Subject:
    """Export ``preset`` with random weights into ``folder``. Time does not depend on their values.

    A bundle that is there already is taken as it is: see ``kept``. The residual is scaled so that both
    networks shape the image, and the denoiser's last layer, which starts near zero for training, is
    not: else errors inside it would not show.
    """
    torch.manual_seed(0)
    spec = ModelSpec(
        name=f"{preset}-random",
        network=PRESETS[preset],
        domain=DomainSpec(voxel_mm=(2.0, 2.0, 2.0)),
        sigma_r=0.25,
        clip=4.0,
        sampler=SamplerSpec(steps=steps),
    )
    model = Model(spec.network).eval()
    assert model.denoiser is not None
    with torch.no_grad():
        model.denoiser.head.conv.weight.mul_(10.0)
    if not (folder / MANIFEST).exists():
        export_model(model, spec, folder, upsample=upsample)
    table = step_table(spec.schedule, spec.sampler)
    return Subject(spec, model, folder, table, make_volume(size, size, slices))


def kept(root: Path, preset: str, steps: int, upsample: Upsample = "conv") -> Path:
    """Where below ``root`` such a bundle is kept for other processes and later runs.

    The name changes with whatever the weights and the graphs depend on: sources, PyTorch, options.
    """
    key = f"{torch.__version__} {preset} {steps} {upsample} {source_digest()}"
    return root / f"{preset}-{upsample}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def folded_macs(subject: Subject, size: int) -> dict[str, int]:
    """MACs of one slice by part, one call each, of the folded networks: convs, linears and attention."""
    parts = folded_count(subject.spec.network, size, size).parts
    return {name: part.all_macs for name, part in parts.items() if part.parameters}


def total_macs(macs: dict[str, int], slices: int, samples: int, steps: int) -> int:
    """MACs of a whole volume."""
    per_slice = macs.get("guidance", 0) + macs.get("coarse", 0)
    return slices * (per_slice + samples * steps * macs.get("denoiser", 0))
