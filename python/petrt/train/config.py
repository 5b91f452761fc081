"""The training configuration: a TOML file, checked before anything runs."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from petrt.errors import InputError
from petrt.spec import DomainSpec, NetworkSpec, SamplerSpec, ScaleRule, ScheduleSpec, Spec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class DataConfig(Spec):
    """Which subjects, and how slices are cut from them.

    ``crops``: in-plane sizes (H, W) drawn per batch, so that the networks and the spectrum guide meet
    several fields of view. ``shift``: largest offset of a crop from the centre, voxels.
    """

    dose: int = Field(default=100, ge=1)
    train: tuple[int, int]
    validation: tuple[int, int]
    crops: tuple[tuple[int, int], ...] = ((128, 128),)
    shift: int = Field(default=4, ge=0)
    intensity: float = Field(default=0.1, ge=0)
    flip: bool = True


class ModelConfig(Spec):
    """The model to train; sigma_r and the clip follow from the data (see petrt.train.fit)."""

    name: str
    description: str = ""
    label: str = "not for diagnostic use"
    network: NetworkSpec
    domain: DomainSpec
    scale: ScaleRule = ScaleRule()
    schedule: ScheduleSpec = ScheduleSpec()
    sampler: SamplerSpec = SamplerSpec()

    @model_validator(mode="after")
    def _coarse_first(self) -> ModelConfig:
        if self.network.coarse is None:
            raise ValueError("this recipe trains a coarse network first; give network.coarse")
        return self


class LossConfig(Spec):
    """Terms and weights. ``coarse`` is P's own loss, which keeps it from collapsing (method.md section 5);
    ``nas`` and ``spectrum`` are m and n of Eq. 9. ``levels``: how gamma is drawn, ``log-snr`` evenly between
    gamma_min and gamma_max, ``wavegrad`` as in the paper."""

    coarse: Literal["l1", "l2"] = "l2"
    denoiser: Literal["l1", "l2"] = "l1"
    coarse_weight: float = 1.0
    denoiser_weight: float = 1.0
    nas: float = 1.0
    spectrum: float = 1.0
    levels: Literal["log-snr", "wavegrad"] = "log-snr"
    gamma_min: float = Field(default=0.005, gt=0, lt=1)
    gamma_max: float = Field(default=0.999, gt=0, lt=1)


class OptimizerConfig(Spec):
    """Adam with a linear warm-up and a cosine decay to ``final_rate`` of the rate."""

    rate: float = Field(default=1e-4, gt=0)
    warmup: int = Field(default=100, ge=0)
    final_rate: float = Field(default=0.02, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.999, ge=0, lt=1)


class TrainConfig(Spec):
    """One training run. The denoiser joins after ``coarse_steps`` steps of P alone."""

    seed: int = 0
    steps: int = Field(gt=0)
    coarse_steps: int = Field(ge=0)
    batch: int = Field(default=4, gt=0)
    checkpoint_every: int = Field(default=500, gt=0)
    validate_every: int = Field(default=500, gt=0)
    data: DataConfig
    model: ModelConfig
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()


def load_config(source: str | Path) -> TrainConfig:
    """Read a TOML file, or the preset of that name shipped in ``petrt/train/presets``.

    Raises InputError naming the first wrong key.
    """
    preset = files("petrt.train") / "presets" / f"{source}.toml"
    path = Path(source)
    if not path.suffix and preset.is_file():
        text = preset.read_text(encoding="utf-8")
    elif path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        raise InputError(
            f"no training configuration '{source}'", "give a .toml file or a preset: default, demo"
        )
    try:
        return TrainConfig.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{source}: {key}: {first['msg']}") from error
