"""Batches cover every slice and sample, within what memory and engine allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.inference.cuda.batches import (
    Limits,
    image_bytes,
    images_within,
    plan_batch,
    rows,
    starts,
)
from petrt.model.bundle import load_bundle

COUNT = st.integers(1, 300)


@given(depth=COUNT, total=COUNT, slices=COUNT, samples=COUNT, images=COUNT)
def test_a_batch_keeps_every_limit_and_covers_everything(depth, total, slices, samples, images):
    batch = plan_batch(depth, total, (slices, samples), images)
    assert 1 <= batch.slices <= min(slices, depth)
    assert 1 <= batch.samples <= min(samples, total)
    assert batch.slices * batch.samples <= images
    assert batch.chunks * batch.samples >= total > (batch.chunks - 1) * batch.samples
    firsts = starts(depth, batch.slices)
    assert {z for first in firsts for z in range(first, first + batch.slices)} == set(range(depth))
    assert (len(firsts) - 1) * batch.slices < depth


RANGE = st.tuples(st.integers(1, 40), st.integers(0, 40)).map(lambda r: (r[0], r[0] + r[1]))


@given(depth=COUNT, total=COUNT, most=st.tuples(COUNT, COUNT), room=COUNT, slices=RANGE, each=RANGE)
def test_a_batch_is_one_that_the_plan_takes(depth, total, most, room, slices, each):
    """``each``: samples of a slice that the plan was built for."""
    images = slices[0] * each[0], slices[1] * each[1]
    batch = plan_batch(depth, total, most, room, Limits(slices, images))
    assert slices[0] <= batch.slices <= slices[1]
    assert images[0] <= batch.slices * batch.samples <= images[1]
    # No more than was asked for, but where the plan takes no less.
    assert batch.slices * batch.samples <= max(room, images[0] + batch.samples)
    assert batch.slices <= max(most[0], slices[0], -(-images[0] // batch.samples))
    assert batch.samples <= max(most[1], -(-images[0] // slices[1]))
    assert batch.chunks * batch.samples >= total > (batch.chunks - 1) * batch.samples
    firsts = starts(depth, batch.slices)
    assert {z for f in firsts for z in rows(f, batch.slices, depth)} == set(range(depth))
    assert (len(firsts) - 1) * batch.slices < depth


@given(depth=COUNT, total=COUNT, slices=st.integers(1, 40), samples=st.integers(1, 8))
def test_a_plan_of_one_size_gets_it(depth, total, slices, samples):
    images = slices * samples
    limits = Limits((slices, slices), (images, images))
    batch = plan_batch(depth, total, (depth, total), 128, limits)
    assert (batch.slices, batch.samples) == (slices, samples)
    assert len(starts(depth, slices)) == -(-depth // slices)


def test_surplus_rows_repeat_the_last_slice():
    assert rows(0, 5, 3).tolist() == [0, 1, 2, 2, 2]
    assert rows(4, 3, 9).tolist() == [4, 5, 6]
    assert starts(3, 5) == [0]


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
