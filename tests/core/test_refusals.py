"""What does not fit is refused with what was expected and what came."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from petrt import _core

smooth, stack, spectrum = _core.smooth_axis, _core.stack_slices, _core.log_spectrum
ROW = np.array([1.1, 0.4, 0.5, 0.4, 0.1, 0.2])


def f32(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def misaligned(n: int) -> np.ndarray:
    return np.zeros(4 * n + 1, np.uint8)[1:].view(np.float32)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def loop(**changes: object) -> _core.ReverseLoop:
    sizes = {"slices": 2, "samples": 3, "height": 4, "width": 5}
    coefs = np.array([[1.1, 0.4, 0.5, 0.4, 0.0, 0.2], ROW])
    settings: dict = {"coefs": coefs, "clip": 1.0, "film": f32(2, 3), **sizes}
    return _core.ReverseLoop(**(settings | changes))


def step(**changes: object) -> None:
    arguments: dict = {name: f32(6) for name in ("r", "eps", "x0_previous", "noise")}
    _core.reverse_step(**(arguments | {"coefs": ROW, "clip": 1.0} | changes))


def run(**changes: object) -> None:
    arguments: dict = {"enqueue": lambda: None, "seed": 1, "slice_ids": np.arange(2)}
    loop().run(**(arguments | changes))


CASES: list[tuple[Callable[[], object], str]] = [
    # dtype, layout, alignment, writability, shape
    (lambda: step(r=np.zeros(6)), "r: expected dtype float32, got float64"),
    (lambda: step(eps=f32(6).astype(">f4")), "eps: expected dtype float32, got >f4"),
    (lambda: step(eps=f32(12)[::2]), "eps: expected a C-contiguous array"),
    (lambda: step(eps=misaligned(6)), "eps: expected an aligned array"),
    (lambda: step(r=read_only(f32(6))), "r: expected a writable array"),
    (lambda: step(eps=f32(5)), "eps: expected shape [6], got [5]"),
    (lambda: step(noise=f32(2, 3)), "noise: expected shape [6], got [2, 3]"),
    (lambda: step(noise=None), "noise: expected an array where s is 0.2, got None"),
    (lambda: step(coefs=ROW[:5].copy()), "coefs: expected shape [6], got [5]"),
    (lambda: step(coefs=ROW.astype("f4")), "coefs: expected dtype float64, got float32"),
    (lambda: step(clip=0.0), "clip: expected a positive bound, got 0"),
    (lambda: step(clip=np.nan), "clip: expected a positive bound, got nan"),
    (lambda: step(threads=0), "threads: expected at least 1, got 0"),
    # smooth_axis
    (lambda: smooth(f32(2, 3, 4), np.ones(2), f32(2, 3, 5)), "out: expected shape [2, 3, 4]"),
    (lambda: smooth(f32(2, 0, 4), np.ones(2), f32(2, 0, 4)), "volume: expected at least one voxel"),
    (lambda: smooth(f32(2, 3, 4), np.ones(0), f32(2, 3, 4)), "weights: expected at least"),
    # stack_slices
    (lambda: stack(f32(4, 8), 0, f32(1, 5, 4, 8)), "volume: expected shape [Z, H, W], got [4, 8]"),
    (lambda: stack(f32(3, 4, 8), 0, f32(1, 4, 4, 8)), "out: expected shape [1, 5, 4, 8], got"),
    (lambda: stack(f32(3, 4, 8), 2, f32(2, 5, 4, 8)), "first: expected 2 slices within the 3"),
    (lambda: stack(f32(3, 4, 8), -1, f32(1, 5, 4, 8)), "got first = -1"),
    # the words of the noise counter: folding a wider id would repeat another slice's noise
    (lambda: _core.normals(-1, 0, 0, 0, f32(4)), "seed: expected 0 <= seed < 2^64, got -1"),
    (lambda: _core.normals(2**64, 0, 0, 0, f32(4)), "seed: expected 0 <= seed < 2^64"),
    (lambda: _core.normals(1, -1, 0, 0, f32(4)), "slice: expected 0 <= id < 2^32, got -1"),
    (lambda: _core.normals(1, 2**32, 0, 0, f32(4)), "slice: expected 0 <= id < 2^32"),
    (lambda: _core.normals(1, 0, -1, 0, f32(4)), "sample: expected 0 <= id < 2^32, got -1"),
    (lambda: _core.normals(1, 0, 0, -1, f32(4)), "step: expected 0 <= id < 2^32, got -1"),
    # log_spectrum
    (lambda: spectrum(np.zeros((1, 1, 4, 3), "c8"), f32(1, 1, 4, 4)), "dtype complex128, got"),
    (lambda: spectrum(np.zeros((1, 1, 4, 4), "c16"), f32(1, 1, 4, 4)), "shape [1, 1, 4, 3], got"),
    (lambda: spectrum(np.zeros((1, 1, 4, 1), "c16"), f32(1, 1, 4, 0)), "at least 1 x 1, got 4 x 0"),
    # ReverseLoop
    (lambda: loop(coefs=np.zeros((0, 6)), film=f32(0, 3)), "coefs: expected at least 1 step"),
    (lambda: loop(coefs=np.zeros((2, 5))), "coefs: expected shape [2, 6], got [2, 5]"),
    (lambda: loop(coefs=np.stack([ROW, ROW])), "coefs: step 1 has no previous x0"),
    (lambda: loop(coefs=np.full((2, 6), 1e39)), "coefs: expected finite float32 values"),
    (lambda: loop(film=f32(3, 3)), "film: expected shape [2, 3], got [3, 3]"),
    (lambda: loop(film=f32(2, 0)), "film: expected shape [2, 1], got [2, 0]"),
    (lambda: loop(film=np.full((2, 3), np.nan, "f4")), "film: expected finite values"),
    (lambda: loop(clip=-1.0), "clip: expected a positive bound, got -1"),
    (lambda: loop(samples=0), "expected each at least 1, got 2, 0, 4, 5"),
    (lambda: loop(slices=-1), "expected each at least 1, got -1, 3, 4, 5"),
    (lambda: loop(threads=0), "threads: expected at least 1, got 0"),
    (lambda: run(slice_ids=np.arange(3)), "slice_ids: expected 2 ids, got 3"),
    (lambda: run(slice_ids=np.array([0, -1])), "slice_ids: expected 0 <= id < 2^32, got -1"),
    (lambda: run(slice_ids=np.array([0, 2**32])), "slice_ids: expected 0 <= id < 2^32"),
    (lambda: run(slice_ids=np.arange(2, dtype=np.int32)), "slice_ids: expected dtype int64, got"),
    (lambda: run(first_sample=-1), "first_sample: expected 0 <= id < 2^32, got -1"),
    (lambda: run(first_sample=2**32 - 2), "first_sample: expected sample numbers below 2^32"),
    (lambda: run(noise=f32(2, 2, 3, 1, 4, 5)), "noise: expected shape [3, 2, 3, 1, 4, 5], got"),
    (lambda: run(noise=f32(3, 6, 1, 4, 5)), "noise: expected shape [steps + 1, slices, samples"),
    (lambda: loop().accumulate(f32(6, 1, 4, 5), 1.0), "coarse: expected shape [2, 1, 4, 5], got"),
    (lambda: loop().accumulate(f32(2, 1, 4, 5), 0.0), "sigma_r: expected a positive number"),
    (lambda: loop().accumulate(f32(2, 1, 4, 5), np.inf), "sigma_r: expected a positive number"),
    (lambda: loop().finish(f32(2, 1, 4, 5)), "finish: expected accumulated samples, got none"),
]


@pytest.mark.parametrize(("call", "message"), CASES, ids=[message for _, message in CASES])
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_finish_shapes() -> None:
    filled = loop()
    filled.accumulate(f32(2, 1, 4, 5), 1.0)
    with pytest.raises(ValueError, match=re.escape("mean: expected shape [2, 1, 4, 5], got")):
        filled.finish(f32(2, 1, 5, 4))
    with pytest.raises(ValueError, match=re.escape("std: expected shape [2, 1, 4, 5], got")):
        filled.finish(f32(2, 1, 4, 5), f32(1, 1, 4, 5))


@pytest.mark.parametrize("seed", [1.0, "1", None])
def test_a_seed_is_an_integer(seed: object) -> None:
    with pytest.raises(TypeError, match="integer"):
        _core.normals(seed, 0, 0, 0, f32(4))  # type: ignore[arg-type]


def test_numpy_integers_are_seeds() -> None:
    a, b = f32(4), f32(4)
    _core.normals(np.uint64(2**64 - 1), 0, 0, 0, a)
    _core.normals(2**64 - 1, 0, 0, 0, b)
    assert np.array_equal(a, b)
