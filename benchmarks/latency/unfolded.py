"""What petrt is measured against: the unfolded networks of the paper in a plain PyTorch loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.latency.subject import Subject

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Unfolded:
    """Volumes [Z, H, W] of scaled slices through the networks as the paper draws them, one sample.

    ``batch`` 1, eager, fp32 is what the authors' code does with a slice: guides, guidance, coarse
    prediction, then one call of the denoiser a step, each from Python. ``compiled`` hands the three
    networks to torch.compile, on a GPU in the mode "reduce-overhead", which records CUDA graphs of its
    own. Norms are PyTorch's own; in 16 bit the weights are cast, as in channels-last memory. PyTorch's
    defaults hold (TF32 in convolutions, all cores). ``networks``: guidance, coarse network and denoiser to
    call in place of PyTorch's, with the same arguments.
    """

    def __init__(
        self,
        subject: Subject,
        device: str,
        *,
        precision: str = "fp32",
        batch: int = 1,
        compiled: bool = False,
        networks: Sequence[Callable[..., Any]] | None = None,
    ) -> None:
        self._spec, self._table, self._batch = subject.spec, subject.table, batch
        self._device, self._dtype = torch.device(device), DTYPES[precision]
        model = plain_norms(copy.deepcopy(subject.model)).to(self._device, self._dtype)
        if precision != "fp32":
            model = model.to(memory_format=torch.channels_last)
        self._graphs = compiled and self._device.type == "cuda"
        parts = networks or (model.guidance, model.coarse, model.denoiser)
        if compiled:
            mode = "reduce-overhead" if self._graphs else "default"
            parts = tuple(torch.compile(part, mode=mode, dynamic=False) for part in parts)
        self._guidance, self._coarse, self._denoiser = parts

    @torch.no_grad()
    def __call__(
        self, planes: NDArray[np.float32], noise: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Reconstruct scaled slices [Z, H, W]; Z is a multiple of ``batch``.

        ``noise`` [steps + 1, Z, H, W] replaces the drawn noise.
        """
        if len(planes) % self._batch:
            raise ValueError(f"{len(planes)} slices are no multiple of the batch, {self._batch}")
        volume = torch.from_numpy(planes).to(self._device)
        given = None if noise is None else torch.from_numpy(noise).to(self._device)
        out = np.empty_like(planes)
        for first in range(0, len(planes), self._batch):
            part = slice(first, first + self._batch)
            drawn = None if given is None else given[:, part, None]
            out[part] = self._slices(volume, part, drawn)[:, 0].cpu().numpy()
        return out

    def _slices(self, volume: Tensor, part: slice, noise: Tensor | None) -> Tensor:
        x = volume[part, None]
        images = self._cast(x, neighbours(volume, part), spectrum(x))
        self._next()
        features = self._kept(self._guidance(*images[1:]))
        self._next()
        x_cp = self._coarse(images[0], features).float().clone()
        r = torch.randn_like(x) if noise is None else noise[0]
        clip = self._spec.clip
        for step, (level, row) in enumerate(
            zip(self._table.levels, self._table.coefs, strict=True)
        ):
            x0_r, x0_eps, a, b, _, s = (float(value) for value in row)
            levels = torch.full((len(x),), float(level), device=self._device, dtype=self._dtype)
            self._next()
            eps = self._denoiser(images[0], self._cast(r)[0], levels, features).float()
            x0 = (x0_r * r - x0_eps * eps).clamp(-clip, clip)
            r = a * r + b * x0
            if s > 0:
                r = r + s * (torch.randn_like(r) if noise is None else noise[step + 1])
        return (x_cp + self._spec.sigma_r * r).clamp(min=0)

    def _cast(self, *images: Tensor) -> list[Tensor]:
        return [image.to(self._dtype) for image in images]

    def _kept(self, features: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """Copies, where the next replay of a compiled network would overwrite them."""
        if not self._graphs:
            return [list(at_scale) for at_scale in features]
        return [[feature.clone() for feature in at_scale] for at_scale in features]

    def _next(self) -> None:
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()


def plain_norms(model: nn.Module) -> nn.Module:
    """``model`` with PyTorch's own GroupNorm, as the authors' code has it, in place of petrt's."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is not nn.GroupNorm and isinstance(child, nn.GroupNorm):
                plain = nn.GroupNorm(child.num_groups, child.num_channels, child.eps)
                plain.load_state_dict(child.state_dict())
                setattr(parent, name, plain)
    return model


def neighbours(volume: Tensor, part: slice) -> Tensor:
    """Slices z-2 .. z+2 of [Z, H, W] around each of ``part``: [B, 5, H, W] (method.md section 1)."""
    z = torch.arange(part.start, part.stop, device=volume.device)[:, None]
    near = z + torch.arange(-2, 3, device=volume.device)
    near = torch.where((near < 0) | (near >= len(volume)), z, near)
    return volume[near]


def spectrum(x: Tensor) -> Tensor:
    """The spectrum guide of slices [B, 1, H, W] (method.md section 1), in float64."""
    transform = torch.fft.fftshift(torch.fft.fft2(x.double()), dim=(-2, -1))
    log = 20 * torch.log(torch.abs(transform + 1e-8))
    low = log.amin(dim=(-2, -1), keepdim=True)
    extent = log.amax(dim=(-2, -1), keepdim=True) - low
    return ((log - low) / torch.where(extent > 0, extent, torch.ones_like(extent))).to(x.dtype)
