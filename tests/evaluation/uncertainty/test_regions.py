"""Regions: statistics by hand, spheres, and intervals that follow the volume's unit and labels."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.errors import InputError
from petrt.evaluation.activity import roi_statistics
from petrt.evaluation.uncertainty.regions import Drawn, regions_of, table
from petrt.evaluation.uncertainty.spheres import lesion_labels, sphere, sphere_labels
from tests.evaluation.uncertainty.fits import FIT

MM = (2.0, 2.0, 3.0)


@pytest.fixture
def volumes() -> tuple[np.ndarray, np.ndarray]:
    """Four samples [4, X, Y, Z] and labels; region 7 is a single voxel."""
    rng = np.random.default_rng(0)
    samples = (5 + rng.random((4, 14, 16, 12))).astype(np.float32)
    labels = np.zeros(samples.shape[1:], np.int64)
    labels[2:8, 3:9, 2:7] = 3
    labels[9:13, 3:14, 4:9] = 5
    labels[1, 1, 1] = 7
    return samples, labels


def rows(samples, labels, *, unit=1.0, level=0.9, scale=5.0, fit=FIT):
    regions = regions_of(labels, MM)
    image = (samples.mean(axis=0) * unit).astype(np.float32)
    each = np.stack([regions.measured(sample * np.float32(unit)) for sample in samples])
    drawn = Drawn(regions.measured(image), regions.blurred(image), each, scale * unit)
    return table(regions, [drawn], fit, [""] * len(regions.labels), 0.01, level)


def test_statistics_are_those_of_the_evaluation(volumes):
    samples, labels = volumes
    found = regions_of(labels, MM)
    by_hand = roi_statistics(samples[0], labels, voxel_mm=MM)
    assert found.labels == tuple(each.label for each in by_hand)
    assert found.ml == pytest.approx([each.volume_ml for each in by_hand])
    for row, key in zip(found.measured(samples[0]), ("mean", "peak", "max"), strict=True):
        np.testing.assert_allclose(row, [getattr(each, key) for each in by_hand], rtol=1e-6)


def test_the_mean_of_the_samples_has_the_mean_of_their_means(volumes):
    samples, labels = volumes
    regions = regions_of(labels, MM)
    means = [regions.measured(sample)[0] for sample in samples]
    np.testing.assert_allclose(
        regions.measured(samples.mean(axis=0))[0], np.mean(means, axis=0), rtol=1e-6
    )


def test_a_single_voxel_has_one_value_as_mean_and_maximum(volumes):
    row = rows(*volumes)[-1]
    assert (row.label, row.voxels) == (7, 1)
    assert row.mean.value == row.max.value
    assert row.mean.low < row.mean.value < row.mean.high


def test_another_unit_scales_everything(volumes):
    for one, other in zip(rows(*volumes), rows(*volumes, unit=1000.0), strict=True):
        for key in ("mean", "peak", "max"):
            a, b = getattr(one, key), getattr(other, key)
            for end in ("value", "low", "high"):
                assert getattr(b, end) == pytest.approx(1000 * getattr(a, end), rel=1e-4)


def test_labels_are_but_names(volumes):
    samples, labels = volumes
    other = np.select([labels == 3, labels == 5, labels == 7], [11, 2, 4])
    here = {row.label: row for row in rows(samples, labels)}
    there = {row.label: row for row in rows(samples, other)}
    for old, new in ((3, 11), (5, 2), (7, 4)):
        assert there[new].mean == here[old].mean
        assert there[new].peak == here[old].peak


def test_higher_levels_are_wider_around_one_centre(volumes):
    narrow, wide = (rows(*volumes, level=level)[0].mean for level in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.low + wide.high == pytest.approx(narrow.low + narrow.high)


def test_the_interval_is_that_of_its_formula(volumes):
    samples, labels = volumes
    row = rows(samples, labels, scale=5.0)[0]
    regions = regions_of(labels, MM)
    image = samples.mean(axis=0)
    value = regions.measured(image)[0, 0] / 5
    detail = value - regions.blurred(image)[0, 0] / 5
    spread = np.std([regions.measured(s)[0, 0] for s in samples], ddof=1) / 5
    ln = np.log
    log_s = -1 + 0.3 * ln(spread + 1e-4) - 0.2 * ln(regions.ml[0]) + 0.5 * ln(value + 1e-4)
    log_g, log_m = ln(abs(detail) + 1e-4), ln(regions.ml[0])
    log_s += 0.1 * log_g - 0.2 * ln(0.01)
    log_s += 0.02 * log_m**2 + 0.01 * log_g**2 - 0.03 * log_g * log_m
    log_s += 0.02 * log_m * ln(0.01)
    centre = (1.02 - 0.01 * ln(0.01)) * value + (0.1 - 0.05 * ln(0.01)) * detail
    assert row.mean.high == pytest.approx(5 * (centre + 1.644854 * np.exp(log_s)), rel=1e-4)


def test_without_a_fit_there_are_values_alone(volumes):
    regions = regions_of(volumes[1], MM)
    image = regions.measured(volumes[0][0])
    found = table(regions, [Drawn(image, image, None, 5.0)], None, ["why"] * 3, None, 0.9)
    assert {row.reason for row in found} == {"why"}
    assert all(row.mean.low is None and row.peak.high is None for row in found)


def test_an_empty_label_map_is_refused():
    with pytest.raises(InputError, match="empty"):
        regions_of(np.zeros((4, 4, 4), int), MM)


def test_spheres_have_their_size_and_do_not_overlap():
    centres = np.zeros((40, 40, 40), bool)
    centres[10:30, 10:30, 10:30] = True
    labels = sphere_labels(centres, 1.0, MM, np.random.default_rng(1), most=5)
    counts = np.bincount(labels.reshape(-1))[1:]
    assert len(counts) == 5
    assert set(counts) == {len(sphere(1.0, MM))}
    assert counts[0] * np.prod(MM) / 1000 == pytest.approx(1.0, rel=0.15)
    assert not sphere_labels(centres, 500.0, MM, np.random.default_rng(1)).any()


def test_lesions_that_are_apart_are_regions_of_their_own_with_a_margin():
    lesions = np.zeros((20, 20, 20), bool)
    lesions[4:6, 4:6, 4:6] = lesions[14:16, 14:16, 14:16] = True
    labels = lesion_labels(lesions)
    assert labels.max() == 2
    assert (labels > 0).sum() > lesions.sum()
    assert (labels[lesions] > 0).all()
