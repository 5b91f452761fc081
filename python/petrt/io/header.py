"""NIfTI-1, NIfTI-2 and Analyze headers: recognises them and checks them field by field.

nibabel repairs many faulty headers on loading with at most a log line: a voxel size of 0 becomes 1, a
NaN slope means "unscaled". petrt refuses such a file and names the field before it reads any voxel.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError
from nibabel.spm2analyze import Spm2AnalyzeHeader

from petrt.errors import InputError, way
from petrt.imaging.affine import check_affine

logger = logging.getLogger(__name__)

# Bytes of a NIfTI-2 header; the other two have 348.
LONGEST_HEADER = 540
# Header extensions lie before the voxels. A larger offset is treated as damage.
MAX_OFFSET = 1 << 26

_REAL_TYPES = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}
_OTHER_TYPES = {
    0: "unknown",
    1: "binary",
    32: "complex64",
    128: "RGB",
    1536: "float128",
    1792: "complex128",
    2048: "complex256",
    2304: "RGBA",
}
# NIfTI's code for coordinates of the scanner, and how far two statements of one grid may differ.
SCANNER = 1
SAME_PLACE = 0.01
# The fields that place the grid in space and time, the same in NIfTI-1 and NIfTI-2.
_GRID_FIELDS = (
    *("pixdim", "xyzt_units", "toffset", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True)
class SourceHeader:
    """A recognised header as stored, with unchecked values.

    ``kind`` is NIfTI-1, NIfTI-2 or Analyze. ``single``: the voxels follow in the same file.
    """

    kind: str
    single: bool
    raw: Nifti1Header | Spm2AnalyzeHeader

    @property
    def field(self) -> np.ndarray:
        """The header's fields by name, a structured scalar array."""
        array: np.ndarray = self.raw.structarr
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape, from the field dim."""
        dim = self.field["dim"]
        return tuple(int(n) for n in dim[1 : int(dim[0]) + 1])

    @property
    def offset(self) -> int:
        """Bytes before the first voxel."""
        return int(self.field["vox_offset"])

    @property
    def summary(self) -> str:
        """A description such as ``NIfTI-1, int16, big-endian``."""
        endian = "little" if self.raw.endianness == "<" else "big"
        return f"{self.kind}, {self.raw.get_data_dtype().name}, {endian}-endian"


def recognise(block: bytes, name: str) -> SourceHeader:
    """The header at the start of ``block`` (up to 540 bytes). Raises InputError if there is none."""
    for endian, order in (("<", "little"), (">", "big")):
        size = int.from_bytes(block[:4], order)  # type: ignore[arg-type]
        if size == 540 and block[4:8] in (b"n+2\0", b"ni2\0") and len(block) >= 540:
            single = block[5:6] == b"+"
            nifti2 = Nifti2Header if single else Nifti2PairHeader
            return SourceHeader("NIfTI-2", single, nifti2(block[:540], endian, check=False))
        if size == 348 and len(block) >= 348:
            magic = block[344:348]
            if magic in (b"n+1\0", b"ni1\0"):
                single = magic[1:2] == b"+"
                nifti1 = Nifti1Header if single else Nifti1PairHeader
                return SourceHeader("NIfTI-1", single, nifti1(block[:348], endian, check=False))
            # nibabel uses this class for all Analyze files.
            analyze = Spm2AnalyzeHeader(block[:348], endian, check=False)
            return SourceHeader("Analyze", False, analyze)
    if len(block) < 348:
        raise InputError(
            f"{name}: not NIfTI: {len(block)} bytes, a header needs at least 348", _GET_IT_AGAIN
        )
    raise InputError(f"{name}: not NIfTI: no NIfTI or Analyze header at its start", _GET_IT_AGAIN)


_GET_IT_AGAIN = "check that this is the image itself, or copy or download it again"


def check_header(source: SourceHeader, name: str, max_voxels: int) -> None:
    """Raise InputError, which names the field, if the header is not that of a real 3-D or 4-D volume."""
    _check_shape(source, name, max_voxels)
    _check_datatype(source, name)
    _check_offset(source, name)
    _check_scaling(source, name)
    for axis in (1, 2, 3):
        size = float(source.field["pixdim"][axis])
        if not (math.isfinite(size) and size > 0):
            raise _faulty(name, f"pixdim[{axis}]", size, "a voxel size above 0")


def slope_and_intercept(source: SourceHeader, name: str) -> tuple[float, float]:
    """The scaling ``value = slope * stored + intercept``; (1, 0) if the header has none."""
    slope, intercept = source.raw.get_slope_inter()
    if slope is None:
        if float(source.field["scl_slope"]) == 0 and source.kind != "Analyze":
            logger.info("%s: scl_slope is 0: values are taken unscaled", name)
        return 1.0, 0.0
    return float(slope), float(intercept or 0.0)


def header_affine(source: SourceHeader, name: str) -> np.ndarray:
    """The affine float64 [4, 4] from voxel indices to world coordinates: sform, else qform, else pixdim."""
    fields = source.field
    if source.kind == "Analyze":
        return check_affine(source.raw.get_best_affine(), name)
    for code in ("qform_code", "sform_code"):
        if not 0 <= int(fields[code]) <= 5:
            raise _faulty(name, code, int(fields[code]), "a code from 0 to 5")
    header = source.raw.copy()
    if fields["sform_code"] == 0 and fields["qform_code"] != 0:
        qfac = float(fields["pixdim"][0])
        if qfac not in (-1.0, 0.0, 1.0):
            raise _faulty(name, "pixdim[0]", qfac, "-1 or 1")
        header["pixdim"][0] = qfac or 1.0  # the standard reads 0 as 1
    elif fields["sform_code"] == 0:
        logger.warning("%s: no orientation stored; nibabel's default is assumed", name)
    try:
        affine = header.get_best_affine()
    except (HeaderDataError, ValueError) as error:
        raise InputError(
            f"{name}: the quaternion (quatern_b, _c, _d) is not a rotation", "correct the qform"
        ) from error
    affine = check_affine(affine, name)
    assert isinstance(source.raw, Nifti1Header)
    check_orientations(source.raw, source.shape, name)
    return affine


def check_orientations(header: Nifti1Header, shape: tuple[int, ...], name: str) -> None:
    """Compare the places where a NIfTI header says how its grid lies: sform, qform and pixdim.

    The sform is used where its code is above 0. Other voxel sizes in the qform or in pixdim are logged as a
    warning, and so is any other difference between two forms of one code. Raises InputError if both
    codes say scanner space (1) and the forms differ by more than 1 %: one of them is wrong, and nothing
    says which.
    """
    fields = header.structarr
    sform_code, qform_code = int(fields["sform_code"]), int(fields["qform_code"])
    if sform_code == 0:
        return  # the qform takes its voxel sizes from pixdim
    sform = header.get_sform()
    sizes = np.linalg.norm(sform[:3, :3], axis=0)
    pixdim = np.array(fields["pixdim"][1:4], float)
    stored = "pixdim" if qform_code == 0 else "qform (pixdim)"
    both = f"sform {_millimetres(sizes)}, {stored} {_millimetres(pixdim)}"
    other_sizes = float(np.abs(pixdim / sizes - 1).max()) > SAME_PLACE
    qform = None if qform_code == 0 else _qform(header)
    apart = 0.0 if qform is None else _difference(sform, qform, shape)
    if sform_code == qform_code == SCANNER and apart > SAME_PLACE:
        raise InputError(
            f"{name}: sform and qform, both in scanner space, differ by {100 * apart:.2g} %: "
            + (f"voxels of {both}" if other_sizes else _placed(sform, qform)),
            "correct one of them, or set the code of the wrong one to 0",
        )
    if other_sizes:
        logger.warning("%s: two voxel sizes: %s; the sform is used", name, both)
    elif sform_code == qform_code and apart > SAME_PLACE / 10:
        logger.warning(
            "%s: sform and qform of one code differ by %.2g %%: %s; the sform is used",
            *(name, 100 * apart, _placed(sform, qform)),
        )


def _qform(header: Nifti1Header) -> np.ndarray | None:
    """The affine of the qform; None if its fields are faulty, since it is not used."""
    copy = header.copy()
    if copy["pixdim"][0] not in (-1.0, 1.0):
        copy["pixdim"][0] = 1.0
    try:
        affine: np.ndarray = copy.get_qform()
    except (HeaderDataError, ValueError):
        return None
    return affine if np.isfinite(affine).all() else None


def _difference(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far two affines are apart: the largest relative difference of a voxel's edge, or the largest
    distance of the grid's corners over the grid's size."""
    edges = np.linalg.norm(a[:3, :3] - b[:3, :3], axis=0) / np.linalg.norm(a[:3, :3], axis=0)
    last = np.array(shape[:3]) - 1
    corners = np.array([(x, y, z, 1) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    corners[:, :3] *= last
    moved = np.linalg.norm(corners @ (a - b)[:3].T, axis=1).max()
    extent = np.linalg.norm(a[:3, :3] * np.array(shape[:3]))
    return float(max(edges.max(), moved / extent))


def _millimetres(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def _placed(sform: np.ndarray, qform: np.ndarray | None) -> str:
    """Axes and origin of both, as text."""
    forms = {"sform": sform} | ({} if qform is None else {"qform": qform})
    return ", ".join(
        f"{key} {''.join(aff2axcodes(form))} from ({', '.join(f'{n:.4g}' for n in form[:3, 3])})"
        for key, form in forms.items()
    )


def grid_header(source: Nifti1Header | Spm2AnalyzeHeader, shape: tuple[int, ...]) -> Nifti1Header:
    """A new float32, little-endian header with the same grid and NIfTI version.

    Orientation, codes, voxel sizes, repetition time and units are copied bit for bit. Only a qfac of 0
    is written as 1, its meaning, because nibabel rejects 0. All other fields start empty, also texts
    and extensions, which may name a patient. For an Analyze header use ``affine_header``.
    """
    fresh = (Nifti2Header if isinstance(source, Nifti2Header) else Nifti1Header)(endianness="<")
    fresh.set_data_dtype(np.float32)
    fresh.set_data_shape(shape)
    for field in _GRID_FIELDS:
        fresh[field] = source[field]
    if fresh["pixdim"][0] == 0:
        fresh["pixdim"][0] = 1
    fresh["scl_slope"], fresh["scl_inter"] = 1.0, 0.0
    return fresh


def affine_header(affine: np.ndarray, shape: tuple[int, ...]) -> Nifti1Header:
    """A NIfTI-1 header for a volume without one: float32 sform with code 2 (aligned), qform code 0.

    nibabel converts in the same way.
    """
    fresh = Nifti1Header(endianness="<")
    fresh.set_data_dtype(np.float32)
    fresh.set_data_shape(shape)
    fresh.set_qform(affine, code="unknown")
    fresh.set_sform(affine, code="aligned")
    fresh["scl_slope"], fresh["scl_inter"] = 1.0, 0.0
    return fresh


def check_shape(shape: tuple[int, ...], name: str, max_voxels: int) -> None:
    """Raise InputError if a shape is not 3-D or 4-D, is empty, or has too many voxels."""
    if len(shape) not in (3, 4):
        raise InputError(
            f"{name}: {len(shape)}-D image, expected a 3-D volume or a 4-D series",
            "extract the volume first",
        )
    size = " x ".join(map(str, shape))
    if min(shape) < 1:
        raise InputError(f"{name}: empty image of {size} voxels", "every dim must be at least 1")
    if math.prod(shape) > max_voxels:
        raise InputError(
            f"{name}: claims {size} = {math.prod(shape)} voxels, the limit is {max_voxels}",
            way("max_voxels", str(math.prod(shape)), "lets it in", "crop it, or check its header"),
        )


def _faulty(name: str, field: str, value: object, expected: str) -> InputError:
    return InputError(f"{name}: header field {field} is {value}, expected {expected}", "repair it")


def _check_shape(source: SourceHeader, name: str, max_voxels: int) -> None:
    ndim = int(source.field["dim"][0])
    if not 1 <= ndim <= 7:
        raise _faulty(name, "dim[0]", ndim, "3 or 4")
    for axis, length in enumerate(source.shape, start=1):
        if length < 1:
            raise _faulty(name, f"dim[{axis}]", length, "at least 1")
    check_shape(source.shape, name, max_voxels)


def _check_datatype(source: SourceHeader, name: str) -> None:
    code = int(source.field["datatype"])
    if code not in _REAL_TYPES or code not in source.raw._data_type_codes.value_set():
        kind = _OTHER_TYPES.get(code, "not a NIfTI type")
        raise _faulty(name, "datatype", f"{code} ({kind})", "real numbers of 8 to 64 bits")
    bits = source.raw.get_data_dtype().itemsize * 8
    if int(source.field["bitpix"]) != bits:
        logger.warning(
            "%s: header field bitpix is %d, datatype means %d", name, source.field["bitpix"], bits
        )


def _check_offset(source: SourceHeader, name: str) -> None:
    least = 0
    if source.single:
        least = 544 if source.kind == "NIfTI-2" else 352
    offset = float(source.field["vox_offset"])
    if not (least <= offset <= MAX_OFFSET and offset == math.floor(offset)):
        raise _faulty(name, "vox_offset", offset, f"whole bytes from {least} to {MAX_OFFSET}")


def _check_scaling(source: SourceHeader, name: str) -> None:
    for field in ("scl_slope", "scl_inter"):
        value = float(source.field[field])
        # Without a slope the intercept has no meaning.
        if not math.isfinite(value) and (field == "scl_slope" or source.field["scl_slope"] != 0):
            raise _faulty(name, field, value, "a finite number")
