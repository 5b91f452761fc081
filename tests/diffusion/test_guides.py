"""Neighbouring slices and spectrum against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.diffusion import reference
from petrt.diffusion.guides import neighbours, spectrum


def test_neighbours_and_their_edges():
    volume = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 2, 3), np.float32)
    out = neighbours(volume, 0, np.empty((6, 5, 2, 3), np.float32))
    # A missing neighbour is the centre slice.
    expected = [
        [0, 0, 0, 1, 2],
        [1, 0, 1, 2, 3],
        [0, 1, 2, 3, 4],
        [1, 2, 3, 4, 5],
        [2, 3, 4, 5, 4],
        [3, 4, 5, 5, 5],
    ]
    np.testing.assert_array_equal(out[:, :, 0, 0], expected)
    for z in range(6):
        np.testing.assert_array_equal(reference.neighbours(volume, z)[0], out[z])


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (9, 8), (8, 9), (7, 5), (1, 6), (6, 1)])
def test_spectrum_is_that_of_the_reference(size):
    x = np.random.default_rng(0).random((3, 1, *size)).astype(np.float32)
    result = spectrum(x, threads=2)
    for image, got in zip(x.astype(np.float64), result, strict=True):
        np.testing.assert_allclose(got, reference.spectrum(image[None])[0], atol=2e-6)
    assert result.dtype == np.float32
    assert result.min() == 0
    assert result.max() == 1


def test_spectrum_of_an_empty_slice_is_zero_and_of_a_constant_one_is_a_peak():
    assert not spectrum(np.zeros((1, 1, 8, 8), np.float32)).any()
    peak = spectrum(np.full((1, 1, 8, 8), 3, np.float32))[0, 0]
    assert peak[4, 4] == 1
    assert np.count_nonzero(peak) == 1


def test_spectrum_does_not_depend_on_scale_or_threads():
    x = np.random.default_rng(1).random((4, 1, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(spectrum(1000 * x), spectrum(x), atol=1e-5)
    np.testing.assert_array_equal(spectrum(x, 1), spectrum(x, 3))
