"""NIfTI files, good and damaged."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable

import nibabel
import numpy as np

GRID_FIELDS = (
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
    *("xyzt_units", "toffset"),
)


SHAPE = (12, 11, 10)


def good_bytes(dtype: type = np.int16, shape: tuple[int, ...] = SHAPE) -> bytearray:
    data = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    return bytearray(nibabel.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])).to_bytes())


# Offsets of NIfTI-1 fields (nifti1.h).
FIELDS = {
    **{f"dim{i}": (40 + 2 * i, "h") for i in range(4)},
    **{f"pixdim{i}": (76 + 4 * i, "f") for i in range(4)},
    **{"datatype": (70, "h"), "qform_code": (252, "h"), "sform_code": (254, "h")},
    **{"vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f")},
    **{"quatern_b": (256, "f"), "srow_x0": (280, "f"), "srow_y1": (300, "f")},
}


def with_fields(content: bytearray | None = None, **values: float) -> bytes:
    content = good_bytes() if content is None else content
    for name, value in values.items():
        offset, kind = FIELDS[name]
        struct.pack_into(f"<{kind}", content, offset, value)
    return bytes(content)


NAN, INF = float("nan"), float("inf")

HEADERS: dict[str, tuple[dict[str, float], str]] = {
    "dim[0] zero": ({"dim0": 0}, r"dim\[0\] is 0"),
    "dim[0] 9": ({"dim0": 9}, r"dim\[0\] is 9"),
    "dim[0] negative": ({"dim0": -3}, r"dim\[0\] is -3"),
    "zero dim": ({"dim2": 0}, r"dim\[2\] is 0"),
    "negative dim": ({"dim1": -12}, r"dim\[1\] is -12"),
    "32767 cubed": (
        {"dim1": 32767, "dim2": 32767, "dim3": 32767},
        r"limit is .* max_voxels=\d+ lets it in",
    ),
    "2-D": ({"dim0": 2}, "2-D image"),
    "5-D": ({"dim0": 5}, "5-D image"),
    "datatype unknown": ({"datatype": 0}, r"datatype is 0 \(unknown\)"),
    "datatype RGB": ({"datatype": 128}, r"datatype is 128 \(RGB\)"),
    "datatype complex": ({"datatype": 32}, r"datatype is 32 \(complex64\)"),
    "datatype nonsense": ({"datatype": 77}, "datatype is 77"),
    "vox_offset NaN": ({"vox_offset": NAN}, "vox_offset is nan"),
    "vox_offset -1": ({"vox_offset": -1}, "vox_offset is -1"),
    "vox_offset 0": ({"vox_offset": 0}, "vox_offset is 0"),
    "vox_offset fraction": ({"vox_offset": 352.5}, "vox_offset is 352.5"),
    "vox_offset huge": ({"vox_offset": 1e30}, "vox_offset is 1"),
    "vox_offset past the end": ({"vox_offset": 9600}, "expected 12240 bytes, found 2992"),
    "slope NaN": ({"scl_slope": NAN}, "scl_slope is nan"),
    "slope infinite": ({"scl_slope": INF}, "scl_slope is inf"),
    "intercept NaN": ({"scl_slope": 2, "scl_inter": NAN}, "scl_inter is nan"),
    "pixdim 0": ({"pixdim1": 0}, r"pixdim\[1\] is 0"),
    "pixdim negative": ({"pixdim3": -2}, r"pixdim\[3\] is -2"),
    "pixdim NaN": ({"pixdim1": NAN}, r"pixdim\[1\] is nan"),
    "affine NaN": ({"srow_x0": NAN}, "the affine holds NaN"),
    "affine singular": ({"srow_y1": 0}, "the affine is singular"),
    "sform code": ({"sform_code": 99}, "sform_code is 99"),
    "qform code": ({"qform_code": -1}, "qform_code is -1"),
    "no rotation": ({"sform_code": 0, "qform_code": 1, "quatern_b": 3}, "is not a rotation"),
    "qfac": ({"sform_code": 0, "qform_code": 1, "pixdim0": 5}, r"pixdim\[0\] is 5"),
}


def wrong_sum(content: bytes) -> bytes:
    zipped = bytearray(gzip.compress(content))
    zipped[-8] ^= 1
    return bytes(zipped)


def damaged(content: bytes) -> bytes:
    zipped = bytearray(gzip.compress(content))
    zipped[len(zipped) // 2] ^= 0xFF
    return bytes(zipped)


HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20

FILES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "truncated": ("pet.nii", lambda c: c[:-700], "expected 2992 bytes, found 2292"),
    "truncated header": ("pet.nii", lambda c: c[:200], "200 bytes, a header needs at least 348"),
    "gz cut": ("pet.nii.gz", lambda c: gzip.compress(c)[:-300], "expected 2992 bytes, found"),
    "gz without check sum": ("pet.nii.gz", lambda c: gzip.compress(c)[:-8], "check sum"),
    "gz of truncated": ("pet.nii.gz", lambda c: gzip.compress(c[:-700]), "2992 bytes, found 2292"),
    "gz wrong check sum": ("pet.nii.gz", wrong_sum, "corrupt gzip"),
    "gz damaged": ("pet.nii.gz", damaged, "corrupt gzip|truncated"),
    "gz then garbage": ("pet.nii.gz", lambda c: gzip.compress(c) + b"garbage", "corrupt gzip"),
    "gz of HTML": ("pet.nii.gz", lambda _: gzip.compress(HTML), "not NIfTI"),
    "HTML": ("pet.nii.gz", lambda _: HTML, r"not gzip/NIfTI \(\d+ bytes\)"),
    "empty gz": ("pet.nii.gz", lambda _: b"", r"not gzip/NIfTI \(0 bytes\)"),
    "empty": ("pet.nii", lambda _: b"", "not NIfTI: 0 bytes"),
    "HTML as .nii": ("pet.nii", lambda _: HTML, "not NIfTI"),
    "random": ("pet.nii", lambda _: np.random.default_rng(0).bytes(5000), "not NIfTI"),
    "plain named .gz": ("pet.nii.gz", lambda c: c, "not gzip.* is named .nii"),
    "gz named .nii": ("pet.nii", lambda c: gzip.compress(c), "add .gz"),
    "single named .img": ("pet.hdr", lambda c: c, "magic"),
    "other name": ("pet.dat", lambda c: c, "expected one of .nii"),
    "twice as long": ("pet.nii", lambda c: c + bytes(3 << 20), "longer than the 2992 bytes"),
}
