"""Whether this Python has what benchmarks/gpu.sh needs; nothing of petrt is imported for that.

python benchmarks/needs.py          # names what is missing, exit code 1
python benchmarks/needs.py --name   # a file name for the first GPU
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

# Import name -> name of the package.
NEEDED = {
    "numpy": "numpy", "scipy": "scipy", "torch": "torch", "pybind11": "pybind11",
    "onnx": "onnx", "onnxruntime": "onnxruntime", "pydantic": "pydantic",
    "safetensors": "safetensors", "nibabel": "nibabel", "filelock": "filelock",
    "platformdirs": "platformdirs", "pytest": "pytest",
    "google.protobuf": "protobuf", "ml_dtypes": "ml_dtypes",
}  # fmt: skip
WANTED = {"cupy": "cupy (the spectrum guide's FFT on the GPU)"}


def absent(names: dict[str, str]) -> list[str]:
    found = []
    for module, package in names.items():
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # of a parent
            spec = None
        if spec is None:
            found.append(package)
    return found


def first_gpu() -> Any:
    """petrt.gpus, which needs nothing else of petrt, before petrt is built."""
    path = Path(__file__).parents[1] / "python" / "petrt" / "gpus.py"
    spec = importlib.util.spec_from_file_location("gpus", path)
    assert spec is not None
    assert spec.loader is not None
    gpus = importlib.util.module_from_spec(spec)
    sys.modules["gpus"] = gpus
    spec.loader.exec_module(gpus)
    found = gpus.list_gpus()
    if not found:
        sys.exit(f"no GPU: {gpus.why_none()}")
    return found[0]


def main(arguments: list[str]) -> int:
    if arguments == ["--name"]:
        print(re.sub(r"\W+", "_", first_gpu().name.lower()))
        return 0
    if arguments == ["--architecture"]:
        print("{}{}".format(*first_gpu().compute_capability))
        return 0
    for package in absent(WANTED):
        print(f"not here, left out: {package}")
    missing = absent(NEEDED)
    if missing:
        print(f"missing Python packages: {', '.join(missing)}")
        print("give their wheels, and those they need: benchmarks/gpu.sh --wheels DIR")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
