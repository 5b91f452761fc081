"""The samples of a run, one by one: on disk, because a large volume's do not fit into memory."""

from __future__ import annotations

import errno
import os
import tempfile

import numpy as np

from petrt.arrays import Array
from petrt.errors import DeviceError


def sample_store(samples: int, shape: tuple[int, ...]) -> Array:
    """Zeros [samples, *shape], float32, in a file without a name in the folder for temporary files ($TMPDIR).

    The file goes with the array. Raises DeviceError where the disk does not hold it.
    """
    size = 4 * samples * int(np.prod(shape))
    try:
        with tempfile.TemporaryFile(prefix="petrt-samples-") as file:
            _reserve(file.fileno(), size)
            return np.memmap(file, np.float32, "r+", shape=(samples, *shape))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DeviceError(
            f"the {samples} samples need {size / 1e9:.1f} GB in {tempfile.gettempdir()}, which is full",
            "set TMPDIR to a folder with more space",
        ) from error


def _reserve(file: int, size: int) -> None:
    """Take the space at once: a write into a map of a full disk would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:  # no such call: a full disk shows in the writing of the pages
        os.truncate(file, size)
