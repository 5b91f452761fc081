"""Work of the host over threads: NumPy and SciPy release the interpreter inside large arrays."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise


def over_parts(work: Callable[[slice], object], length: int, threads: int) -> None:
    """Call ``work`` once for each of ``threads`` even parts of range(``length``), side by side.

    A part is a slice. Parts must not touch each other's results: then no bit depends on ``threads``.
    The first exception of a part is raised once all of them have ended.
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
