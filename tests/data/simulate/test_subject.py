"""One subject: a function of seed, number, dose and grid alone; images that make sense together."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from petrt.data.simulate import DOSES, Subject, simulate_subject
from petrt.data.simulate.subject import _stream
from petrt.errors import UsageError

GRID = {"shape": (48, 44, 20), "voxel_mm": 5.0}

DIGEST = """
import hashlib
from petrt.data.simulate import simulate_subject
s = simulate_subject(5, 2, doses=(100, 4), shape=(48, 44, 20), voxel_mm=5.0)
print(hashlib.sha256(b"".join(v.tobytes() for v in (s.full, s.low[4], s.low[100], s.labels)))
      .hexdigest())
"""


@pytest.fixture(scope="module")
def subject() -> Subject:
    return simulate_subject(5, 2, doses=(100, 4), **GRID)


def psnr(image: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    mask = reference > 0.05 * reference.max()
    return float(10 * np.log10(reference.max() ** 2 / np.mean((image - reference)[mask] ** 2)))


def test_a_dose_does_not_depend_on_the_others(subject: Subject) -> None:
    alone = simulate_subject(5, 2, doses=(100,), **GRID)
    assert np.array_equal(alone.low[100], subject.low[100])
    assert np.array_equal(alone.full, subject.full)
    assert np.array_equal(alone.labels, subject.labels)


GOLDEN = {
    "full": (14324.977539, 15853.157227, 14778.033203, 21467739.262),
    20: (14114.741211, 16019.254883, 14662.698242, 21459245.828),
    100: (14150.890625, 15388.029297, 14793.708008, 21483038.399),
    "truth": (13883.889648, 15999.926758, 14953.814453, 21481852.375),
    "activity": (10202.418945, 18018.181641, 24169.609375, 21509840.458),
}
"""Three voxels and the sum of each volume, as the first release of the simulation gave them."""


def test_the_basic_simulation_stays_what_it_was() -> None:
    # Shipped models, their numbers and the demo rest on it. SciPy and the CPU may change the last bits.
    subject = simulate_subject(11, 3, doses=(20, 100), shape=(24, 24, 6), voxel_mm=10.0)
    for key, (*voxels, total) in GOLDEN.items():
        volume = subject.low[key] if isinstance(key, int) else getattr(subject, key)
        found = [volume[at] for at in ((12, 12, 3), (8, 14, 2), (15, 9, 4))]
        assert found == pytest.approx(voxels, rel=2e-6), key
        assert volume.sum(dtype=np.float64) == pytest.approx(total, rel=1e-6), key
    assert np.bincount(subject.labels.ravel()).tolist() == [1886, 705, 445, 172, 245, 3]
    assert subject.drawn is None


def test_doses_share_no_random_numbers() -> None:
    first = [_stream(np.random.SeedSequence([5, 2]), dose).random() for dose in (1, *DOSES)]
    again = [_stream(np.random.SeedSequence([5, 2]), dose).random() for dose in (1, *DOSES)]
    assert len(set(first)) == 1 + len(DOSES)
    assert first == again


@pytest.mark.parametrize("threads", ["1", "3"])
def test_other_processes_and_thread_counts_give_the_same_bits(subject, threads):
    volumes = (subject.full, subject.low[4], subject.low[100], subject.labels)
    here = hashlib.sha256(b"".join(v.tobytes() for v in volumes)).hexdigest()
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, threads)
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == here


def test_total_activity_is_preserved() -> None:
    # A slab through the brain, wide enough that nothing lies outside the field of view.
    subject = simulate_subject(1, 0, doses=(4, 20, 100), shape=(60, 60, 12), voxel_mm=5.0)
    for image in (subject.truth, subject.full, *subject.low.values()):
        assert image.sum() == pytest.approx(subject.activity.sum(), rel=0.01)


def test_images_get_worse_with_less_dose_and_smoothing_helps() -> None:
    subject = simulate_subject(1, 0, doses=(20, 100), shape=(112, 112, 8), voxel_mm=2.0)
    low, some, full = (
        psnr(v, subject.truth) for v in (subject.low[100], subject.low[20], subject.full)
    )
    assert low + 4 < some < full - 4
    # The region in which denoising is of use: strong noise, and a Gaussian helps by some dB.
    assert 19 < psnr(subject.low[100], subject.full) < 27
    smooth = psnr(ndimage.gaussian_filter(subject.low[100], 1.2), subject.truth)
    assert low + 2 < smooth < full - 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"doses": (3,)}, "a reduction of 3 is not simulated; choose from 4, 10, 20, 50, 100"),
        ({"doses": (100, 0)}, "a reduction of 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"subject": -1}, "subject is -1"),
        ({"shape": (8, 64, 64)}, "8 x 64 x 64"),
        ({"shape": (64, 64, 0)}, "64 x 64 x 0"),
        ({"shape": (64, 64)}, "64 x 64 voxels"),
        ({"shape": (64, 64, 513)}, "513"),
        ({"voxel_mm": 0.0}, "voxel size is 0.0"),
        ({"voxel_mm": float("nan")}, "voxel size is nan"),
    ],
)
def test_impossible_requests_are_refused(change: dict, words: str) -> None:
    request = {"seed": 0, "subject": 0, **GRID, **change}
    with pytest.raises(UsageError, match=words):
        simulate_subject(**request)
