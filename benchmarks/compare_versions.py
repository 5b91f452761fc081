"""Whether two versions of petrt compute the same bits on a CPU.

    PYTHONPATH=OLD/python python -m benchmarks.compare_versions record old.json
    PYTHONPATH=NEW/python python -m benchmarks.compare_versions record new.json
    python -m benchmarks.compare_versions compare old.json new.json

Recorded are hashes: of the ONNX files that an export writes, and of image, std and coarse prediction
that each engine computes, in every precision it has on this CPU. The subjects are the demo model and
networks of random weights, among them those of the paper's size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ENGINES = {
    "native": ("fp32",),
    "onnxruntime": ("fp32",),
    "openvino": ("fp32",),
    "torch": ("fp32", "fp16", "bf16"),
}
# (preset, how it upsamples, how it stores weights)
EXPORTS = (
    ("tiny", "conv", "fp32"),
    ("tiny", "transposed", "fp32"),
    ("tiny", "conv", "fp16-weights"),
    ("paper", "conv", "fp32"),
)
SHAPE = (32, 40, 3)  # of the volume, [X, Y, Z]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def record(subjects: list[str]) -> dict[str, str]:
    """Name of what was computed -> its hash."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for preset, upsample, precision in EXPORTS:
            if preset not in subjects:
                continue
            name = f"{preset} {upsample} {precision}"
            path = Path(folder) / name.replace(" ", "-")
            _export(preset, path, upsample, precision)
            for file in sorted(path.glob("*.onnx")):
                found[f"{name}: {file.name}"] = digest(file.read_bytes())
            found |= _images(name, str(path))
    if "demo" in subjects:
        found |= _images("demo", "demo")
    return found


def _export(preset: str, path: Path, upsample: Any, precision: Any) -> None:
    """Random weights, the same in every version, that no norm or last layer hides."""
    import torch

    from petrt.export import export_model
    from petrt.model.spec import DomainSpec, ModelSpec
    from petrt.nets import PRESETS, Model

    torch.manual_seed(0)
    model = Model(PRESETS[preset]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    spec = ModelSpec(
        name="random", network=PRESETS[preset], domain=DomainSpec(voxel_mm=(2.0, 2.0, 2.0))
    )
    export_model(model, spec, path, upsample=upsample, precision=precision)


def _images(name: str, source: str) -> dict[str, str]:
    from petrt.bench.volume import make_volume
    from petrt.engines import select_engine
    from petrt.errors import DeviceError
    from petrt.inference.reconstructor import Reconstructor
    from petrt.model.bundle import load_bundle

    found: dict[str, str] = {}
    bundle, volume = load_bundle(source), make_volume(*SHAPE)
    for engine, precisions in ENGINES.items():
        for precision in precisions:
            key = f"{name}: {engine} {precision}"
            try:
                opened = select_engine(bundle, engine, "cpu", precision)  # type: ignore[arg-type]
                steps = bundle.model.sampler.steps  # versions differ in their default
                run = Reconstructor(
                    bundle, engine=opened, samples=2, steps=steps, seed=3, threads=1
                )
                run.allow_activity_change = True  # which earlier versions do not look at
                result = run(volume)
            except DeviceError as error:
                found[key] = f"refused: {type(error).__name__}"
                continue
            for part in ("image", "std", "coarse"):
                array = np.ascontiguousarray(getattr(result, part))
                found[f"{key} {part}"] = digest(array.tobytes())
    return found


def compare(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """The names of what differs or is in one of them only."""
    return [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("out", type=Path)
    recording.add_argument("--subjects", nargs="+", default=["demo", "tiny", "paper"])
    comparing = commands.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    args = parser.parse_args()
    if args.command == "record":
        args.out.write_text(json.dumps(record(args.subjects), indent=1) + "\n")
        return 0
    old, new = (json.loads(path.read_text()) for path in (args.old, args.new))
    differing = compare(old, new)
    for name in differing:
        print(f"{name}: {old.get(name)} and {new.get(name)}")
    print(f"{len(old) - len(differing)} of {len({*old, *new})} equal")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
