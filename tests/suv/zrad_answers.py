"""What z-rad says of the series of ``cases``: ``python -m tests.suv.zrad_answers`` writes zrad_answers.json.

z-rad (PyPI, MIT) computes SUV after the same manual. It brings a graphical interface (PyQt5) and OpenCV, so
it is no package of the tests. To repeat this, install it by ``pip install --no-deps --target`` with
SimpleITK, PyWavelets, joblib and opencv-python-headless into a folder of its own.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.suv.cases import CASES
from tests.suv.series_files import write

ANSWERS = Path(__file__).with_suffix(".json")


def answer(folder: Path) -> list[float] | None:
    """SUV of a voxel of the first and the last slice of a series of 1000; None if there is none."""
    from zrad.exceptions import DataStructureError
    from zrad.io.dicom import read_dicom_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = read_dicom_image(str(folder), "PET")
        except (DataStructureError, AttributeError, TypeError, ValueError):
            return None
    size = image.GetSize()
    return [image.GetPixel(2, 1, z) for z in (0, size[2] - 1)]


def main() -> None:
    answers: dict[str, Any] = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), **case.changes)
            answers[name] = answer(Path(folder))
    record = {"z-rad": version("z-rad"), "answers": answers}
    ANSWERS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
