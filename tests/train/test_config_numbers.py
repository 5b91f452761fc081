"""Numbers of a training configuration: what is none is refused with its key, before anything runs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from petrt.errors import InputError
from petrt.train.config import load_config

DEMO = (files("petrt.train") / "presets" / "demo.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "wrong", "key"),
    [
        ("seed = 2023", f"seed = {2**64}", "seed"),
        ("seed = 2023", "seed = -1", "seed"),
        ("seed = 2023", "seed = 0.5", "seed"),
        ("steps = 10000", "steps = 0", "steps"),
        ("steps = 10000", "steps = nan", "steps"),
        ("batch = 4", "batch = inf", "batch"),
        ("shift = 6", "shift = 6\nworkers = 1000000", "data.workers"),
        ("shift = 6", "shift = 6\nintensity = inf", "data.intensity"),
        ("100 = 0.48", "100 = nan", "data.doses"),
        ("[[96, 112], [96, 112], [112, 112], [128, 128]]", "[[0, 112]]", "data.crops"),
        ("[[96, 112], [96, 112], [112, 112], [128, 128]]", "[]", "data.crops"),
        ("[2.0, 2.0, 2.0]", "[0.0, 2.0, 2.0]", "model.domain.voxel_mm"),
        ("[2.0, 2.0, 2.0]", "[inf, 2.0, 2.0]", "model.domain.voxel_mm"),
        ("matrix = [128, 128]", "matrix = [0, 128]", "model.domain.matrix"),
        ("dose_range = [0.01, 0.25]", "dose_range = [0.0, 2]", "model.domain.dose_range"),
        ("[16, 24, 32], norm_groups = 8", "[16, 24, 32], norm_groups = 0", "norm_groups"),
        ("stem = 8", "stem = 0", "stem"),
        ("rate = 8e-4", "rate = nan", "optimizer.rate"),
    ],
)
def test_a_number_that_is_none_is_refused_with_its_key(line, wrong, key, tmp_path: Path):
    assert DEMO.count(line) >= 1
    path = tmp_path / "c.toml"
    path.write_text(DEMO.replace(line, wrong, 1))
    with pytest.raises(InputError, match=key) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
