"""Whether this Python has what benchmarks/gpu.sh needs; nothing of petrt is imported for that.

python benchmarks/needs.py          # names what is missing, exit code 1
python benchmarks/needs.py --name   # a file name for the first GPU
"""

from __future__ import annotations

import importlib.util
import re
import sys

# Import name -> name of the package.
NEEDED = {
    "numpy": "numpy", "scipy": "scipy", "torch": "torch", "pybind11": "pybind11",
    "onnx": "onnx", "onnxruntime": "onnxruntime", "pydantic": "pydantic",
    "safetensors": "safetensors", "nibabel": "nibabel", "filelock": "filelock",
    "platformdirs": "platformdirs", "typer": "typer", "rich": "rich", "pytest": "pytest",
    "google.protobuf": "protobuf", "ml_dtypes": "ml_dtypes", "skimage": "scikit-image",
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


def main(arguments: list[str]) -> int:
    if arguments == ["--name"]:
        from petrt import gpus

        found = gpus.list_gpus()
        print(re.sub(r"\W+", "_", found[0].name.lower()) if found else "unknown")
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
