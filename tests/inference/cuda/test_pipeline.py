"""A volume through the device pipeline: the bits of the CPU's, however it is cut and launched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from petrt.errors import DeviceError
from petrt.export.bundle import export_model
from petrt.inference.cuda.launches import Launches
from petrt.inference.cuda.transfer import Transfer
from petrt.model.bundle import load_bundle
from tests.export.conftest import NETWORKS, model_spec, scrambled
from tests.inference.cuda.conftest import QueuedEngine
from tests.inference.cuda.twins import Reconstructor, equal, on_cpu
from tests.models import noisy_blob

SHAPE = (16, 24, 9)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob(SHAPE)


@pytest.mark.parametrize(
    "options",
    [
        {"samples": 1},
        {"samples": 3},
        {"samples": 3, "batch": (2, 3)},  # the last of five batches overlaps the fourth
        {"samples": 3, "batch": (4, 2)},  # two chunks, one sample drawn and left out
        {"samples": 5, "batch": (9, 3)},
        {"samples": 2, "batch": (1, 1)},
    ],
)
def test_equals_the_cpu(engine, bundle, volume, options):
    reconstructor = Reconstructor(bundle, engine=engine, seed=7, **options)
    expected = on_cpu(bundle, volume, options["samples"])
    for _ in range(4):  # plain, timed, recorded, chosen
        equal(reconstructor(volume), expected)


@pytest.mark.parametrize("batch", [(2, 3), (4, 2)])
def test_the_samples_themselves_are_those_of_the_cpu(engine, bundle, volume, batch):
    labels = (volume > np.median(volume)).astype(np.uint8)
    reconstructor = Reconstructor(bundle, engine=engine, samples=3, seed=7, batch=batch)
    expected = on_cpu(bundle, volume, 3, regions=labels)
    without = reconstructor(volume)  # another worker, without room for the samples
    for _ in range(4):
        found = reconstructor(volume, regions=labels)
        equal(found, expected)
        for one, other in zip(found.measured.drawn, expected.measured.drawn, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)
    equal(without, found)


def test_given_noise_is_used_as_on_the_cpu(engine, bundle, volume):
    noise = np.random.default_rng(0).standard_normal((11, 4, 9, 1, 16, 24), np.float32)
    found = Reconstructor(bundle, engine=engine, samples=4, seed=7, batch=(4, 3))(
        volume, noise=noise
    )
    equal(found, on_cpu(bundle, volume, 4, noise=noise))


@pytest.mark.parametrize(
    ("samples", "parts"), [(1, {"mean", "coarse"}), (2, {"mean", "std", "coarse"})]
)
def test_no_spread_of_a_single_sample_comes_back(
    engine, bundle, volume, monkeypatch, samples, parts
):
    fetched: set[str] = set()
    fetch = Transfer.fetch

    def note(self: Transfer, results: Any) -> None:
        fetched.update(results)
        fetch(self, results)

    monkeypatch.setattr(Transfer, "fetch", note)
    result = Reconstructor(bundle, engine=engine, samples=samples)(volume)
    assert fetched == parts
    assert (result.std is None) == (samples == 1)


def test_a_new_seed_in_a_recorded_graph(engine, bundle, volume):
    reconstructor = Reconstructor(bundle, engine=engine, samples=2, seed=7, batch=(2, 2))
    reconstructor(volume)  # five batches: the graph is recorded within them
    first = reconstructor(volume)
    assert first.stats["launches"]["reason"].startswith("graph ")
    reconstructor.seed = 8
    second = reconstructor(volume)
    assert not np.array_equal(first.image, second.image)
    reconstructor.seed = 7
    equal(reconstructor(volume), first)


def test_a_new_dose_in_a_recorded_graph(dose_bundle, cuda, volume):
    bundle = load_bundle(dose_bundle)
    engine = QueuedEngine(bundle, cuda)
    reconstructor = Reconstructor(bundle, engine=engine, samples=2, seed=7, batch=(2, 2))
    for dose in (0.25, 0.01, 0.25):  # five batches each: recorded within the first volume
        found = reconstructor(volume, dose=dose)
        equal(found, on_cpu(bundle, volume, 2, dose=dose))
    assert found.stats["launches"]["reason"].startswith("graph ")


def test_frames_and_sizes_follow_each_other(engine, bundle, volume):
    reconstructor = Reconstructor(bundle, engine=engine, samples=2, seed=7, batch=(4, 2))
    frames = np.stack([volume, 2 * volume[::-1]], axis=-1)
    equal(reconstructor(frames), on_cpu(bundle, frames, 2))
    equal(reconstructor(volume[:, :, :3]), on_cpu(bundle, volume[:, :, :3], 2))
    wide = np.tile(volume, (2, 1, 1))
    equal(reconstructor(wide), on_cpu(bundle, wide, 2))


def test_progress_counts_every_slice_once(engine, bundle, volume):
    seen: list[tuple[int, int]] = []
    Reconstructor(bundle, engine=engine, batch=(2, 1))(
        volume, progress=lambda *done: seen.append(done)
    )
    assert seen[-1] == (9, 9)
    assert seen == sorted(seen)


def test_an_engine_that_cannot_be_recorded_runs_plain(engine, bundle, volume):
    engine.capturable = False
    reconstructor = Reconstructor(bundle, engine=engine, samples=2, seed=7, batch=(2, 2))
    for _ in range(2):
        result = reconstructor(volume)
    equal(result, on_cpu(bundle, volume, 2))
    assert result.stats["launches"] == {"mode": "plain", "reason": "the engine cannot be recorded"}


def test_a_refused_recording_leaves_plain_launches_and_says_why(
    engine, bundle, volume, cuda, monkeypatch
):
    def refuse(*_: Any) -> None:
        raise cuda.CudaError("cudaStreamEndCapture: not allowed")

    monkeypatch.setattr(cuda.ReverseLoop, "capture", refuse)
    result = Reconstructor(bundle, engine=engine, samples=2, seed=7, batch=(2, 2))(volume)
    equal(result, on_cpu(bundle, volume, 2))
    assert result.stats["launches"]["mode"] == "plain"
    assert "not allowed" in result.stats["launches"]["reason"]


def test_an_engine_that_fails_while_recorded_leaves_plain_launches(
    engine, bundle, volume, cuda, monkeypatch
):
    def refuse(*_: Any) -> None:
        raise DeviceError("not while recording")

    monkeypatch.setattr(cuda.ReverseLoop, "capture", refuse)
    result = Reconstructor(bundle, engine=engine, samples=2, seed=7, batch=(2, 2))(volume)
    equal(result, on_cpu(bundle, volume, 2))
    assert "not while recording" in result.stats["launches"]["reason"]


def test_memory_that_runs_out_halves_the_batch(bundle, cuda, volume, caplog):
    engine = QueuedEngine(bundle, cuda, limit=5)
    result = Reconstructor(bundle, engine=engine, samples=2, seed=7)(volume)
    equal(result, on_cpu(bundle, volume, 2))
    assert "out of memory" in caplog.text
    assert result.stats["batch"][0] * 2 <= 5


def test_memory_for_not_even_one_image_is_an_error(bundle, cuda, volume):
    engine = QueuedEngine(bundle, cuda, limit=0)
    with pytest.raises(DeviceError, match=r"single image.*use --device cpu"):
        Reconstructor(bundle, engine=engine)(volume)


@pytest.mark.parametrize(
    ("fixed", "samples", "depth"),
    [
        ((4, 1), 3, 9),  # the last of three batches overlaps the second
        ((12, 1), 3, 9),
        ((6, 1), 1, 1),
        ((6, 2), 3, 3),  # two chunks, one sample drawn and left out
        ((4, 3), 1, 9),  # two samples of three left out
    ],
)
def test_a_fixed_batch_is_filled_up_without_changing_a_bit(
    bundle, cuda, volume, fixed, samples, depth
):
    engine = QueuedEngine(bundle, cuda, fixed=fixed)
    reconstructor = Reconstructor(bundle, engine=engine, samples=samples, seed=7)
    part, seen = volume[..., :depth], []
    expected = on_cpu(bundle, part, samples)
    for _ in range(4):  # plain, timed, recorded, chosen
        found = reconstructor(part, progress=lambda *done: seen.append(done))
        equal(found, expected)
    assert tuple(found.stats["batch"]) == fixed
    assert seen[-1] == (depth, depth)


@pytest.mark.parametrize("fixed", [(12, 1), (4, 3)])
def test_given_noise_in_a_fixed_batch(bundle, cuda, volume, fixed):
    engine = QueuedEngine(bundle, cuda, fixed=fixed)
    noise = np.random.default_rng(0).standard_normal((11, 4, 9, 1, 16, 24), np.float32)
    found = Reconstructor(bundle, engine=engine, samples=4, seed=7)(volume, noise=noise)
    equal(found, on_cpu(bundle, volume, 4, noise=noise))


def test_a_fixed_batch_serves_every_volume_and_wins_over_what_is_asked(bundle, cuda, volume):
    engine = QueuedEngine(bundle, cuda, fixed=(4, 1))
    reconstructor = Reconstructor(
        bundle, engine=engine, samples=2, seed=7, batch=(2, 2), memory=1, skip_background=False
    )
    for depth in (9, 2, 5):
        equal(reconstructor(volume[..., :depth]), on_cpu(bundle, volume[..., :depth], 2))
    assert len(engine.bound) == 3  # guidance, coarse and denoiser, once


@pytest.mark.parametrize("kind", ["denoiser", "coarse", "guided coarse"])
def test_networks_that_lack_a_graph_in_a_fixed_batch(tmp_path, volume, cuda, kind):
    export_model(scrambled(NETWORKS[kind]), model_spec(NETWORKS[kind]), tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    engine = QueuedEngine(bundle, cuda, fixed=(12, 1))
    equal(
        Reconstructor(bundle, engine=engine, samples=2, seed=7)(volume), on_cpu(bundle, volume, 2)
    )


def test_a_fixed_batch_that_memory_does_not_hold_names_the_command(bundle, cuda, volume):
    engine = QueuedEngine(bundle, cuda, limit=5, fixed=(16, 1))
    with pytest.raises(DeviceError, match=r"16 slices x 1 samples .* --slices 8, or") as caught:
        Reconstructor(bundle, engine=engine)(volume)
    assert "\n" not in str(caught.value)


def test_the_budget_bounds_the_batch(engine, bundle, volume):
    result = Reconstructor(bundle, engine=engine, samples=2, seed=7, memory=1)(volume)
    assert result.stats["batch"] == [1, 1]
    equal(result, on_cpu(bundle, volume, 2))


def test_after_an_error_the_next_volume_is_whole(engine, bundle, volume, monkeypatch):
    reconstructor = Reconstructor(bundle, engine=engine, samples=2, seed=7, batch=(2, 2))
    with monkeypatch.context() as patch:
        calls = iter(range(3))

        def failing(self: Launches) -> None:
            if next(calls, None) is None:
                raise DeviceError("the engine broke")
            self._loop.run(self._prologue, self._enqueue, self._total)

        patch.setattr(Launches, "__call__", failing)
        with pytest.raises(DeviceError, match="broke"):
            reconstructor(volume)
    equal(reconstructor(volume), on_cpu(bundle, volume, 2))


@pytest.mark.parametrize("kind", [k for k in NETWORKS if k != "four neighbours"])
def test_every_kind_of_network(tmp_path, volume, cuda, kind):
    """Without guides, without a coarse network, without a denoiser: each is a model."""
    export_model(scrambled(NETWORKS[kind]), model_spec(NETWORKS[kind]), tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    found = Reconstructor(
        bundle, engine=QueuedEngine(bundle, cuda), samples=2, seed=7, batch=(4, 2)
    )
    equal(found(volume), on_cpu(bundle, volume, 2))


@pytest.mark.parametrize("batch", [(1, 2), (2, 2), (4, 1), (9, 2), (12, 1)])
def test_background_is_left_out_as_on_the_cpu(bundle, cuda, volume, batch):
    """By whole batches, of which the last overlaps another; then the rest is set to 0."""
    dark = volume.copy()
    dark[..., 4:] = 0  # 6 .. 8 see nothing
    calls: list[tuple[int, int]] = []
    engine = QueuedEngine(bundle, cuda, fixed=batch)
    run = Reconstructor(bundle, engine=engine, samples=2, seed=7)
    found = run(dark, progress=lambda *done: calls.append(done))
    equal(found, on_cpu(bundle, dark, 2))
    assert not found.image[..., 6:].any()
    assert found.stats["frames"][0]["background_slices"] == 3
    assert calls[-1] == (9, 9)
    run.skip_background = False
    assert run(dark).image[..., 6:].any()
