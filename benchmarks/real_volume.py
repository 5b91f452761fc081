"""A real volume and copies of it through the command line: the grid must come back bit for bit.

    python -m benchmarks.real_volume brain_fdg_template.nii.gz

The copies: int16 + slope stored left to right (LAS), 4-D, and odd-sized. The volume is an average of
many subjects at full dose, far from the demo model's training; the activity ratio is reported as is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmarks.common import save
from petrt.cli.app import run

FIELDS = (
    "pixdim",
    "qform_code",
    "sform_code",
    "xyzt_units",
    "srow_x",
    "srow_y",
    "srow_z",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
)


def copies(original: nibabel.Nifti1Image) -> dict[str, nibabel.Nifti1Image]:
    """The volume as others might store it."""
    data, affine = original.get_fdata(dtype=np.float32), original.affine
    flipped = affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[:3, 3] += affine[:3, 0] * (data.shape[0] - 1)
    las = nibabel.Nifti1Image(np.round(data[::-1] * 3000).astype(np.int16), flipped)
    las.header.set_slope_inter(1 / 3000, 0)
    las.set_sform(flipped, code=4)
    las.set_qform(flipped, code=1)
    series = nibabel.Nifti1Image(np.stack([data, 0.5 * data], -1)[:, :, 40:48], affine)
    odd = nibabel.Nifti1Image(data[3:88, 5:106, 30:61], affine)
    return {"original": original, "int16 + slope, LAS": las, "4-D": series, "odd-sized": odd}


def check(image: nibabel.Nifti1Image, folder: Path) -> dict[str, Any]:
    """Reconstruct a file and compare grids."""
    source, out, record = folder / "in.nii.gz", folder / "out.nii.gz", folder / "run.json"
    image.to_filename(source)
    arguments = ["reconstruct", source, out, "--json", record, "--overwrite"]
    if run([str(a) for a in arguments]) != 0:
        raise SystemExit("petrt reconstruct failed")
    before, after = nibabel.load(source), nibabel.load(out)
    same = before.shape == after.shape and bool(np.array_equal(before.affine, after.affine))
    same &= all(np.array_equal(before.header[f], after.header[f], equal_nan=True) for f in FIELDS)
    stats = json.loads(record.read_text())
    return {
        "shape": list(after.shape),
        "grid_affine_codes_equal": same,
        "activity_ratio": [round(frame["activity_ratio"], 4) for frame in stats["frames"]],
        "suvmax_shift_percent": [round(f["suvmax_shift_percent"], 2) for f in stats["frames"]],
        "seconds": stats["seconds"]["total"],
        "warnings": stats["warnings"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        original = nibabel.load(options.volume)
        rows = {name: check(image, Path(folder)) for name, image in copies(original).items()}
    for name, row in rows.items():
        print(name, row)
    print(save("real_volume", {"volume": options.volume.name, "model": "demo", "cases": rows}))


if __name__ == "__main__":
    main()
