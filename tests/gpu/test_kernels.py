"""Each kernel against its CPU twin: the same formulas, so the same bits wherever no libm is called.

Run on a GPU with ``-m gpu``; elsewhere on the module built of the same sources for host memory.
"""

from __future__ import annotations

import numpy as np
import pytest

from petrt import _core

# Odd sizes leave tails behind vector loads; one voxel is the smallest image there is.
SIZES = [(1, 1), (5, 7), (16, 24), (128, 128)]
COEFS = np.array([1.3, 0.6, 0.4, 0.5, -0.2, 0.3])


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("depth", "first", "count"), [(9, 3, 4), (9, 0, 2), (9, 7, 2), (1, 0, 1)])
def test_stack_slices(device, size, depth, first, count):
    volume = normal(np.random.default_rng(0), depth, *size)
    begin, end = max(0, first - 2), min(depth, first + count + 2)
    planes = device.put(volume[begin:end])
    x, nas = device.empty((count, 1, *size)), device.empty((count, 5, *size))
    device.module.stack_slices(planes, begin, first, depth, x, nas, device.stream)
    expected = np.empty((count, 5, *size), np.float32)
    _core.stack_slices(volume, first, expected)
    np.testing.assert_array_equal(device.get(nas), expected)
    np.testing.assert_array_equal(device.get(x)[:, 0], volume[first : first + count])


@pytest.mark.parametrize("size", SIZES)
def test_log_spectrum(device, size):
    slices = normal(np.random.default_rng(1), 3, 1, *size).astype(np.float64)
    slices[1] = 0  # a flat spectrum gives zeros
    half = np.ascontiguousarray(np.fft.rfft2(slices))
    out = device.empty(slices.shape)
    device.module.log_spectrum(device.put(half), out, device.stream)
    expected = np.empty(slices.shape, np.float32)
    _core.log_spectrum(half, expected)
    # log and hypot differ by ulps of float64, which the rounding to float32 may turn into one of its.
    np.testing.assert_allclose(device.get(out), expected, rtol=0, atol=2e-7)
    assert not device.get(out)[1].any()


@pytest.mark.parametrize("count", [1, 3, 4, 1023, 128 * 128])
@pytest.mark.parametrize("where", [(0, 0, 0, 0), (2**64 - 1, 2**32 - 1, 7, 11)])
def test_normals(device, count, where):
    out = device.empty((count,))
    device.module.normals(*where, out, device.stream)
    expected = np.empty(count, np.float32)
    _core.normals(*where, expected)
    np.testing.assert_allclose(device.get(out), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("with_noise", [True, False])
def test_reverse_step(device, size, with_noise):
    rng = np.random.default_rng(2)
    r, eps, x0, noise = (normal(rng, 3, 1, *size) for _ in range(4))
    r.flat[0] = np.nan
    coefs = COEFS if with_noise else np.array([*COEFS[:5], 0.0])
    there = [device.put(array) for array in (r, eps, x0, noise)]
    given = there[3] if with_noise else None
    device.module.reverse_step(*there[:3], given, coefs, 1.5, device.stream)
    _core.reverse_step(r, eps, x0, noise if with_noise else None, coefs, 1.5)
    np.testing.assert_array_equal(device.get(there[0]), r)
    np.testing.assert_array_equal(device.get(there[2]), x0)


@pytest.mark.parametrize("size", SIZES)
def test_average(device, size):
    """Two calls of three samples, of which the last uses two."""
    rng = np.random.default_rng(3)
    slices, samples, sigma = 2, 3, np.float32(0.3)
    coarse = normal(rng, slices, 1, *size)
    mean, m2, std = (np.zeros_like(coarse) for _ in range(3))
    there = [device.put(array) for array in (coarse, mean, m2, std)]
    count = 0
    for used in (3, 2):
        r = normal(rng, slices * samples, 1, *size)
        out = there[3] if used == 2 else None
        device.module.average(
            device.put(r), *there[:3], out, count, used, float(sigma), device.stream
        )
        for n in range(used):
            image = np.maximum(coarse + sigma * r.reshape(slices, samples, 1, *size)[:, n], 0)
            _core.accumulate(np.ascontiguousarray(image), mean, m2, count)
            count += 1
    _core.finish(m2, count, std)
    for array, expected in zip(there[1:], (mean, m2, std), strict=True):
        np.testing.assert_array_equal(device.get(array), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "complex128", "uint8"])
def test_copies_there_and_back(device, dtype):
    host = np.random.default_rng(4).integers(0, 200, (3, 5)).astype(dtype)
    there = device.put(host)
    copy = device.empty(host.shape, dtype)
    copy.copy_from(there, device.stream)
    np.testing.assert_array_equal(device.get(copy), host)
    pinned = device.module.pinned(host.shape, dtype)
    copy.download(pinned, device.stream)
    device.stream.synchronize()
    np.testing.assert_array_equal(pinned, host)


def test_unfit_arrays_are_refused(device):
    good, short = device.empty((4,)), device.empty((3,))
    with pytest.raises(ValueError, match="expected"):
        device.module.reverse_step(good, short, good, None, COEFS, 1.0, device.stream)
    with pytest.raises(ValueError, match="expected"):
        device.module.normals(0, 0, 0, 0, device.empty((4,), "float64"), device.stream)


def test_too_much_memory_is_told_apart_and_harmless(device):
    with pytest.raises(device.module.OutOfMemory):
        device.empty((1 << 46,))
    assert device.get(device.put(np.ones(3, np.float32))).sum() == 3
