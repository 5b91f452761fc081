"""Threads for work in NumPy and SciPy, which release Python's global lock inside large arrays."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise


def over_parts(work: Callable[[slice], object], length: int, threads: int) -> None:
    """Call ``work`` in parallel, once for each of ``threads`` even parts (slices) of range(``length``).

    Parts must not write to each other's results; then the result does not depend on ``threads``. The
    first exception of a part is raised after all of them have ended.
    """
    count = max(1, min(threads, length))
    edges = [length * i // count for i in range(count + 1)]
    parts = [slice(begin, end) for begin, end in pairwise(edges)]
    if count == 1:
        work(parts[0])
        return
    with ThreadPoolExecutor(count - 1) as pool:
        others = [pool.submit(work, part) for part in parts[1:]]
        work(parts[0])
    for other in others:
        other.result()
