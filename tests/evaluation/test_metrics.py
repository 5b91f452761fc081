"""The three protocols: equal to plain re-derivations, invariant where promised, never NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import structural_similarity

from petrt.errors import InputError, UsageError
from petrt.evaluation.metrics import PROTOCOLS, WINDOWS, evaluate, json_number, standard_mask

SHAPE = (19, 17, 15)


def volumes(seed: int = 0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a reference with zeros and some negative voxels; the maximum is 1."""
    rng = np.random.default_rng(seed)
    grid = np.indices(SHAPE) - np.array(SHAPE)[:, None, None, None] / 2
    inside = (grid**2).sum(0) < 49
    reference = np.where(inside, rng.uniform(0.01, 1.0, SHAPE), 0.0)
    reference[0, 0, :4] = -0.02
    reference /= reference.max()
    prediction = reference + rng.normal(0, 0.1, SHAPE)
    return scale * prediction, scale * reference


def windowed_ssim(x, y, weights, c1, c2, unbiased) -> float:
    """Mean SSIM over all complete windows (Wang et al. 2004, Eq. 13)."""
    axes = (3, 4, 5)

    def local(volume):
        return (sliding_window_view(volume, weights.shape) * weights).sum(axis=axes)

    n = weights.size
    norm = n / (n - 1) if unbiased else 1.0
    mx, my = local(x), local(y)
    vx, vy = norm * (local(x * x) - mx**2), norm * (local(y * y) - my**2)
    vxy = norm * (local(x * y) - mx * my)
    ssim = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(ssim.mean())


def uniform_ssim(x, y, data_range) -> float:
    weights = np.full((7, 7, 7), 1 / 343)
    return windowed_ssim(x, y, weights, (0.01 * data_range) ** 2, (0.03 * data_range) ** 2, True)


def gaussian_ssim(x, y, data_range) -> float:
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    line /= line.sum()
    weights = line[:, None, None] * line[:, None] * line
    return windowed_ssim(x, y, weights, (0.01 * data_range) ** 2, (0.03 * data_range) ** 2, False)


def metrics_script(result, hr) -> dict[str, float]:
    """our_paper_metric.py: zero both where hr <= 0.05, then compare over what is left of hr."""
    result, hr = result.copy(), hr.copy()
    result[hr <= 0.05] = 0
    hr[hr <= 0.05] = 0
    a, b = result[hr != 0], hr[hr != 0]
    both = np.concatenate([a, b])
    mse = ((a - b) ** 2).mean()
    nmse = ((a - b) ** 2).sum() / (a**2).sum()  # the script's first argument is the result
    return {
        "psnr": 10 * math.log10((both.max() - both.min()) ** 2 / mse),
        "ssim": uniform_ssim(result, hr, 2.0),
        "nmse": nmse,
        "nrmse": math.sqrt(nmse),
    }


def inference_script(result, hr) -> dict[str, float]:
    """inference.py: clip the result at 0; PSNR where hr is not 0, the rest over everything."""
    result = np.where(result <= 0, 0, result)
    mse = ((result - hr)[hr != 0] ** 2).mean()
    nmse = ((result - hr) ** 2).sum() / (result**2).sum()
    return {
        "psnr": 10 * math.log10(1.0 / mse),
        "ssim": uniform_ssim(result, hr, 1.0),
        "nmse": nmse,
        "nrmse": math.sqrt(nmse),
    }


def standard_by_hand(prediction, reference) -> dict[str, float]:
    mask = reference > 0.05 * reference.max()
    error = ((prediction - reference)[mask] ** 2).sum()
    nmse = error / (reference[mask] ** 2).sum()
    return {
        "psnr": 10 * math.log10(reference.max() ** 2 * mask.sum() / error),
        "ssim": gaussian_ssim(prediction, reference, reference.max()),
        "nmse": nmse,
        "nrmse": math.sqrt(nmse),
    }


def challenge_script(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """The challenge's evaluation, as its formulas read."""
    rmse = math.sqrt(((reference - prediction) ** 2).mean())
    nrmse = rmse / (reference.max() - reference.min())
    own = structural_similarity(
        reference / reference.max(), prediction / prediction.max(), data_range=2
    )
    return {
        "psnr": 20 * math.log10(reference.max() / rmse),
        "ssim": own,
        "nmse": nrmse**2,
        "nrmse": nrmse,
    }


BY_HAND = {
    "paper": metrics_script,
    "inference": inference_script,
    "standard": standard_by_hand,
    "challenge": challenge_script,
}


@pytest.mark.parametrize("protocol", BY_HAND)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_derivation_by_hand(protocol, seed):
    prediction, reference = volumes(seed)
    expected = BY_HAND[protocol](prediction, reference)
    measured = evaluate(prediction, reference, scale=1)[protocol]
    assert measured == pytest.approx(expected, rel=1e-12)


def test_scale_brings_any_unit_to_the_authors_range():
    prediction, reference = volumes(scale=4096.0)  # a power of two, so that nothing is rounded
    expected = {name: by_hand(*volumes()) for name, by_hand in BY_HAND.items()}
    measured = evaluate(prediction, reference)
    for name in BY_HAND:
        assert measured[name] == pytest.approx(expected[name], rel=1e-12)
    assert evaluate(prediction, reference, scale=4096.0) == measured
    assert evaluate(prediction, reference, scale=8192.0)["paper"] != measured["paper"]


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-30, 1e30))
def test_standard_is_free_of_the_unit(factor):
    prediction, reference = volumes()
    expected = evaluate(prediction, reference, protocols=["standard"])["standard"]
    scaled = evaluate(factor * prediction, factor * reference, protocols=["standard"])["standard"]
    assert scaled == pytest.approx(expected, rel=1e-9)


def test_float32_and_other_memory_orders_give_the_same():
    prediction, reference = (v.astype(np.float32) for v in volumes())
    expected = evaluate(prediction.astype(np.float64), reference.astype(np.float64))
    for name, numbers in evaluate(np.asfortranarray(prediction), reference).items():
        assert numbers == pytest.approx(expected[name], rel=1e-12)


def test_identity():
    reference = np.maximum(volumes()[1], 0)
    for numbers in evaluate(reference, reference).values():
        assert numbers == {"psnr": math.inf, "ssim": pytest.approx(1.0), "nmse": 0.0, "nrmse": 0.0}
    assert json_number(math.inf) is None
    assert json_number(1.5) == 1.5


def test_a_given_mask_replaces_the_default_of_standard_only():
    prediction, reference = volumes()
    plain = evaluate(prediction, reference)
    mask = standard_mask(reference).astype(np.uint8) * 7
    assert evaluate(prediction, reference, mask=mask) == plain
    half = mask.copy()
    half[: SHAPE[0] // 2] = 0
    changed = evaluate(prediction, reference, mask=half)
    assert changed["paper"] == plain["paper"]
    inside = half != 0
    expected = ((prediction - reference)[inside] ** 2).sum() / (reference[inside] ** 2).sum()
    assert changed["standard"]["nmse"] == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
def test_constant_predictions_never_give_nan(value):
    reference = np.maximum(volumes()[1], 0)
    for numbers in evaluate(np.full(SHAPE, value), reference).values():
        assert not any(math.isnan(v) for v in numbers.values())


def test_zero_prediction():
    """Energy of the prediction is 0 there: infinite in the authors' protocols, 1 in ours."""
    results = evaluate(np.zeros(SHAPE), volumes()[1])
    assert results["paper"]["nmse"] == results["inference"]["nmse"] == math.inf
    assert results["standard"]["nmse"] == pytest.approx(1.0)


ONES = np.ones(SHAPE)
HOLED = np.where(np.arange(SHAPE[2]) == 3, np.nan, ONES)


@pytest.mark.parametrize(
    ("prediction", "reference", "options", "message"),
    [
        (ONES[1:], ONES, {}, "differ in shape"),
        (ONES[0], ONES[0], {}, "three axes"),
        (ONES[None], ONES[None], {}, "three axes"),
        (ONES[:0], ONES[:0], {}, "three axes"),
        (HOLED, ONES, {}, "prediction has 323 non-finite"),
        (ONES, HOLED, {}, "reference has 323 non-finite"),
        (ONES, 0 * ONES, {}, "no positive voxel"),
        (ONES, -ONES, {}, "no positive voxel"),
        (ONES, ONES, {"mask": 0 * ONES}, "mask is empty"),
        (ONES, ONES, {"mask": ONES[1:]}, "mask .* differ in shape"),
        (ONES, ONES, {"mask": HOLED}, "mask has non-finite"),
        (ONES, ONES, {"scale": 0}, "positive number"),
        (ONES, ONES, {"scale": math.nan}, "positive number"),
        (ONES, ONES, {"scale": 100}, "above 0.05"),
    ],
)
def test_refusals(prediction, reference, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(prediction, reference, **options)


@pytest.mark.parametrize(
    ("count", "undefined"), [(6, set(PROTOCOLS)), (9, {"standard"}), (11, set())]
)
def test_only_ssim_is_undefined_where_an_axis_is_shorter_than_its_window(count, undefined):
    prediction, reference = (volume[..., 7:8].repeat(count, -1) for volume in volumes())
    assert {WINDOWS[name] for name in undefined} <= {7, 11}
    results = evaluate(prediction, reference)
    assert {name for name in results if math.isnan(results[name]["ssim"])} == undefined
    for name, numbers in results.items():
        assert json_number(numbers["ssim"]) is None or name not in undefined
        assert all(math.isfinite(numbers[key]) for key in ("psnr", "nmse", "nrmse"))


def test_mask_where_the_reference_is_zero():
    reference = np.maximum(volumes()[1], 0)
    with pytest.raises(InputError, match="zero in the whole mask"):
        evaluate(reference, reference, mask=reference == 0)


@pytest.mark.parametrize(
    "options", [{"protocols": ["Paper"]}, {"protocols": ["paper"], "mask": ONES}]
)
def test_contradictions_are_usage_errors(options):
    with pytest.raises(UsageError):
        evaluate(ONES, ONES, **options)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_psnr_of_slices_is_the_protocols_own(name):
    """Of all slices it is the volume's; of some, what they hold, whatever the order of the axes."""
    prediction, reference = volumes()
    of_slices = PROTOCOLS[name].slices
    expected = evaluate(prediction, reference, protocols=[name])[name]["psnr"]
    assert of_slices(prediction, reference) == pytest.approx(expected, rel=1e-12)
    assert of_slices(prediction.T, reference.T) == pytest.approx(expected, rel=1e-9)
    assert of_slices(prediction[8:11], reference[8:11]) != pytest.approx(expected, abs=1e-3)
