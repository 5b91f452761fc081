"""Image quality against a reference, under named protocols.

A PSNR depends on its mask and range: one pair of volumes gave 25.65 and 30.09 dB with the two scripts
that the method's authors published. So every number belongs to a protocol.

================  =======================  =======================  =========================
                  ``paper``                ``inference``            ``standard``
================  =======================  =======================  =========================
source            our_paper_metric.py      inference.py             this project
scale             both over ``scale``      both over ``scale``      any: it cancels
first             both zeroed where        prediction <= 0 -> 0
                  reference <= 0.05
PSNR over         reference > 0.05         reference != 0           mask, default reference >
                                                                    5 % of its maximum
PSNR range        joint max - min there    1                        reference maximum
SSIM over         whole zeroed volume      whole volume             whole volume
SSIM window       uniform 7^3              uniform 7^3              Gaussian 11^3, sigma 1.5
SSIM range        2                        1                        reference maximum
NMSE over         reference > 0.05         whole volume             mask
NMSE divided by   energy of *prediction*   energy of *prediction*   energy of reference
================  =======================  =======================  =========================

``challenge`` reproduces the evaluation script that the Ultra-low Dose PET challenge gave its teams (class
``Evaluator``; udpet-challenge.github.io/evaluation names the metrics): PSNR over the whole volume with the
reference's maximum as its range, NRMSE = RMSE / (maximum - minimum of the reference), and SSIM of the two
volumes, each over its *own* maximum, uniform 7^3, in the range 2 that scikit-image then took for floats.
None depends on the unit. ``organs`` has its errors of SUVmean and SUVmax.

The first two reproduce the authors' scripts: they pass the prediction to scikit-image as the true image,
and use SSIM's former default range for floats (2). NRMSE is always the square root of NMSE, with the same
mask and divisor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petrt.arrays import Array64, plain
from petrt.errors import InputError, UsageError, called
from petrt.values import positive, shown

# scikit-image is imported inside the functions, because it takes longer to load than the rest of petrt.

Metrics = dict[str, float]

PAPER_THRESHOLD = 0.05
MASK_FRACTION = 0.05
UNIFORM_WINDOW = 7
GAUSSIAN_SIGMA = 1.5
GAUSSIAN_WINDOW = 11  # scikit-image cuts the Gaussian off at 3.5 sigma, as Wang et al. (2004)
# Protocol -> voxels along each axis that its SSIM needs.
WINDOWS = dict.fromkeys(("paper", "inference", "challenge"), UNIFORM_WINDOW) | {
    "standard": GAUSSIAN_WINDOW
}


def evaluate(
    prediction: ArrayLike,
    reference: ArrayLike,
    *,
    protocols: Iterable[str] | None = None,
    mask: ArrayLike | None = None,
    scale: float | None = None,
) -> dict[str, Metrics]:
    """Compare ``prediction`` with ``reference``, both [X, Y, Z] in the same unit.

    ``protocols``: names from ``PROTOCOLS``, default all. ``mask`` [X, Y, Z] (non-zero = inside)
    replaces the default mask of ``standard``; the others have fixed masks. ``scale`` divides both
    volumes for ``paper`` and ``inference``, whose thresholds and ranges are absolute. It is the
    reference's maximum by default; give 1 for volumes that are already scaled.

    Returns ``{protocol: {"psnr": dB, "ssim": ., "nmse": ., "nrmse": .}}``. SSIM is NaN, undefined, where
    an axis is shorter than its window (``WINDOWS``); nothing else is. PSNR is ``inf`` for equal volumes.
    NMSE and NRMSE are ``inf`` if a protocol divides by the energy of a prediction that is zero.
    ``json_number`` turns all three into null.

    Raises InputError for differing shapes, not three axes, non-finite voxels, a reference without a
    positive voxel, an empty mask, or a bad scale.
    """
    names = list(PROTOCOLS) if protocols is None else list(dict.fromkeys(protocols))
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(
                f"{called('protocol')} {name!r} is unknown", f"choose among {', '.join(PROTOCOLS)}"
            )
    if mask is not None and "standard" not in names:
        raise UsageError(
            f"{called('mask')} applies to the protocol 'standard' only",
            "add it, or leave out the mask",
        )
    pred, ref = checked_pair(prediction, reference)
    peak = float(ref.max())
    if peak <= 0:
        raise InputError(f"the reference has no positive voxel (maximum {peak:g})")
    try:
        scale = peak if scale is None else positive("scale", scale)
    except UsageError:
        raise InputError(f"scale must be a positive number, got {shown(scale)}") from None
    inside = standard_mask(ref) if mask is None else _checked_mask(mask, ref.shape)
    results: dict[str, Metrics] = {}
    for name in names:
        if name == "standard":
            results[name] = standard(pred, ref, inside)
        else:
            results[name] = PROTOCOLS[name].compute(pred / scale, ref / scale)
    return results


def paper(prediction: Array64, reference: Array64) -> Metrics:
    """The authors' ``our_paper_metric.py``, for volumes [X, Y, Z] scaled to about [0, 1]."""
    inside = reference > PAPER_THRESHOLD
    if not inside.any():
        raise InputError(
            f"the protocol 'paper' finds no reference voxel above {PAPER_THRESHOLD} after scaling",
            "give a scale near the reference's maximum",
        )
    p, r = prediction[inside], reference[inside]
    nrmse_ = nrmse(p, r, energy_of=p)
    return {
        "psnr": paper_psnr(prediction, reference),
        "ssim": uniform_ssim(
            np.where(inside, prediction, 0.0), np.where(inside, reference, 0.0), data_range=2.0
        ),
        "nmse": nrmse_**2,
        "nrmse": nrmse_,
    }


def inference(prediction: Array64, reference: Array64) -> Metrics:
    """The metrics of the authors' ``inference.py``, for volumes [X, Y, Z] scaled to about [0, 1]."""
    prediction = np.maximum(prediction, 0.0)
    nrmse_ = nrmse(prediction, reference, energy_of=prediction)
    return {
        "psnr": inference_psnr(prediction, reference),
        "ssim": uniform_ssim(prediction, reference, data_range=1.0),
        "nmse": nrmse_**2,
        "nrmse": nrmse_,
    }


def standard(prediction: Array64, reference: Array64, mask: NDArray[np.bool_]) -> Metrics:
    """Metrics relative to the reference [X, Y, Z], which do not depend on the unit.

    PSNR = 10 log10(max(ref)^2 / MSE) and NMSE = sum (pred - ref)^2 / sum ref^2 are over ``mask``. SSIM
    is over the whole volume with Gaussian weights (Wang et al. 2004).
    """
    peak = reference.max()
    prediction, reference = prediction / peak, reference / peak
    p, r = prediction[mask], reference[mask]
    if not r.any():
        raise InputError("the reference is zero in the whole mask")
    nrmse_ = nrmse(p, r, energy_of=r)
    return {
        "psnr": psnr(p, r, data_range=1.0),
        "ssim": gaussian_ssim(prediction, reference, data_range=1.0),
        "nmse": nrmse_**2,
        "nrmse": nrmse_,
    }


def challenge(prediction: Array64, reference: Array64) -> Metrics:
    """The challenge's global metrics of volumes [X, Y, Z] in any unit; ``nmse`` is the square of its NRMSE.

    Its script divides by zero for a prediction without a positive voxel, which is left as it is here;
    NRMSE is infinite for a constant reference, or 0 for an equal prediction.
    """
    top, span = float(prediction.max()), float(reference.max() - reference.min())
    rmse = float(np.sqrt(np.mean((prediction - reference) ** 2)))
    nrmse_ = rmse / span if span else (math.inf if rmse else 0.0)
    own = prediction / top if top > 0 else prediction
    ssim = uniform_ssim(own, reference / reference.max(), data_range=2.0)
    return {
        "psnr": challenge_psnr(prediction / reference.max(), reference / reference.max()),
        "ssim": ssim,
        "nmse": nrmse_**2,
        "nrmse": nrmse_,
    }


def challenge_psnr(prediction: Array64, reference: Array64) -> float:
    """PSNR of ``challenge``, dB, for arrays of any axes over the reference volume's maximum."""
    return psnr(prediction, reference, data_range=1.0)


def paper_psnr(prediction: Array64, reference: Array64) -> float:
    """PSNR of ``paper``, dB, for arrays of any axes scaled to about [0, 1]."""
    inside = reference > PAPER_THRESHOLD
    p, r = prediction[inside], reference[inside]
    return psnr(p, r, max(p.max(), r.max()) - min(p.min(), r.min()))


def inference_psnr(prediction: Array64, reference: Array64) -> float:
    """PSNR of ``inference``, dB, for arrays of any axes scaled to about [0, 1]."""
    inside = reference != 0
    return psnr(np.maximum(prediction[inside], 0.0), reference[inside], data_range=1.0)


def standard_psnr(prediction: Array64, reference: Array64) -> float:
    """PSNR of ``standard`` with its default mask, dB, for arrays over the reference volume's maximum."""
    inside = reference > MASK_FRACTION
    return psnr(prediction[inside], reference[inside], data_range=1.0)


@dataclass(frozen=True)
class Protocol:
    """A named set of metrics, with the definitions of its mask, PSNR, SSIM and NMSE as text.

    ``slices``: (prediction, reference) -> PSNR in dB, for slices of two volumes that are both divided
    by the reference volume's maximum.
    """

    compute: Callable[..., Metrics]
    slices: Callable[[Array64, Array64], float]
    mask: str
    psnr: str
    ssim: str
    nmse: str


PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol(
        paper,
        paper_psnr,
        mask="reference > 0.05 after scaling",
        psnr="range: joint max - min in the mask",
        ssim="masked volume, uniform 7^3, range 2",
        nmse="mask, over the prediction's energy",
    ),
    "inference": Protocol(
        inference,
        inference_psnr,
        mask="reference != 0; prediction clipped at 0",
        psnr="range: 1 after scaling",
        ssim="whole volume, uniform 7^3, range 1",
        nmse="whole volume, over the prediction's energy",
    ),
    "standard": Protocol(
        standard,
        standard_psnr,
        mask="reference > 5 % of its maximum, or as given",
        psnr="range: reference maximum",
        ssim="whole volume, Gaussian 1.5, range reference maximum",
        nmse="mask, over the reference's energy",
    ),
    "challenge": Protocol(
        challenge,
        challenge_psnr,
        mask="whole volume",
        psnr="range: reference maximum",
        ssim="each over its own maximum, uniform 7^3, range 2",
        nmse="whole volume, over the reference's range squared",
    ),
}


def standard_mask(reference: ArrayLike) -> NDArray[np.bool_]:
    """Voxels above 5 % of the reference's maximum: the default mask of ``standard``."""
    ref = np.asarray(reference)
    return np.asarray(ref > MASK_FRACTION * ref.max())


def psnr(prediction: Array64, reference: Array64, data_range: float) -> float:
    """Peak signal-to-noise ratio 10 log10(range^2 / MSE) in dB; ``inf`` where the two are equal."""
    from skimage.metrics import peak_signal_noise_ratio

    if np.array_equal(prediction, reference):
        return math.inf
    with np.errstate(divide="ignore"):  # the square of a tiny difference may be 0
        return float(peak_signal_noise_ratio(reference, prediction, data_range=data_range))


def nrmse(prediction: Array64, reference: Array64, *, energy_of: Array64) -> float:
    """||prediction - reference|| / ||energy_of||, Euclidean norms; ``inf`` if the latter is 0.

    ``energy_of`` is one of the two, because scikit-image divides by the energy of its first argument.
    """
    from skimage.metrics import normalized_root_mse

    other = reference if energy_of is prediction else prediction
    with np.errstate(divide="ignore"):
        return float(normalized_root_mse(energy_of, other, normalization="euclidean"))


def uniform_ssim(prediction: Array64, reference: Array64, *, data_range: float) -> float:
    """Mean SSIM, uniform 7^3 window, sample covariance, without a rim of 3: skimage's default.

    NaN if an axis is shorter than the window.
    """
    from skimage.metrics import structural_similarity

    if min(reference.shape) < UNIFORM_WINDOW:
        return math.nan
    return float(
        structural_similarity(prediction, reference, win_size=UNIFORM_WINDOW, data_range=data_range)
    )


def gaussian_ssim(prediction: Array64, reference: Array64, *, data_range: float) -> float:
    """Mean SSIM with Gaussian weights (Wang et al. 2004): sigma 1.5, 11^3, without a rim of 5.

    NaN if an axis is shorter than the window.
    """
    from skimage.metrics import structural_similarity

    if min(reference.shape) < GAUSSIAN_WINDOW:
        return math.nan
    return float(
        structural_similarity(
            prediction,
            reference,
            data_range=data_range,
            gaussian_weights=True,
            sigma=GAUSSIAN_SIGMA,
            use_sample_covariance=False,
        )
    )


def json_number(value: float | None) -> float | None:
    """``value`` for a JSON file, which has no infinity: None if it is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def checked_pair(prediction: ArrayLike, reference: ArrayLike) -> tuple[Array64, Array64]:
    """Both volumes as float64 [X, Y, Z]. Raises InputError unless they match and are finite."""
    pred = np.asarray(plain(prediction, "prediction"), dtype=np.float64)
    ref = np.asarray(plain(reference, "reference"), dtype=np.float64)
    if pred.shape != ref.shape:
        raise InputError(f"prediction {pred.shape} and reference {ref.shape} differ in shape")
    if ref.ndim != 3 or 0 in ref.shape:
        raise InputError(f"expected volumes of three axes, got {ref.shape}", "pass single frames")
    for name, volume in (("prediction", pred), ("reference", ref)):
        bad = volume.size - int(np.isfinite(volume).sum())
        if bad:
            raise InputError(f"the {name} has {bad} non-finite voxels")
    return pred, ref


def _checked_mask(mask: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside = plain(mask, "mask")
    if inside.shape != shape:
        raise InputError(f"mask {inside.shape} and reference {shape} differ in shape")
    if not np.isfinite(inside).all():
        raise InputError("the mask has non-finite voxels")
    inside = np.asarray(inside != 0)
    if not inside.any():
        raise InputError("the mask is empty")
    return inside
