"""A PET series in and out: time and memory of reading and of writing the derived series, without a network.

Two synthetic series, each in a process of its own: 500 slices of 256 x 256, and 1,000 slices of 440 x 440 (a
long-axial scan). The volume that was read is written back unchanged, read again and compared.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from petrt.io.dicom import series as dicom
from petrt.io.dicom.derivation import Derivation
from petrt.io.dicom.writer import write_series

CASES = {"500 slices of 256 x 256": (256, 256, 500), "1,000 slices of 440 x 440": (440, 440, 1000)}


def make(folder: Path, shape: tuple[int, int, int]) -> None:
    """Write a series of uniform noise in a cylinder, each slice with its own slope, slice by slice."""
    import pydicom

    from tests.io.dicom.clinical import AFFINE, clinical, fields

    columns, rows, slices = shape
    template, scratch = folder.parent / "template", np.ones((columns, rows, 1))
    (path,) = clinical(template, scratch)
    dataset = pydicom.dcmread(path)
    dataset.NumberOfSlices = fields(slices)["NumberOfSlices"]
    rng = np.random.default_rng(0)
    y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    inside = x**2 + y**2 < 0.8
    folder.mkdir()
    for k in range(slices):
        stored = np.where(inside, rng.integers(0, 32767, (rows, columns)), 0).astype("<i2")
        dataset.PixelData, dataset.RescaleSlope = stored.tobytes(), f"{0.1 + 0.001 * k:.6g}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.9.{k + 1}"
        dataset.InstanceNumber = dataset.ImageIndex = k + 1
        dataset.ImagePositionPatient[2] = f"{AFFINE[2, 3] + 3 * k:g}"
        dataset.save_as(folder / f"{k:04}.dcm")


def peak() -> int:
    """The largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(source: Path, out: Path) -> dict[str, Any]:
    """Read, write back and read again, in this process."""
    before, began, busy = peak(), time.perf_counter(), time.process_time()
    volume = dicom.read(source)
    read = time.perf_counter()
    by = Derivation("none", "0" * 64, "0", "{}", "Values unchanged.")
    write_series(out, volume.data, volume, by)
    written = time.perf_counter()
    largest, busy = peak(), time.process_time() - busy
    again = dicom.read(out).data
    total = float(volume.data.sum(dtype=np.float64))
    highest = np.abs(volume.data).max(axis=(0, 1))
    return {
        "shape": list(volume.data.shape),
        "read_seconds": round(read - began, 2),
        "write_seconds": round(written - read, 2),
        "together_seconds": round(written - began, 2),
        "together_cpu_seconds": round(busy, 2),
        "volume_GiB": round(volume.data.nbytes / 2**30, 3),
        "memory_beyond_the_volume_GiB": round((largest - before - volume.data.nbytes) / 2**30, 3),
        "largest_error_in_steps": round(
            float((np.abs(again - volume.data).max(axis=(0, 1)) / (highest / 32767)).max()), 4
        ),
        "total_activity_changed_by": float(again.sum(dtype=np.float64)) / total - 1,
    }


def section() -> dict[str, Any]:
    """Both cases."""
    results = {}
    for name, shape in CASES.items():
        with tempfile.TemporaryDirectory() as place:
            source, out = Path(place) / "in", Path(place) / "out"
            make(source, shape)
            command = [sys.executable, "-m", "benchmarks.clinic.series", source, out]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results[name] = json.loads(done.stdout)
            results[name]["load_of_the_machine"] = round(os.getloadavg()[0], 1)
    return results


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
