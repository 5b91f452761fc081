"""What the machine can do at most: matrix products in each precision, and memory traffic.

Each is measured in a process of its own (petrt.bench.apart), whose libraries then have the number of
threads asked for. A precision that nothing installed here can measure is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from petrt.bench import apart
from petrt.bench.peak_jobs import DTYPES, GEMM_SIZE
from petrt.hardware.cpu import default_threads, isa


def measure_peaks(threads: int | None = None) -> dict[str, Any]:
    """Operations and bytes a second, one thread and ``threads`` (default: all cores); JSON-ready.

    "gemm": precision -> {"1": ..., "2": ...} in operations (2 x multiplications) a second, or a string
    that says why it was not measured. "bandwidth": where -> kind -> bytes a second, reads and writes
    counted once each.
    """
    every = sorted({1, threads or default_threads()})
    gemm: dict[str, Any] = {}
    for dtype in DTYPES:
        why = unmeasurable(dtype)
        gemm[dtype] = why or {str(n): gemm_peak(dtype, n) for n in every}
    traffic: dict[str, Any] = {"memory": {}, "cache": {}}
    for n in every:
        found = apart.call("bandwidth", {"threads": n})
        traffic["memory"][str(n)] = found["memory"]
        # Every core has a second-level cache of its own.
        cache = traffic["cache"].get("1", found["cache"])
        traffic["cache"][str(n)] = {kind: n * rate for kind, rate in cache.items()}
    return {"threads": every[-1], "gemm": gemm, "gemm_size": GEMM_SIZE, "bandwidth": traffic}


def gemm_peak(dtype: str, threads: int) -> dict[str, Any]:
    """The fastest library's operations a second, and which it is."""
    arguments = {"dtype": dtype, "size": GEMM_SIZE, "threads": threads}
    rates: dict[str, float] = apart.call("gemm", arguments, threads=threads)["rates"]
    best = max(rates, key=lambda name: rates[name])
    return {"ops_per_s": rates[best], "by": best, "all": rates}


class Peaks:
    """The machine's peaks, with the products measured again while candidates are timed.

    A machine that others share is not as fast in every minute. The peak is the most that it showed:
    shares of it are rather too small than too large.
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self._seen: dict[str, list[float]] = {}

    def sample(self, dtypes: Iterable[str]) -> None:
        """Measure all threads' products again."""
        for dtype in dtypes:
            if isinstance(self.found["gemm"].get(dtype), dict):
                again = gemm_peak(dtype, self.found["threads"])
                self._seen.setdefault(dtype, []).append(again["ops_per_s"])

    def gemm(self, dtype: str) -> float | None:
        """All threads' operations a second, the most that was seen; None if not measured."""
        known = self.found["gemm"].get(dtype)
        if not isinstance(known, dict):
            return None
        first = float(known[str(self.found["threads"])]["ops_per_s"])
        return max([first, *self._seen.get(dtype, [])])

    def bandwidth(self, where: str) -> float:
        """All threads' bytes a second of a copy in "memory" or "cache"."""
        return float(self.found["bandwidth"][where][str(self.found["threads"])]["copy"])

    def record(self) -> dict[str, Any]:
        """JSON-ready, with the samples."""
        return {**self.found, "sampled": dict(self._seen)}


def unmeasurable(dtype: str) -> str | None:
    """Why no library here can show the peak of ``dtype``; None if one can."""
    if dtype != "bf16":
        return None
    if not {"avx512_bf16", "amx_bf16", "bf16"} & set(isa()):
        return "not measured: this CPU has no bf16 arithmetic"
    from petrt.bench.machine import installed

    return None if installed("openvino") else "not measured: needs OpenVINO"
