"""Runs of the reverse loop on both devices, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from petrt import _core
from petrt.diffusion.noise_schedule import step_table
from petrt.model.spec import SamplerSpec, ScheduleSpec
from tests.core.cuda_device import Device, cpu_network

SEED, SIGMA, CLIP = 20240617, 0.7, 1.0
SCHEDULE = ScheduleSpec(kind="log-snr", gamma_min=0.01, gamma_max=0.999)
TABLES = {
    kind: step_table(SCHEDULE, SamplerSpec(kind=kind, steps=steps)).coefs
    for kind, steps in (("ddpm", 4), ("ddim", 3), ("dpmpp2m", 5), ("mean", 1))
}


class LoopCase:
    """Tables and inputs of a run; film rows are as long as an image, for the stand-in network."""

    def __init__(
        self,
        kind: str = "ddpm",
        slices: int = 3,
        samples: int = 2,
        total: int = 5,
        size: tuple[int, int] = (6, 7),
        sigma_z: float = 0.0,
    ) -> None:
        self.coefs, self.slices, self.samples, self.total = TABLES[kind], slices, samples, total
        self.size, self.steps, self.sigma_z = size, len(self.coefs), sigma_z
        self.chunks = -(-total // samples)
        rng = np.random.default_rng(1)
        voxels = size[0] * size[1]
        self.film = rng.standard_normal((self.steps, voxels)).astype(np.float32)
        self.coarse = rng.random((slices, 1, *size), np.float32)
        ids = [4, 2**32 - 1, 9, 0] if sigma_z == 0 else [9, 2**32 - 10, 10, 12]
        self.ids = np.array(ids[:slices])
        self.shape = (slices, samples, *size)

    def noise(self, seed: int = 3) -> np.ndarray:
        shape = (self.chunks, self.steps + 1, self.slices, self.samples, 1, *self.size)
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    def on_cpu(
        self,
        seed: int = SEED,
        ids: np.ndarray | None = None,
        first: int = 0,
        noise: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Mean and std of `total` samples by _core, one sample after another."""
        loop = _core.ReverseLoop(
            self.coefs, CLIP, self.film, self.slices, 1, *self.size, sigma_z=self.sigma_z
        )
        for n in range(self.total):
            chunk, sample = divmod(n, self.samples)
            given = None
            if noise is not None:
                given = np.ascontiguousarray(noise[chunk][:, :, sample : sample + 1])
            loop.run(
                cpu_network(loop), seed, self.ids if ids is None else ids, first + n, noise=given
            )
            loop.accumulate(self.coarse, SIGMA)
        mean, std = (np.empty((self.slices, 1, *self.size), np.float32) for _ in range(2))
        loop.finish(mean, std)
        return [mean, std]

    def on(self, device: Device, kept: int = 0) -> Any:
        loop = device.module.ReverseLoop(
            self.coefs, CLIP, self.film, *self.shape, SIGMA, device.stream, self.sigma_z, kept
        )
        loop.coarse.copy_from(device.array(self.coarse), device.stream)
        return loop


def results(device: Device, loop: Any) -> list[np.ndarray]:
    return [device.values(loop.mean), device.values(loop.std)]


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
