"""A small prepared data set, and configurations for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petrt.data.dataset import Dataset, open_dataset
from petrt.data.index import INDEX, VOLUMES, DatasetIndex, LowFile, SubjectEntry, VolumeFile
from petrt.data.prepare.cache import write_array
from petrt.imaging.grid import plan
from petrt.model.spec import ScaleRule
from petrt.nets.presets import PRESETS
from petrt.train.config import TrainConfig
from petrt.train.data import Batch

SCALES = {100: 800.0, 20: 1000.0}
FULL_UNIT = 500.0


def write(
    folder: Path,
    count: int = 4,
    *,
    shape: tuple[int, int, int] = (9, 16, 20),
    noise: float = 0.1,
    weights: Callable[[int], np.ndarray] = np.ones,
    patients: int | None = None,
) -> Dataset:
    """A prepared data set of subjects sub-0000, ..., each one slice longer than the one before.

    Full-dose voxels of subject k lie between k + 1 and k + 1.5, times FULL_UNIT.
    """
    rng = np.random.default_rng(0)
    (folder / VOLUMES).mkdir()
    subjects = {}
    for k in range(count):
        name, (z, h, w) = f"sub-{k:04d}", (shape[0] + k, *shape[1:])
        full = (k + 1 + 0.5 * rng.random((z, h, w))).astype(np.float16)
        low = {}
        for dose, scale in SCALES.items():
            image = full * (FULL_UNIT / scale) * (1 + noise * rng.random(full.shape))
            file = write_array(folder, f"{name}_1to{dose}", image.astype(np.float16))
            low[dose] = LowFile(**file.model_dump(), unit=scale, scale=scale)
        file = write_array(folder, f"{name}_full", full)
        subjects[name] = SubjectEntry(
            kind="unit",
            patient=f"patient-{k % (patients or count)}",
            shape=(z, h, w),
            placement=plan((h, w, z), voxel_mm=(2.0, 2.0, 2.0), multiple=4),
            affine=np.diag([2.0, 2, 2, 1]).tolist(),
            full=VolumeFile(**file.model_dump(), unit=FULL_UNIT),
            low=low,
            weights=weights(z).tolist(),
        )
    index = DatasetIndex(
        dtype="float16", scale_rule=ScaleRule(), voxel_mm=(2.0, 2.0, 2.0), subjects=subjects
    )
    (folder / INDEX).write_text(index.model_dump_json())
    for split in ("train", "validation", "test"):
        (folder / f"{split}.txt").write_text("\n".join(subjects) if split == "train" else "")
    return open_dataset(folder)


def config(**changes: Any) -> TrainConfig:
    """``data``, ``loss``, ``model`` and ``network`` as dictionaries of keys to change, the rest as it is."""
    network = PRESETS["tiny"].model_copy(update=changes.pop("network", {}))
    data = {"crops": [[8, 8], [12, 16]], "shift": 3, "negatives": 3} | changes.pop("data", {})
    model = {"name": "unit", "network": network, "domain": {"voxel_mm": [2, 2, 2]}}
    model |= changes.pop("model", {})
    values = {"seed": 3, "steps": 10, "coarse_steps": 2, "batch": 4, "data": data, "model": model}
    return TrainConfig.model_validate(values | changes)


ALL = {
    "data": {"rotation_deg": 8.0, "blend": 0.5, "doses": {100: 1, 20: 2}},
    "loss": {"contrastive": "margin"},
}
PLAIN = {"shift": 0, "flip": False, "intensity": 0.0, "crops": [[16, 20]]}


def ids(data: Dataset) -> list[str]:
    return data.split("train")


def assert_same(one: Batch, other: Batch) -> None:
    for name, tensor in vars(one).items():
        got = getattr(other, name)
        assert (tensor is None) == (got is None), name
        assert tensor is None or torch.equal(tensor, got), name
