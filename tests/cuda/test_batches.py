"""Batches cover every slice and sample, within what memory and engine allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from petrt.bundle import load_bundle
from petrt.cuda.batches import image_bytes, images_within, plan_batch, starts
from petrt.engines.onnxruntime import OnnxRuntimeEngine

COUNT = st.integers(1, 300)


@given(depth=COUNT, total=COUNT, slices=COUNT, samples=COUNT, images=COUNT, divide=st.booleans())
def test_a_batch_keeps_every_limit_and_covers_everything(
    depth, total, slices, samples, images, divide
):
    batch = plan_batch(depth, total, (slices, samples), images, divide=divide)
    assert 1 <= batch.slices <= min(slices, depth)
    assert 1 <= batch.samples <= min(samples, total)
    assert batch.slices * batch.samples <= images
    assert batch.chunks * batch.samples >= total > (batch.chunks - 1) * batch.samples
    if divide:
        assert total % batch.samples == 0
    firsts = starts(depth, batch.slices)
    assert {z for first in firsts for z in range(first, first + batch.slices)} == set(range(depth))
    assert (len(firsts) - 1) * batch.slices < depth


def test_parts_are_even():
    assert plan_batch(128, 1, (128, 1), 50).slices == 43  # three batches, not 50 + 50 + 28
    assert plan_batch(128, 11, (128, 11), 8).samples == 6  # 6 + 5, not 8 + 3


def test_samples_come_before_slices():
    batch = plan_batch(128, 8, (128, 8), 128)
    assert (batch.slices, batch.samples) == (16, 8)


def test_memory_bounds_the_images():
    assert images_within(1 << 40, 1 << 20, 128, 128) == 128  # enough to fill a GPU
    assert images_within(1 << 40, 1 << 20, 256, 256) == 32
    assert images_within(10 << 20, 1 << 20, 128, 128) == 10
    assert images_within(0, 1 << 20, 128, 128) == 1


def test_the_estimate_holds_the_buffers_and_grows_with_the_plane(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    engine = OnnxRuntimeEngine(bundle)
    small, large = (image_bytes(engine, bundle.model.network, n, n) for n in (32, 64))
    assert large == 4 * small
    shapes = engine.output_shapes(
        "guidance", {"x": (1, 1, 32, 32), "nas": (1, 5, 32, 32), "spectrum": (1, 1, 32, 32)}
    )
    assert small > sum(4 * a * b * c * d for a, b, c, d in shapes.values())
