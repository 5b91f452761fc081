"""Several processes that start at once on one cold cache of compiled networks, and one after them.

The engine is OpenVINO, whose cache they share. All must succeed with equal outputs; the one after them must
find a cache that it uses and does not change.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.trust.jobs import OPTIONS, digest, stamp, write_volume


def section(processes: int = 8) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_volume(root / "low.nii.gz", (32, 32, 4))
        begun = time.perf_counter()
        started = [_start(root, number) for number in range(processes)]
        together = [_ended(each) for each in started]
        seconds = time.perf_counter() - begun
        before = _files(root)
        begun = time.perf_counter()
        alone = _ended(_start(root, processes))
        later = time.perf_counter() - begun
        images = {stamp(root / f"out{number}.nii.gz") for number in range(processes + 1)}
        after = _files(root)
    found = {
        "engine": "openvino",
        "processes": processes,
        "exit_codes": sorted({code for code, _ in [*together, alone]}),
        "different_outputs": len(images),
        "without_the_cache": sum("cannot be cached" in text for _, text in together),
        "files_in_the_cache": len([file for file in before if file.endswith(".blob")]),
        "unchanged_by_the_next": before == after,
        "seconds_together": round(seconds, 1),
        "seconds_of_the_next": round(later, 1),
    }
    met = found["exit_codes"] == [0] and None not in images and len(images) == 1
    return found | {"met": met and before == after and found["files_in_the_cache"] > 0}


def _start(root: Path, number: int) -> subprocess.Popen[str]:
    command = ["reconstruct", str(root / "low.nii.gz"), str(root / f"out{number}.nii.gz")]
    options = [option for option in OPTIONS if option != "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "petrt", *command, *options, "--engine", "openvino"],
        env={**os.environ, "PETRT_CACHE": str(root / "cache")},
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, text = process.communicate()
    return process.returncode, text


def _files(root: Path) -> dict[str, str]:
    """Digest of each file in the cache."""
    paths = sorted((root / "cache").rglob("*"))
    return {path.name: digest(path.read_bytes()) for path in paths if path.is_file()}
