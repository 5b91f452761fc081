"""Images that are no low-dose PET of a brain: what a model must not be given without being told."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.quality.cases import HOTTEST, template_path
from petrt.arrays import Array
from petrt.data.simulate import scanner
from petrt.data.simulate.subject import DOSES, centred_affine

# A volume [X, Y, Z] and its affine.
Image = tuple[Array, NDArray[np.float64]]
Maker = Callable[[np.random.Generator], Image]

SHAPE, MM = (128, 128, 128), 2.0
T1 = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"  # in nilearn's package
BODY = "ge_fdg_sts001.zip"
HEAD_MM = 300.0  # from the top of a body scan: not another organ


def makers() -> dict[str, Maker]:
    """kind -> what draws one such image; only the kinds whose data are here."""
    found: dict[str, Maker] = {"uniform phantom": uniform, "CT of a head": tomogram}
    if (t1 := t1_path()) is not None:
        found["T1-weighted MR"] = magnetic(t1)
    if template_path().is_file():
        found["noise-free FDG template"] = template(template_path())
    if (body := template_path().with_name(BODY)).is_file():
        found["another organ"] = trunk(body)
    return found


def drawn(maker: Maker, count: int, seed: int) -> Iterator[Image]:
    """``count`` images; the same for the same ``seed``."""
    for each in np.random.SeedSequence(seed).spawn(count):
        yield maker(np.random.default_rng(each))


def t1_path() -> Path | None:
    """The T1-weighted template that nilearn ships, or a copy of it in $PETRT_DATA."""
    beside = template_path().with_name(T1)
    if beside.is_file():
        return beside
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "datasets" / "data" / T1
    return path if path.is_file() else None


def magnetic(path: Path) -> Maker:
    """A T1-weighted image: other sizes, contrast, receive field, smoothing and Rician noise."""
    volume, affine = _read(path)
    volume /= np.float32(volume.max())

    def draw(rng: np.random.Generator) -> Image:
        image = volume ** np.float32(rng.uniform(0.7, 1.4))
        slope = [
            np.linspace(1 - s, 1 + s, n)
            for s, n in zip(rng.uniform(-0.3, 0.3, 3), image.shape, strict=True)
        ]
        field = slope[0][:, None, None] * slope[1][:, None] * slope[2]
        image = ndimage.gaussian_filter(image * field.astype(np.float32), rng.uniform(0.0, 1.5))
        noise = rng.uniform(0.0, 0.08) * rng.standard_normal((2, *image.shape), np.float32)
        image = np.hypot(image + noise[0], noise[1])
        image = np.roll(image, rng.integers(-8, 9, 3), (0, 1, 2))
        return image * np.float32(rng.uniform(100, 3e4)), _scaled(affine, rng)

    return draw


def template(path: Path) -> Maker:
    """The mean of many people's images, which has hardly any noise: other sizes, and smoother ones."""
    volume, affine = _read(path)

    def draw(rng: np.random.Generator) -> Image:
        return ndimage.gaussian_filter(volume, rng.uniform(0.0, 1.5)), _scaled(affine, rng)

    return draw


def uniform(rng: np.random.Generator) -> Image:
    """A cylinder full of activity, by the simulated scanner at one of the doses."""
    radius, half = rng.uniform(60, 110), rng.uniform(40, 115)
    x, y, z = (MM * (np.arange(n) - (n - 1) / 2) for n in SHAPE)
    inside = (np.hypot(x[:, None], y) < radius)[..., None] & (np.abs(z) < half)
    activity = inside.astype(np.float32) * np.float32(HOTTEST * rng.uniform(0.5, 1.5))
    mean, randoms = scanner.expected_counts(scanner.blur(activity, rng.uniform(4, 6), MM), MM)
    dose = int(rng.choice(DOSES))
    counts = scanner.thin_counts(rng, scanner.draw_counts(rng, mean), dose)
    return scanner.reconstruct(counts, randoms, SHAPE, MM, dose), centred_affine(SHAPE, MM)


def tomogram(rng: np.random.Generator) -> Image:
    """A head in Hounsfield units: air, skull, brain, ventricles; half of them moved up by 1024, as stored."""
    x, y, z = (MM * (np.arange(n) - (n - 1) / 2) for n in SHAPE)
    axes = rng.uniform((70, 85, 80), (85, 105, 95))

    def within(share: float) -> NDArray[np.bool_]:
        a, b, c = (axes * share) ** 2
        return np.asarray(x[:, None, None] ** 2 / a + y[:, None] ** 2 / b + z**2 / c < 1)

    image = np.full(SHAPE, -1000, np.float32)
    for share, units in ((1.0, 30.0), (0.94, rng.uniform(700, 1200)), (0.87, 35.0), (0.25, 8.0)):
        image[within(share)] = units
    image = ndimage.gaussian_filter(image, 0.6)
    image += np.float32(rng.uniform(3, 30)) * rng.standard_normal(SHAPE, np.float32)
    return image + np.float32(1024 * rng.integers(0, 2)), centred_affine(SHAPE, MM)


def trunk(path: Path) -> Maker:
    """Parts of a body scan below the head, as long as a brain's."""
    from petrt.io.source import read

    volume: Any = read(path)
    data, affine = volume.data, volume.affine_mm
    along = int(np.argmax(np.abs(affine[2, :3])))
    up = affine[2, along] > 0
    step = abs(float(affine[2, along]))

    def draw(rng: np.random.Generator) -> Image:
        count = int(rng.uniform(150, 256) / step)
        free = data.shape[along] - int(HEAD_MM / step) - count
        first = int(rng.integers(0, free))
        first = first if up else data.shape[along] - first - count
        part = [slice(None)] * 3
        part[along] = slice(first, first + count)
        return data[tuple(part)], affine

    return draw


def _read(path: Path) -> Image:
    image: Any = nibabel.load(path)
    return np.maximum(image.get_fdata(dtype=np.float32), 0), image.affine


def _scaled(affine: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The affine of a head of another size."""
    sizes = np.diag([*(rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03, 3)), 1.0])
    return np.asarray(sizes @ affine)
