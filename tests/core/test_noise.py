"""Philox and the normals: known answers, agreement with the twin, distribution, independence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from petrt import _core
from tests.core import twin
from tests.core.draws import SEED, WORD, draw

# Known answers published with Random123 (kat_vectors, philox4x32-10).
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
KNOWN = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (PI, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_known_answers(counter, key, words) -> None:
    assert tuple(_core.philox4x32_10(counter, key)) == words
    assert tuple(twin.philox(np.array([counter], np.uint32), key)[0]) == words


@settings(deadline=None)
@given(counter=st.tuples(WORD, WORD, WORD, WORD), key=st.tuples(WORD, WORD))
def test_philox_twin(counter: tuple[int, ...], key: tuple[int, int]) -> None:
    assert _core.philox4x32_10(counter, key) == list(
        twin.philox(np.array([counter], np.uint32), key)[0]
    )


@settings(deadline=None)
@given(seed=SEED, slice_id=WORD, sample=WORD, step=WORD, n=st.integers(1, 70))
def test_normals_twin(seed: int, slice_id: int, sample: int, step: int, n: int) -> None:
    expected = twin.normals(seed, slice_id, sample, step, n)
    found = draw(seed, slice_id, sample, step, n)
    # log, square root, cosine and product, each rounded. Measured over 4e6 values: 2.4 ulp.
    assert np.all(np.abs(found - expected) <= 4 * np.spacing(np.abs(expected).astype(np.float32)))


@pytest.mark.parametrize(("slice_id", "voxel"), [(4070077160, 0), (3225343554, 2)])
def test_the_word_zero_gives_the_farthest_normal(slice_id: int, voxel: int) -> None:
    """Slices found by search whose block 0 of seed 0 holds the word 0: log must not see 0."""
    pair = draw(0, slice_id, 0, 0, 4)[voxel : voxel + 2].astype(np.float64)
    farthest = np.sqrt(66 * np.log(2))  # sqrt(-2 log 2^-33)
    assert np.hypot(*pair) == pytest.approx(farthest, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    key=st.tuples(SEED, WORD, WORD, WORD),
    which=st.integers(0, 3),
    bit=st.integers(1, 31),  # the last bit of the sample only turns the sign
)
def test_one_bit_of_a_key_changes_everything(key, which, bit):
    other = list(key)
    other[which] ^= 1 << (2 * bit if which == 0 else bit)
    n = 4096
    a, b = draw(*key, n), draw(other[0], other[1], other[2], other[3], n)
    assert np.count_nonzero(a == b) < 3
    # 6 standard errors of a correlation of independent values: one failure in 5e8 keys.
    assert abs(np.corrcoef(a, b)[0, 1]) < 6 / np.sqrt(n)


@settings(max_examples=20, deadline=None)
@given(seed=SEED, slice_id=WORD, pair=st.integers(0, 2**31 - 1), step=WORD)
def test_an_odd_sample_is_the_negative_of_the_even_one_before_it(seed, slice_id, pair, step):
    even, odd = (draw(seed, slice_id, 2 * pair + k, step, 64) for k in range(2))
    assert np.array_equal(odd, -even)


def test_moments_and_distribution() -> None:
    n = 1 << 20
    z = draw(2024, 3, 1, 4, n).astype(np.float64)
    # Standard errors of the raw moments of N(0, 1): sqrt((E z^2k - (E z^k)^2) / n).
    for k, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)]:
        assert abs(np.mean(z**k) - mean) < 5 * np.sqrt(variance / n), f"moment {k}"
    assert stats.kstest(z, "norm").pvalue > 1e-4
    assert 4.5 < np.abs(z).max() < 6.8  # 6.76 is the farthest the 32-bit uniform reaches


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_do_not_change_a_bit(threads: int) -> None:
    n = 50_001
    assert np.array_equal(draw(1, 2, 3, 4, n, threads), draw(1, 2, 3, 4, n))
