"""The machine a measurement was made on, told without its name or its user's."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from petrt.hardware.cpu import cpu_model, default_threads, isa

# Packages whose version changes a time.
PACKAGES = ("petrt", "numpy", "scipy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")
CPU0 = Path("/sys/devices/system/cpu/cpu0")
# Above these something else takes time that would be counted as petrt's.
BUSY_LOAD, BUSY_SHARE = 0.5, 0.15


def describe() -> dict[str, Any]:
    """The machine, JSON-ready; what the system does not tell is None or left out."""
    return {
        "cpu": cpu_model(),
        "cores": default_threads(),
        "isa": isa(),
        "caches": _caches(),
        "memory_GiB": _memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "governor": _read(CPU0 / "cpufreq" / "scaling_governor"),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := installed(name))},
    }


def load() -> dict[str, Any]:
    """What else runs on the machine now, JSON-ready."""
    average = [round(value, 2) for value in _load()] or None
    return {"load_average": average, "busy_share": _busy_share()}


def busy(found: dict[str, Any]) -> str | None:
    """Why times will be too long, by what ``describe`` and ``load`` found; None if nothing shows."""
    load, cores, share = found["load_average"], found["cores"], found["busy_share"]
    if share is not None and share > BUSY_SHARE:
        return f"other processes keep the CPU {100 * share:.0f} % busy: times will be too long"
    if load and load[0] > BUSY_LOAD * cores:
        return (
            f"load average {load[0]:.1f} on {cores} cores: unless that was just now over, times will "
            "be too long"
        )
    return None


def _caches() -> dict[str, str]:
    """ "L2" -> "512K" of one core's path to memory, instruction caches left out."""
    found = {}
    for index in sorted((CPU0 / "cache").glob("index*")):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        if level and size and kind != "Instruction":
            found[f"L{level}"] = size
    return found


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _load() -> tuple[float, ...]:
    try:
        return os.getloadavg()
    except (OSError, AttributeError):
        return ()


def _busy_share(seconds: float = 0.3) -> float | None:
    """The share of all cores' time that goes to anything, while this process sleeps."""
    before = _ticks()
    if before is None:
        return None
    time.sleep(seconds)
    after = _ticks() or before
    idle, whole = after[0] - before[0], after[1] - before[1]
    return round(1 - idle / whole, 3) if whole > 0 else None


def _ticks() -> tuple[int, int] | None:
    """(idle and waiting for disks, all) in the system's ticks since it started."""
    text = _read(Path("/proc/stat")) or ""
    found = re.match(r"cpu +([\d ]+)", text)
    if found is None:
        return None
    ticks = [int(number) for number in found[1].split()][:8]  # guests are counted in user time
    return ticks[3] + ticks[4], sum(ticks)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def installed(name: str) -> str | None:
    """The version of a package, None without it; nothing is imported."""
    if name == "petrt":
        from petrt import __version__

        return __version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
