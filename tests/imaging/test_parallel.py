"""Work of the host over threads: every item once, in parts that share nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petrt.imaging.parallel import over_parts


@given(length=st.integers(0, 50), threads=st.integers(1, 9))
def test_every_item_is_worked_on_once(length, threads):
    seen = np.zeros(length, int)

    def count(part: slice) -> None:
        seen[part] += 1

    over_parts(count, length, threads)
    assert (seen == 1).all()


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_of_any_part_is_raised(bad):
    def fail(part: slice) -> None:
        if part.start <= bad < part.stop:
            raise RuntimeError(f"in {bad}")

    with pytest.raises(RuntimeError, match=f"in {bad}"):
        over_parts(fail, 3, 3)
