"""The runtime against the reference, and what must not change a result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import safetensors.numpy
import torch

import petrt
from petrt import _core
from petrt.diffusion import reference
from petrt.errors import DeviceError, InputError, UsageError
from petrt.export.bundle import export_model
from petrt.nets import Model
from tests.export.conftest import NETWORKS, model_spec, scrambled
from tests.model.rewritten import rewrite
from tests.models import Reconstructor, Unfolded, noisy_blob, tiny_model, tiny_spec

SHAPE = (16, 21, 5)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob(SHAPE)


@pytest.fixture(scope="module")
def two_samples(tiny_bundle) -> Reconstructor:
    return Reconstructor(tiny_bundle, preset="paper", samples=2, seed=7, threads=1)


def drawn_noise(seed: int, steps: int, samples: int, slices: int, size: tuple[int, int]):
    """What the runtime draws, as the array that it also takes."""
    noise = np.empty((steps + 1, samples, slices, 1, *size), np.float32)
    for step, sample, z in np.ndindex(noise.shape[:3]):
        plane = np.empty(size[0] * size[1], np.float32)
        _core.normals(seed, z, sample, step, plane)
        noise[step, sample, z, 0] = plane.reshape(size)
    return noise


def plain(
    volume: np.ndarray, scale: float, noise: np.ndarray, model: Model | None = None
) -> list[np.ndarray]:
    """Image, std and coarse prediction by the reference, of the unfolded networks in float64."""
    spec, (height, width) = tiny_spec(), noise.shape[-2:]
    top, left = (height - SHAPE[0]) // 2, (width - SHAPE[1]) // 2
    inside = np.s_[:, top : top + SHAPE[0], left : left + SHAPE[1]]
    padded = np.zeros((SHAPE[2], height, width))
    padded[inside] = volume.transpose(2, 0, 1) / scale
    beta = np.linspace(1e-6, 0.5, 10)
    drawn = noise[:, :, :, 0].astype(np.float64)
    options = {"sigma_r": spec.sigma_r, "clip": spec.clip}
    found = reference.reconstruct(padded, Unfolded(model or tiny_model()), beta, drawn, **options)
    return [each[inside].transpose(1, 2, 0) * scale for each in found]


def test_equals_the_plain_loop_of_the_unfolded_networks(two_samples, volume):
    noise = np.random.default_rng(0).standard_normal((11, 2, 5, 1, 16, 24)).astype(np.float32)
    result = two_samples(volume, noise=noise)
    scale = result.stats["frames"][0]["scale"]
    image, std, coarse = plain(volume, scale, noise)
    atol = 2e-5 * scale  # measured: 3e-6
    np.testing.assert_allclose(result.coarse, coarse, atol=atol)
    np.testing.assert_allclose(result.image, image, atol=atol)
    np.testing.assert_allclose(result.std, std, atol=atol)


def test_a_coarse_network_may_read_the_neighbouring_slices(volume, tmp_path):
    network = NETWORKS["coarse of neighbours"]
    spec = tiny_spec().model_copy(update={"network": network})
    export_model(scrambled(network), spec, tmp_path / "bundle")
    noise = np.random.default_rng(0).standard_normal((11, 1, 5, 1, 16, 24)).astype(np.float32)
    run = Reconstructor(tmp_path / "bundle", preset="paper", samples=1)
    result = run(volume, noise=noise)
    scale = result.stats["frames"][0]["scale"]
    image, _, coarse = plain(volume, scale, noise, scrambled(network))
    atol = 2e-5 * np.abs(coarse).max()
    np.testing.assert_allclose(result.coarse, coarse, atol=atol)
    np.testing.assert_allclose(result.image, image, atol=atol)


def test_noise_given_is_noise_drawn(two_samples, volume):
    drawn = two_samples(volume)
    given = two_samples(volume, noise=drawn_noise(7, 10, 2, 5, (16, 24)))
    np.testing.assert_array_equal(given.image, drawn.image)
    np.testing.assert_array_equal(given.std, drawn.std)


@pytest.mark.parametrize(
    "change",
    [
        {"batch": (1, 1)},
        {"batch": (2, 2)},
        {"batch": (5, 3)},
        {"threads": 3},
        {"threads": 5, "batch": (2, 3)},
    ],
    ids=str,
)
def test_batch_and_threads_change_no_bit(tiny_bundle, volume, change):
    usual = {"preset": "paper", "samples": 3, "seed": 1, "threads": 1}
    plain_run = Reconstructor(tiny_bundle, **usual)(volume)
    other = Reconstructor(tiny_bundle, **usual | change)(volume)
    for part in ("image", "std", "coarse"):
        np.testing.assert_array_equal(getattr(other, part), getattr(plain_run, part))


def test_seed_changes_the_samples_and_nothing_else(tiny_bundle, two_samples, volume):
    other = Reconstructor(tiny_bundle, preset="paper", samples=2, seed=8, threads=1)(volume)
    same = two_samples(volume)
    assert not np.array_equal(other.image, same.image)
    np.testing.assert_array_equal(other.coarse, same.coarse)
    np.testing.assert_array_equal(two_samples(volume).image, same.image)


def test_single_samples_make_up_the_mean(tiny_bundle, volume):
    noise = drawn_noise(0, 10, 3, 5, (16, 24))
    single = Reconstructor(tiny_bundle, preset="paper", samples=1, threads=1)
    images = [single(volume, noise=noise[:, n : n + 1]).image for n in range(3)]
    result = Reconstructor(tiny_bundle, preset="paper", samples=3, threads=1)(volume)
    np.testing.assert_allclose(result.image, np.mean(images, axis=0), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(result.std, np.std(images, axis=0, ddof=1), rtol=1e-3, atol=1e-2)
    assert single(volume).std is None


def test_units_pass_through(two_samples, volume):
    one, kilo = two_samples(volume), two_samples(volume * np.float32(1024))
    np.testing.assert_array_equal(kilo.image, one.image * np.float32(1024))


@pytest.mark.parametrize(
    ("sampler", "steps"), [("ddpm", 9), ("ddim", 5), ("dpmpp2m", 3), ("mean", None), ("ddpm", 1)]
)
def test_every_sampler_runs(tiny_bundle, volume, sampler, steps):
    result = Reconstructor(tiny_bundle, sampler=sampler, steps=steps, threads=1)(volume)
    assert np.isfinite(result.image).all()
    assert result.image.min() >= 0
    assert result.stats["sampler"] == {"kind": sampler, "steps": steps or 1}


def test_frames_are_reconstructed_one_by_one(two_samples, volume):
    series = np.stack([volume, volume * 2], axis=-1)
    result = two_samples(series)
    assert result.image.shape == series.shape
    np.testing.assert_array_equal(result.image[..., 0], two_samples(volume).image)
    # The second frame draws noise of its own.
    assert not np.array_equal(result.image[..., 1], 2 * result.image[..., 0])
    np.testing.assert_allclose(result.coarse[..., 1], 2 * result.coarse[..., 0], rtol=1e-6)


def test_same_kind_out(two_samples, volume, tmp_path):
    expected = two_samples(volume, voxel_mm=(2.0, 2.0, 2.0)).image
    tensor = two_samples(torch.from_numpy(volume), voxel_mm=(2.0, 2.0, 2.0)).image
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), expected)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image = nibabel.Nifti1Image(volume, affine)
    for source in (image, tmp_path / "pet.nii.gz", str(tmp_path / "pet.nii.gz")):
        image.to_filename(tmp_path / "pet.nii.gz")
        result = two_samples(source).image
        assert isinstance(result, nibabel.Nifti1Image)
        np.testing.assert_array_equal(np.asarray(result.dataobj), expected)
        np.testing.assert_array_equal(result.affine, affine)


def test_flipped_volume_gives_the_flipped_result(two_samples, volume):
    """A volume stored the other way round is the same volume."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    straight = two_samples(volume, affine=affine).image
    flip = affine.copy()
    flip[0, 0], flip[0, 3] = -2.0, 2.0 * (SHAPE[0] - 1)
    flipped = two_samples(np.ascontiguousarray(volume[::-1]), affine=flip).image
    np.testing.assert_array_equal(flipped[::-1], straight)


def test_the_callers_array_stays_as_it_is(two_samples, volume):
    given = volume.copy()
    given.flat[7] = np.nan
    before = given.copy()
    result = two_samples(given, nonfinite="zero")
    np.testing.assert_array_equal(given, before)
    assert result.stats["voxels"]["replaced"] == 1
    assert not np.shares_memory(result.image, given)
    constant = np.full_like(volume, 2.0)
    assert not np.shares_memory(two_samples(constant).image, constant)


@pytest.mark.parametrize("value", [0.0, 12.5])
def test_constant_volume_is_returned_unchanged(two_samples, value):
    result = two_samples(np.full(SHAPE, value, np.float32))
    np.testing.assert_array_equal(result.image, np.full(SHAPE, value, np.float32))
    assert any("unchanged" in warning for warning in result.stats["warnings"])
    json.dumps(result.stats, allow_nan=False)


def test_stats_say_what_was_done(two_samples, volume):
    stats = two_samples(volume).stats
    frame = stats["frames"][0]
    result = two_samples(volume).image
    assert frame["activity_ratio"] == pytest.approx(result.sum() / volume.sum(), rel=1e-5)
    assert (stats["seed"], stats["samples"], stats["device"]) == (7, 2, "cpu")
    assert stats["label"] == "not for diagnostic use"
    assert len(stats["model"]["sha256"]) == 64
    json.dumps(stats, allow_nan=False)


def test_progress_counts_slices(two_samples, volume):
    calls: list[tuple[int, int]] = []
    two_samples(volume, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n, 5) for n in range(1, 6)]


def test_nan_weights_are_found_out(tiny_bundle, tmp_path, volume):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    weights = safetensors.numpy.load_file(bundle / "denoiser.safetensors")
    next(iter(weights.values())).flat[0] = np.nan
    rewrite(bundle, "denoiser.safetensors", safetensors.numpy.save(weights))
    with pytest.raises(DeviceError, match="non-finite output"):
        Reconstructor(bundle, threads=1)(volume)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda r, v: r(v[:, :, 0]), InputError, r"\(16, 21\)"),
        (lambda r, v: r(v[None, None]), InputError, "expected"),
        (lambda r, v: r(v.astype(np.complex64)), InputError, "complex64"),
        (lambda r, v: r([1, 2, 3]), InputError, "list"),
        (lambda r, v: r(v * np.nan), InputError, "NaN"),
        (lambda r, v: r(v[:4]), InputError, "8"),
        (lambda r, v: r(v, affine=np.zeros((4, 4))), InputError, "affine"),
        (lambda r, v: r(v, affine=np.eye(4), voxel_mm=(1, 1, 1)), UsageError, "both"),
        (lambda r, v: r(v, voxel_mm=(0, 1, 1)), InputError, "voxel_mm"),
        (lambda r, v: r(v, noise=np.zeros((3, 2), np.float32)), UsageError, "noise"),
    ],
)
def test_unfit_volumes_are_refused(two_samples, volume, call, error, says):
    with pytest.raises(error, match=says):
        call(two_samples, volume)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"samples": 0}, UsageError),
        ({"seed": -1}, UsageError),
        ({"sampler": "euler"}, UsageError),
        ({"steps": 0}, UsageError),
        ({"sampler": "mean", "steps": 3}, UsageError),
        ({"engine": "abacus"}, UsageError),
        ({"device": "cuda"}, DeviceError),
        ({"threads": 0}, UsageError),
    ],
    ids=str,
)
def test_bad_options_are_refused(tiny_bundle, options, error):
    with pytest.raises(error):
        Reconstructor(tiny_bundle, **options)


def test_reconstruct_writes_and_refuses_to_overwrite(tiny_bundle, volume, tmp_path):
    source, out = tmp_path / "low.nii.gz", tmp_path / "out.nii.gz"
    nibabel.Nifti1Image(volume, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(source)
    options = {"model": tiny_bundle, "threads": 1, "allow_activity_change": True}
    image = petrt.reconstruct(source, out, **options)
    np.testing.assert_array_equal(nibabel.load(out).get_fdata(), image.get_fdata())
    with pytest.raises(UsageError, match="exists"):
        petrt.reconstruct(source, out, model=tiny_bundle)
    with pytest.raises(UsageError):
        petrt.reconstruct(source, source, model=tiny_bundle)


@pytest.mark.parametrize("kind", [k for k in NETWORKS if k != "four neighbours"])
def test_every_kind_of_network_runs(tmp_path, volume, kind):
    """Without guides, without a coarse network, without a denoiser: each is a model."""
    network = NETWORKS[kind]
    export_model(scrambled(network), model_spec(network), tmp_path / "bundle")
    drawn = {} if network.denoiser is None else {"samples": 2, "steps": 2}
    run = Reconstructor(tmp_path / "bundle", threads=1, **drawn)
    result = run(volume)
    assert result.image.shape == SHAPE
    assert result.image.min() >= 0
    assert (result.std is not None) == (network.denoiser is not None)
    assert bool(np.any(result.coarse)) == (network.coarse is not None)
    if network.denoiser is not None:
        assert result.std.max() > 0
    else:
        np.testing.assert_array_equal(result.image, np.maximum(result.coarse, 0))


def test_other_neighbours_than_the_runtime_stacks_are_refused(tmp_path):
    network = NETWORKS["four neighbours"]
    export_model(scrambled(network), model_spec(network), tmp_path / "bundle")
    with pytest.raises(InputError, match="neighbouring slices"):
        Reconstructor(tmp_path / "bundle")
