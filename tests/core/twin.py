"""NumPy twins of petrt._core, one array at a time and written from the equations.

float32 sums, products, quotients and square roots are IEEE in NumPy as in C++, so the twins must
agree with the module to the bit. Only log, sin and cos of the normals may differ: the twin takes
them in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from petrt.diffusion.reference import neighbours

F32 = np.float32
Floats = NDArray[np.float32]
Words = NDArray[np.uint32]

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10 of Salmon et al. (2011) on counters [n, 4]."""
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for i in range(10):
        k0, k1 = (np.uint64((key[j] + i * WEYL[j]) & 0xFFFFFFFF) for j in range(2))
        p0, p1 = MULTIPLIERS[0] * c[0], MULTIPLIERS[1] * c[2]
        c = [(p1 >> shift) ^ c[1] ^ k0, p1 & low, (p0 >> shift) ^ c[3] ^ k1, p0 & low]
    return np.stack(c, axis=1).astype(np.uint32)


def uniform(words: Words) -> Floats:
    """(0, 1] from 32-bit words."""
    return words.astype(F32) * F32(2.0**-32) + F32(2.0**-33)


def normals(seed: int, slice_id: int, sample: int, step: int, n: int) -> NDArray[np.float64]:
    """Normals [n] of one image, from the float32 uniforms on in float64; odd samples mirror even ones."""
    blocks = (n + 3) // 4
    counter = np.empty((blocks, 4), np.uint32)
    counter[:, 0] = np.arange(blocks)
    counter[:, 1:] = step, sample // 2, slice_id
    u = uniform(philox(counter, (seed & 0xFFFFFFFF, seed >> 32))).reshape(blocks, 2, 2)
    radius = np.sqrt(-2.0 * np.log(u[..., 0].astype(np.float64)))
    angle = (F32(2.0 * np.pi) * u[..., 1]).astype(np.float64)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return (-1) ** (sample % 2) * pairs.reshape(-1)[:n]


def slice_weights(sigma_z: float) -> Floats:
    """Weights [2 K + 1] of the streams of slices -K .. K around one: a Gaussian whose squares sum to 1."""
    reach = int(np.ceil(3 * sigma_z))
    k = np.arange(-reach, reach + 1)
    w = np.exp(-(k**2) / (2 * sigma_z**2)) if reach else np.ones(1)
    return (w / np.sqrt(np.sum(w**2))).astype(F32)


def coherent_normals(
    seed: int, slice_id: int, sample: int, step: int, n: int, sigma_z: float
) -> NDArray[np.float64]:
    """As ``normals``, with the streams of the slices around combined."""
    weights = slice_weights(sigma_z)
    first = slice_id - len(weights) // 2
    each = [normals(seed, first + k, sample, step, n) for k in range(len(weights))]
    return weights.astype(np.float64) @ np.array(each)


def stack_slices(volume: Floats, first: int, batch: int) -> Floats:
    """Slices with neighbours -2..2 [batch, 5, H, W]; a missing neighbour is the centre, a missing slice
    the last one."""
    ids = [min(z, len(volume) - 1) for z in range(first, first + batch)]
    return np.array([neighbours(volume, z)[0] for z in ids], F32).reshape(
        batch, 5, *volume.shape[1:]
    )


def reverse_step(
    r: Floats,
    eps: Floats,
    x0_previous: Floats,
    noise: Floats | None,
    coefs: NDArray[np.float64],
    clip: float,
) -> tuple[Floats, Floats]:
    """Eqs. 6 and 4: the next r and x0."""
    x0_r, x0_eps, a, b, c, s = coefs.astype(F32)
    with np.errstate(invalid="ignore", over="ignore"):
        free = x0_r * r - x0_eps * eps
        x0 = np.where(np.isfinite(free), np.clip(free, -F32(clip), F32(clip)), F32(np.nan))
        r = a * r + b * x0
        if c != 0:
            r = r + c * x0_previous
        if s != 0:
            assert noise is not None
            r = r + s * noise
    return r, x0


def reconstruct(coarse: Floats, sigma_r: float, r: Floats) -> Floats:
    """max(coarse + sigma_r r, 0), NaN where it is NaN."""
    return np.maximum(coarse + F32(sigma_r) * r, F32(0))


def accumulate(image: Floats, mean: Floats, m2: Floats, count: int) -> tuple[Floats, Floats]:
    """Welford's update, in float32."""
    delta = image - mean
    mean = mean + delta / F32(count + 1)
    return mean, m2 + delta * (image - mean)


def finish(m2: Floats, count: int) -> Floats:
    """Sample standard deviation, 0 for one sample."""
    return np.sqrt(m2 / F32(max(count - 1, 1)))


def reverse_loop(
    network: Callable[[Floats, Floats], Floats],
    coefs: NDArray[np.float64],
    clip: float,
    film: Floats,
    noise: Floats,
) -> Floats:
    """The residuals of every image from noise [steps + 1, images, 1, H, W]."""
    r, x0 = noise[0].copy(), np.zeros_like(noise[0])
    for i, row in enumerate(coefs):
        r, x0 = reverse_step(r, network(r, film[i]), x0, noise[i + 1], row, clip)
    return r
