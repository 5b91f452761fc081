"""Options of the Python interface: any kind of number, and a PetrtError for what is none."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import petrt
from petrt.errors import InputError, PetrtError, UsageError
from tests.models import Reconstructor, noisy_blob

JUNK: list[Any] = ["x", b"8", float("nan"), float("inf"), -1, 10**40, object(), [], {}, 2.5, 1j]
SHAPE = (16, 24, 3)


@pytest.fixture(scope="module")
def run(tiny_bundle) -> Reconstructor:
    return Reconstructor(tiny_bundle, samples=2, steps=1, threads=1)


def test_numbers_of_any_kind_are_the_same_numbers(tiny_bundle, run):
    kinds = {"samples": 2.0, "steps": np.int64(1), "threads": np.array(1), "seed": Fraction(0)}
    kinds |= {"memory": 64e9, "batch": np.array([1, 2]), "skip_background": np.True_}
    found = Reconstructor(tiny_bundle, **kinds)
    assert (found.samples, found.sampler.steps, found.seed) == (2, 1, 0)
    volume = noisy_blob(SHAPE)
    np.testing.assert_array_equal(found(volume).image, run(volume).image)


@pytest.mark.parametrize("junk", range(len(JUNK)))
@pytest.mark.parametrize(
    "option", ["samples", "steps", "seed", "threads", "memory", "batch", "skip_background"]
)
def test_options_that_are_no_numbers_are_refused(tiny_bundle, option, junk):
    if (option, JUNK[junk]) in (("memory", 2.5), ("memory", 10**40)):
        return
    with pytest.raises(UsageError, match=option):
        Reconstructor(tiny_bundle, **{option: JUNK[junk]})


@pytest.mark.parametrize(
    "junk", [0, 2.5, b"cpu", [], object()], ids=lambda junk: type(junk).__name__
)
@pytest.mark.parametrize(
    "option",
    ["model", "preset", "sampler", "engine", "device", "precision", "allow_activity_change"],
)
def test_options_that_are_no_words_are_refused(tiny_bundle, option, junk):
    with pytest.raises(UsageError, match=option):
        Reconstructor(**{"model": tiny_bundle, option: junk})


@pytest.mark.parametrize("junk", range(len(JUNK)))
@pytest.mark.parametrize("option", ["dose", "voxel_mm", "affine", "noise", "nonfinite", "progress"])
def test_arguments_of_a_call_that_are_none_are_refused(run, option, junk):
    with pytest.raises((UsageError, InputError), match=option.split("_")[0]):
        run(noisy_blob(SHAPE), **{option: JUNK[junk]})


@pytest.mark.parametrize(
    "sizes", [(0, 2, 2), (2, 2), 2.0, (2, 2, np.nan), ("2", "2", "2"), (2, 2, -2)]
)
def test_sizes_that_are_none_are_refused(run, sizes):
    with pytest.raises(InputError, match="voxel_mm"):
        run(noisy_blob(SHAPE), voxel_mm=sizes)


@pytest.mark.parametrize(
    "affine", [np.eye(3), [[1, 2], [3]], np.zeros((4, 4)), np.full((4, 4), np.nan)]
)
def test_affines_that_are_none_are_refused(run, affine):
    with pytest.raises(InputError, match="affine"):
        run(noisy_blob(SHAPE), affine=affine)


def test_noise_must_be_finite_and_real(run):
    noise = np.zeros((2, 2, 3, 1, 16, 24))
    run(noisy_blob(SHAPE), noise=noise)
    noise[0, 0, 0, 0, 0, 0] = np.nan
    for wrong in (noise, noise.astype(complex), np.ma.masked_invalid(noise)):
        with pytest.raises(PetrtError, match="noise"):
            run(noisy_blob(SHAPE), noise=wrong)


@pytest.mark.parametrize("every", [0, -1, 1.5, "2", None])
def test_every_is_a_whole_number(run, every):
    with pytest.raises(UsageError, match="every"):
        run.on_grid(np.zeros(SHAPE, np.float32), every=every)


def test_on_grid_refuses_what_is_no_volume(run):
    with pytest.raises(InputError, match=r"\[Z, H, W\]"):
        run.on_grid(np.zeros((16, 16), np.float32))
    with pytest.raises(InputError, match="its mask hides"):
        run.on_grid(np.ma.masked_less(np.zeros(SHAPE, np.float32), 1))


def test_reconstruct_takes_a_dose_as_a_quotient(dose_bundle):
    volume = noisy_blob(SHAPE)
    options = {"model": dose_bundle, "steps": 1, "threads": 1, "allow_activity_change": True}
    np.testing.assert_array_equal(
        petrt.reconstruct(volume, dose="1/20", **options),
        petrt.reconstruct(volume, dose=0.05, **options),
    )
    for wrong in ("1/0", "twenty", "0"):
        with pytest.raises(UsageError, match="dose"):
            petrt.reconstruct(volume, dose=wrong, **options)
