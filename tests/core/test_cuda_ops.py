"""Each kernel against the operation of the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from petrt import _core
from tests.core import twin as numpy_twin
from tests.core.cuda_device import Device, Part

ROW = np.array([1.1, 0.4, 0.5, 0.4, 0.1, 0.2])
# Whole groups of four voxels, ragged ones, fewer than four, several blocks of threads.
SIZES = [(8, 8), (7, 9), (1, 3), (1, 1), (50, 41)]


def fields(count: int, shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_stack_slices(device: Device, size: tuple[int, int], depth: int) -> None:
    volume = fields(1, (depth, *size))[0]
    for first in range(depth):
        for batch in range(1, depth - first + 1):
            # Only the planes that are read are there, and one slice more.
            low, high = max(0, first - 2), min(depth, first + batch + 2)
            planes = np.concatenate([volume[low:high], np.full((1, *size), np.nan, np.float32)])
            x, nas = (device.module.DeviceArray((batch, c, *size)) for c in (1, 5))
            device.module.stack_slices(
                device.array(planes), low, first, depth, x, nas, device.stream
            )
            expected = np.empty((batch, 5, *size), np.float32)
            _core.stack_slices(volume, first, expected)
            assert np.array_equal(device.values(nas), expected)
            assert np.array_equal(device.values(x), volume[first : first + batch, None])


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_a_batch_of_more_slices_than_the_volume_repeats_the_last(device, depth):
    volume = fields(1, (depth, 7, 9))[0]
    batch = depth + 3
    planes = np.concatenate([volume, np.full((2, 7, 9), np.nan, np.float32)])
    x, nas = (device.module.DeviceArray((batch, c, 7, 9)) for c in (1, 5))
    device.module.stack_slices(device.array(planes), 0, 0, depth, x, nas, device.stream)
    expected = numpy_twin.stack_slices(volume, 0, batch)
    assert np.array_equal(device.values(nas), expected)
    assert np.array_equal(device.values(nas)[:depth], numpy_twin.stack_slices(volume, 0, depth))
    assert np.array_equal(device.values(x), expected[:, 2:3])


@pytest.mark.parametrize("shape", [(3, 1, 5, 7), (4096,), (5,), (2, 2)])
@pytest.mark.parametrize("zero", ["", "c", "s", "cs"])
def test_reverse_step(device: Device, shape: tuple[int, ...], zero: str) -> None:
    row = np.where([name in zero for name in ("", "", "", "", "c", "s")], 0.0, ROW)
    row[:4] = ROW[:4]
    r, eps, x0, noise = fields(4, shape)
    if "c" in zero:
        x0[:] = np.nan
    on_device = [device.array(array) for array in (r, eps, x0)]
    z = None if "s" in zero else device.array(noise)
    device.module.reverse_step(*on_device, z, row, 0.8, device.stream)
    _core.reverse_step(r, eps, x0, noise, row, 0.8)
    assert np.array_equal(device.values(on_device[0]), r)
    assert np.array_equal(device.values(on_device[2]), x0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_visible(device: Device, bad: float) -> None:
    r, eps, x0, noise = fields(4, (40,))
    eps[7] = bad
    arrays = [device.array(array) for array in (r, eps, x0, noise)]
    device.module.reverse_step(*arrays, ROW, 1.0, device.stream)
    assert np.flatnonzero(np.isnan(device.values(arrays[0]))).tolist() == [7]
    assert np.flatnonzero(np.isnan(device.values(arrays[2]))).tolist() == [7]


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_addresses_between_vectors(device: Device, offset: int) -> None:
    """Views that begin anywhere: what a 16-byte access cannot reach is done voxel by voxel."""
    r, eps, x0, noise = fields(4, (64,))
    whole = device.array(np.concatenate([np.zeros(offset, np.float32), r, [np.float32(9)]]))
    rest = [device.array(array) for array in (eps, x0, noise)]
    part = Part(whole, offset, (64,))
    device.module.reverse_step(part, *rest, ROW, 1.0, device.stream)
    _core.reverse_step(r, eps, x0, noise, ROW, 1.0)
    found = device.values(whole)
    assert np.array_equal(found[offset:-1], r)
    assert not found[:offset].any()
    assert found[-1] == 9


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("total", [1, 3, 7])
def test_average(device: Device, size: tuple[int, int], total: int) -> None:
    """Three samples at a time, the last ones maybe surplus: the same sums as one by one."""
    slices, samples, sigma_r = 2, 3, 0.7
    coarse = fields(1, (slices, 1, *size), seed=9)[0]
    mean, m2, std = (
        device.array(np.full((slices, 1, *size), np.nan, np.float32)) for _ in range(3)
    )
    expected = [np.zeros((slices, 1, *size), np.float32) for _ in range(2)]
    base = device.array(coarse)
    for chunk in range(-(-total // samples)):
        r = fields(1, (slices, samples, 1, *size), seed=chunk)[0]
        done = chunk * samples
        used = min(samples, total - done)
        last = std if done + used == total else None
        images = device.array(r.reshape(-1, 1, *size))
        device.module.average(images, base, mean, m2, last, done, used, sigma_r, device.stream)
        for n in range(used):
            image = numpy_twin.reconstruct(coarse, sigma_r, r[:, n])
            expected = list(numpy_twin.accumulate(image, *expected, done + n))
    expected.append(numpy_twin.finish(expected[1], total))
    for found, wanted in zip((mean, m2, std), expected, strict=True):
        assert np.array_equal(device.values(found), wanted)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 1024, 4099])
def test_normals(device: Device, n: int) -> None:
    out = device.module.DeviceArray((n,))
    device.module.normals(2**63 + 5, 4070077160, 7, 2**32 - 1, out, device.stream)
    found, expected = device.values(out), np.empty(n, np.float32)
    _core.normals(2**63 + 5, 4070077160, 7, 2**32 - 1, expected)
    if device.exact:
        assert np.array_equal(found, expected)
    # A GPU's log, sin and cos are within 1, 2 and 2 ulp; the CPU's, within 1 each.
    assert np.all(np.abs(found - expected) <= 8 * np.spacing(np.abs(expected)))


def test_coherent_normals(device: Device) -> None:
    out, expected = device.module.DeviceArray((4099,)), np.empty(4099, np.float32)
    device.module.normals(2**63 + 5, 4070077160, 7, 2**32 - 1, out, device.stream, 1.29)
    found = device.values(out)
    _core.normals(2**63 + 5, 4070077160, 7, 2**32 - 1, expected, sigma_z=1.29)
    if device.exact:
        assert np.array_equal(found, expected)
    assert np.abs(found - expected).max() < 1e-5  # 9 terms of up to 6.8, each within 8 ulp


@pytest.mark.parametrize("size", [*SIZES, (1, 4), (5, 1), (64, 50)])
def test_log_spectrum(device: Device, size: tuple[int, int]) -> None:
    x = np.random.default_rng(3).random((4, 1, *size))
    x[2] = 0
    half = np.ascontiguousarray(np.fft.rfft2(x))
    expected, out = np.empty(x.shape, np.float32), device.module.DeviceArray(x.shape)
    _core.log_spectrum(half, expected)
    device.module.log_spectrum(device.array(half), out, device.stream)
    found = device.values(out)
    if device.exact:
        assert np.array_equal(found, expected)
    # The same formula in float64: a different log moves the rounding to float32 at most.
    assert np.abs(found - expected).max() <= 6e-8
    assert not found[2].any()


def test_empty_batches(device: Device) -> None:
    empty = device.module.DeviceArray((0, 1, 4, 4))
    planes = device.module.DeviceArray((1, 4, 4))
    nas = device.module.DeviceArray((0, 5, 4, 4))
    half = device.module.DeviceArray((0, 1, 4, 3), "complex128")
    device.module.stack_slices(planes, 0, 0, 1, empty, nas, device.stream)
    device.module.log_spectrum(half, empty, device.stream)
    device.module.normals(1, 2, 3, 4, device.module.DeviceArray((0,)), device.stream)
    device.stream.synchronize()


class Foreign:
    """An array of another library, with a producer's side of DLPack that records the stream."""

    def __init__(self, kind: int, number: int = 0) -> None:
        self.device = (kind, number)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, stream: int | None = None) -> Any:
        return "no capsule"


def step(device: Device, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        name: device.module.DeviceArray((6,)) for name in ("r", "eps", "x0_previous", "noise")
    }
    arguments |= {"coefs": ROW, "clip": 1.0, "stream": device.stream} | changes
    device.module.reverse_step(**arguments)


def test_refused_arrays(device: Device) -> None:
    zeros = device.module.DeviceArray((12,))
    double = device.module.DeviceArray((6,), "float64")
    half = device.module.DeviceArray((6,), "float16")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"r": double}, "r: expected dtype float32, got float64"),
        ({"eps": half}, "eps: expected dtype float32, got float16"),
        ({"eps": Part(zeros, 0, (6,), typestr=">f4")}, "eps: expected dtype float32, got >f4"),
        ({"eps": Part(zeros, 0, (6,), strides=(8,))}, "eps: expected a C-contiguous array"),
        ({"eps": Part(zeros, 0, (5,))}, r"eps: expected shape \[6\], got \[5\]"),
        ({"r": Part(zeros, 0, (6,), data=(zeros.ptr + 2, False))}, "r: expected an aligned array"),
        ({"r": Part(zeros, 0, (6,), data=(zeros.ptr, True))}, "r: expected a writable array"),
        ({"r": Part(zeros, 0, (6,), mask=zeros)}, "r: expected an array without a mask"),
        ({"r": Part(zeros, 0, (6,), stream=0)}, "r: expected a stream .* not 0"),
        ({"noise": np.zeros(6, np.float32)}, "noise: expected an array on cuda:0, got .* the CPU"),
        ({"r": [0.0] * 6}, "r: expected an array on a GPU .* got list"),
        ({"r": Foreign(10)}, "r: expected an array on cuda:0, got one on device 0 of DLPack type"),
        ({"r": Foreign(2)}, "r: expected a DLPack capsule named dltensor from __dlpack__, got no"),
        ({"r": Foreign(2, 1)}, "r: expected an array on cuda:0, .* got one on cuda:1"),
        ({"noise": None}, "noise: expected an array where s is 0.2, got None"),
        ({"coefs": ROW[:5].copy()}, r"coefs: expected shape \[6\]"),
        ({"clip": 0.0}, "clip: expected a positive bound, got 0"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            step(device, **changes)
    step(device, eps=Part(zeros, 0, (6,), strides=(4,)))  # contiguous, and said so


def test_host_memory_behind_a_device_interface_is_refused(twin: Device) -> None:
    host = np.zeros(6, np.float32)
    interface = {"data": (host.ctypes.data, False)}
    fake = Part(twin.module.DeviceArray((6,)), 0, (6,), **interface)
    with pytest.raises(ValueError, match="r: expected an array on cuda:0, got one on the CPU"):
        step(twin, r=fake)


def test_refused_shapes(device: Device) -> None:
    array, stream, module = device.module.DeviceArray, device.stream, device.module
    planes, x, nas = array((4, 2, 3)), array((2, 1, 2, 3)), array((2, 5, 2, 3))
    half, out = array((1, 1, 4, 3), "complex128"), array((1, 1, 4, 4))
    r, image = array((6, 1, 2, 2)), array((2, 1, 2, 2))

    def average(count: int, used: int, sigma: float, std: Any = None, coarse: Any = image) -> Any:
        return lambda: module.average(r, coarse, image, image, std, count, used, sigma, stream)

    cases: list[tuple[Any, str]] = [
        (lambda: module.stack_slices(planes, 0, 3, 4, x, nas, stream), "first: expected 2 slices"),
        (lambda: module.stack_slices(planes, 0, 1, 2, x, nas, stream), "first: expected 2 slices"),
        (lambda: module.stack_slices(planes, 0, 0, 0, x, nas, stream), "first: expected 2 slices"),
        (lambda: module.stack_slices(planes, 2, 2, 9, x, nas, stream), r"slices 0 \.\. 5, got 2"),
        (lambda: module.stack_slices(planes, 0, 3, 9, x, nas, stream), r"slices 1 \.\. 6, got 0"),
        (lambda: module.stack_slices(planes, 0, 0, 4, x, x, stream), "nas: expected shape"),
        (lambda: module.log_spectrum(out, out, stream), "half: expected dtype complex128"),
        (lambda: module.log_spectrum(half, array((1, 1, 4, 6)), stream), "half: expected shape"),
        (lambda: module.normals(-1, 0, 0, 0, array((4,)), stream), "seed: expected 0 <= seed"),
        (lambda: module.normals(1, 2**32, 0, 0, array((4,)), stream), "slice: expected 0 <= id"),
        (
            lambda: module.normals(1, 3, 0, 0, array((4,)), stream, 1.1),
            "slice_ids: expected ids from 4",
        ),
        (lambda: module.normals(1, 9, 0, 0, array((4,)), stream, 3.5), "sigma_z: expected 0 to 3"),
        (average(-1, 1, 1.0), "count: expected the number"),
        (average(0, 4, 1.0), "used: expected 1 to 3 samples, got 4"),
        (average(0, 0, 1.0), "used: expected 1 to 3 samples, got 0"),
        (average(0, 1, 0.0), "sigma_r: expected a positive number"),
        (average(0, 1, 1.0, array((2, 1, 2, 1))), "std: expected shape"),
        (average(0, 1, 1.0, coarse=array((4, 1, 2, 2))), "r: expected a multiple of 4 images"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
