"""Makes the head template of ``petrt.data.simulate`` from the MNI152 maps that ship with nilearn.

Run ``python tools/make_template.py`` in an environment with nilearn; the same versions give the
same bytes. The template is a 2 mm grid in MNI coordinates (RAS+, millimetres) that holds, as
uint8 / 63 (so that it stays small), the volume fractions of grey matter, white matter, the whole
cavity of the skull (brain and fluid) and soft tissue outside the skull. The maps from nilearn are
brain only, so the skull gap, the scalp, a face and a neck are simple shapes drawn around them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VOXEL_MM = 2.0
FIRST_MM = np.array([-96.0, -134.0, -134.0])  # MNI position of voxel (0, 0, 0)
SHAPE = (97, 118, 119)
LEVELS = 63  # the value that means "all of the voxel"
TARGET = Path(__file__).parents[1] / "python" / "petrt" / "simulate" / "data" / "template.npz"

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def nilearn_map(name: str) -> Array:
    """The 1 mm map ``name`` ("t1", "gm", "wm"), 0..1, averaged over 2 mm cells of the template."""
    import nibabel
    import nilearn.datasets

    folder = Path(nilearn.datasets.__file__).parent / "data"
    path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    image = nibabel.Nifti1Image.from_filename(path)
    data = np.asarray(image.dataobj, dtype=np.float32) / 255
    # A [1 2 1] / 4 average per axis is the exact mean over a 2 mm cell centred on a 1 mm sample.
    for axis in range(3):
        data = ndimage.convolve1d(data, [0.25, 0.5, 0.25], axis=axis, mode="constant")
    start = np.round(FIRST_MM - image.affine[:3, 3]).astype(int)
    out = np.zeros(SHAPE, np.float32)
    index = [s + 2 * np.arange(n) for s, n in zip(start, SHAPE, strict=True)]
    inside = [(i >= 0) & (i < n) for i, n in zip(index, data.shape, strict=True)]
    out[np.ix_(*inside)] = data[np.ix_(*[i[m] for i, m in zip(index, inside, strict=True)])]
    return out


def soft_tissue(distance: Array) -> Array:
    """Fraction of scalp, face and neck, given each voxel's ``distance`` (mm) from the hull."""
    x, y, z = np.meshgrid(
        *[f + VOXEL_MM * np.arange(n) for f, n in zip(FIRST_MM, SHAPE, strict=True)], indexing="ij"
    )

    def ellipsoid(centre: tuple[float, float, float], axes: tuple[float, float, float]) -> Mask:
        scaled = [((v - c) / a) ** 2 for v, c, a in zip((x, y, z), centre, axes, strict=True)]
        return scaled[0] + scaled[1] + scaled[2] < 1

    scalp = (distance > 10) & (distance < 17)
    face = ellipsoid((0, 30, -55), (64, 64, 62)) & (y > -30)
    neck = ellipsoid((0, -38, -134), (58, 60, 160)) & (z < -40)
    nose, spine = ellipsoid((0, 50, -48), (15, 30, 26)), ellipsoid((0, -45, -134), (17, 17, 80))
    cavities = nose | spine
    soft = scalp | ((face | neck) & (distance > 10) & ~cavities)
    return ndimage.gaussian_filter(soft.astype(np.float32), 0.7)


def template() -> dict[str, NDArray[np.uint8]]:
    """Tissue fractions [97, 118, 119] as uint8 (LEVELS = all of the voxel)."""
    grey, white = nilearn_map("gm"), nilearn_map("wm")
    brain = ndimage.binary_fill_holes(nilearn_map("t1") > 0.15)
    # The hull bridges fissures and sulci: a closing by 14 mm, with distances so that it is round.
    outside = ndimage.distance_transform_edt(~brain) * VOXEL_MM
    hull = ndimage.distance_transform_edt(outside < 14) * VOXEL_MM > 14
    distance = ndimage.distance_transform_edt(~hull) * VOXEL_MM
    cavity = ndimage.gaussian_filter((distance < 3).astype(np.float32), 0.7)
    soft = np.clip(soft_tissue(distance), 0, 1 - cavity)
    maps = {"grey": grey, "white": white, "cavity": cavity, "soft": soft}
    return {name: np.round(np.clip(m, 0, 1) * LEVELS).astype(np.uint8) for name, m in maps.items()}


def write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> str:
    """Write ``arrays`` as a compressed .npz that doesn't depend on the clock; return its sha256."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET, help="default: %(default)s")
    out = parser.parse_args().out
    arrays: dict[str, NDArray[Any]] = dict(template())
    arrays["first_mm"] = FIRST_MM
    arrays["voxel_mm"] = np.array(VOXEL_MM)
    arrays["levels"] = np.array(LEVELS)
    digest = write_npz(out, arrays)
    print(f"{out}: {out.stat().st_size} bytes, sha256 {digest}")


if __name__ == "__main__":
    main()
