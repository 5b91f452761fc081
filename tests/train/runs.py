"""Tiny training runs: their configuration, and what to do with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from petrt.nets.checkpoint import load_checkpoint
from petrt.train.checkpoints import newest
from petrt.train.config import TrainConfig

UNET = {"base": 4, "multipliers": [1, 2], "blocks": 1, "norm_groups": 2}
TABLES: dict[str, Any] = {
    "data": {"crops": [[16, 24], [24, 24]], "shift": 2},
    "model": {
        "name": "unit",
        "label": "simulated data; not for diagnostic use",
        "domain": {"voxel_mm": [6.0, 6.0, 6.0]},
        "scale": {"volume_ml": 200.0},
        "network": {
            "guides": "nas+spectrum",
            "coarse": UNET,
            "denoiser": UNET,
            "guidance": {"stem": 4, "widths": [4, 8], "norm_groups": 2},
        },
        "sampler": {"kind": "ddim", "steps": 2},
    },
    "loss": {"coarse_weight": 100.0},
    "optimizer": {"rate": 3e-3, "warmup": 2, "ema": 0.9},
    "validation": {"subjects": 1, "samples": 2},
}


def config(steps: int = 8, **changes: Any) -> TrainConfig:
    """Batches of 2, the denoiser joins at step 4, checkpoints every 4 steps, no validation but the last.

    ``changes``: keys, or tables whose keys replace those of the same table; ``network`` is model.network.
    """
    keys = {"seed": 5, "coarse_steps": 4, "batch": 2, "checkpoint_every": 4, "validate_every": 1000}
    tables = json.loads(json.dumps(TABLES))
    tables["model"]["network"] |= changes.pop("network", {})
    for name, value in changes.items():
        if name in tables:
            tables[name] |= value
        else:
            keys[name] = value
    return TrainConfig.model_validate({"steps": steps, **keys, **tables})


def as_toml(settings: TrainConfig) -> str:
    """A configuration as a file says it."""

    def lines(table: dict[str, Any], prefix: str) -> list[str]:
        plain = {k: v for k, v in table.items() if not isinstance(v, dict) and v is not None}
        found = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
        for key, value in table.items():
            if isinstance(value, dict):
                found += [f"[{prefix}{key}]", *lines(value, f"{prefix}{key}.")]
        return found

    return "\n".join(lines(settings.model_dump(mode="json"), ""))


def stop_at(step: int) -> Callable[[int, dict[str, float]], None]:
    """A progress callback that raises Stopped after ``step``."""

    def progress(done: int, _: dict[str, float]) -> None:
        if done == step:
            raise Stopped

    return progress


class Stopped(Exception):
    """Raised by ``stop_at``."""


def weights(source: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, or of a run's newest one."""
    return load_checkpoint(newest(source))[0].state_dict()


def assert_same(got: Path, expected: Path, *, atol: float = 0.0) -> None:
    """The newest checkpoints of two runs agree: to the bit, or within ``atol``."""
    ours, theirs = weights(got), weights(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=atol, msg=name)


def log(run: Path) -> list[dict[str, Any]]:
    """The lines of log.jsonl."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
