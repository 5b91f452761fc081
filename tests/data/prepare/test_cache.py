"""Number formats and crops: what is lost, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from petrt.data.prepare.cache import encode
from petrt.data.prepare.crop import cropped, parse_box
from petrt.data.prepare.scan import LoadedScan
from petrt.errors import InputError, UsageError
from tests.data.prepare.scans import AFFINE, SHAPE, scan

values = hnp.arrays(
    np.float32, (3, 4, 5), elements=st.floats(-60000, 60000, width=32, allow_subnormal=False)
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(values, st.floats(1e-3, 1e6))
def test_float16_keeps_eleven_bits(array, unit):
    scaled = array * np.float32(unit)
    stored = encode(scaled.copy(), unit, "float16")
    assert stored.dtype == np.float16
    back = stored.astype(np.float64) * unit
    error = np.abs(back - scaled)
    # 2^-11 relative, or the absolute 2^-25 units below the smallest normal number; plus float32's own.
    bound = np.abs(scaled.astype(np.float64)) * (2**-11 + 2**-22) + 2**-25 * unit
    assert (error <= bound).all()


def test_what_float16_cannot_hold_is_refused():
    array = np.ones((2, 2, 2), np.float32)
    array[0, 0, 0] = -7e4
    with pytest.raises(InputError, match=r"7e\+04 times the scale.*float32"):
        encode(array.copy(), 1.0, "float16")
    assert encode(array, 1.0, "float32")[0, 0, 0] == -7e4


def test_a_crop_is_along_canonical_axes_and_its_affine_follows():
    loaded = LoadedScan(scan(0), AFFINE)
    part, crop = cropped(loaded, parse_box("2:12,:,-5:-1"))
    # The first axis runs to the left: canonical x 2..11 are its last but two down to the twelfth.
    np.testing.assert_array_equal(part.data, loaded.data[6:16, :, 9:13])
    assert crop.start == (6, 0, 9)
    assert crop.source_shape == SHAPE
    np.testing.assert_allclose(
        part.affine @ [1, 2, 3, 1], loaded.affine @ [7, 2, 12, 1], atol=1e-12
    )


@pytest.mark.parametrize("box", ["0:19,:,:", ":,:,-15:", "5:5,:,:", ":,30:40,:", "9:3,:,:"])
def test_a_crop_beyond_the_volume_is_refused(box):
    with pytest.raises(InputError, match="does not lie within"):
        cropped(LoadedScan(scan(0), AFFINE), parse_box(box))


@pytest.mark.parametrize("text", ["", "1:2", "1:2,3:4", "a:b,1:2,3:4", "1:2:3,1:2,1:2", "1,2,3"])
def test_what_is_no_crop(text):
    with pytest.raises(UsageError, match="is not x0:x1,y0:y1,z0:z1"):
        parse_box(text)
