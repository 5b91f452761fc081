"""Whatever the bytes of a NIfTI file: a volume, or one InputError of one line, in bounded memory."""

from __future__ import annotations

import gzip
import struct
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt.errors import InputError
from petrt.io import nifti
from tests.helpers import allocating_less
from tests.io.nifti_files import FIELDS, good_bytes

HEADER = 352  # bytes, of which most decide something
MOST_BYTES = 16 << 20
MOST_VOXELS = 1 << 20

whole = st.integers(-(2**15), 2**15 - 1)
number = st.one_of(
    st.floats(width=32), st.sampled_from([0.0, -1.0, 1e30, 352.0, 353.0, float("nan")])
)
CHANGES = st.dictionaries(
    st.sampled_from(sorted(FIELDS)),
    st.one_of(st.sampled_from([0, 1, 2, 3, 4, 8, 16, 64]), whole, number),
)
EDITS = st.lists(
    st.tuples(st.one_of(st.integers(0, HEADER), st.integers(0, 2991)), st.integers(0, 255)),
    max_size=6,
)
CUTS = st.one_of(st.none(), st.integers(0, 2992))


def outcome(name: str, content: bytes) -> None:
    """Reading gives finite numbers on a grid, or one line; everything else is a failure of the test."""
    said, volume = "", None
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            with allocating_less(MOST_BYTES):
                nifti.look(path, max_voxels=MOST_VOXELS)
                volume = nifti.read(path, max_voxels=MOST_VOXELS)
        except InputError as error:
            said = str(error)
    if volume is None:
        assert said.startswith(name)
        assert "\n" not in said
        return
    assert np.isfinite(volume.data).all()
    assert np.isfinite(volume.affine).all()
    assert abs(np.linalg.det(volume.affine)) > 0


def with_fields(changes: dict[str, float]) -> bytes:
    """A good file with odd fields, as far as they can be stored."""
    content = good_bytes()
    for name, value in changes.items():
        offset, kind = FIELDS[name]
        if kind == "f" or (isinstance(value, int) and -(2**15) <= value < 2**15):
            struct.pack_into(f"<{kind}", content, offset, value)
    return bytes(content)


@settings(max_examples=200, deadline=None)
@given(CHANGES, EDITS, CUTS)
def test_damaged_headers_and_data(changes, edits, cut):
    content = bytearray(with_fields(changes))
    for place, value in edits:
        content[min(place, len(content) - 1)] = value
    outcome("pet.nii", bytes(content[:cut]))


@settings(max_examples=100, deadline=None)
@given(CHANGES, EDITS, CUTS)
def test_damaged_streams(changes, edits, cut):
    content = bytearray(gzip.compress(with_fields(changes)))
    for place, value in edits:
        content[place % len(content)] = value
    outcome("pet.nii.gz", bytes(content[:cut]))


def test_what_is_damaged_was_good():
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pet.nii"
        path.write_bytes(with_fields({}))
        assert nifti.read(path).data.size > 0
