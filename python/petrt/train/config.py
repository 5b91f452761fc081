"""The training configuration: a TOML file, checked before anything runs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from petrt.errors import InputError
from petrt.files.system import reading
from petrt.files.toml import parsed
from petrt.model.spec import (
    CardSpec,
    DomainSpec,
    NetworkSpec,
    SamplerSpec,
    ScaleRule,
    ScheduleSpec,
    Spec,
    TransformSpec,
)
from petrt.values import MOST_SEED, MOST_WORKERS


class DataConfig(Spec):
    """How slices are drawn from a prepared data set and augmented.

    ``doses``: dose reduction -> sampling weight. ``crops``: in-plane sizes (H, W), of which one is drawn per
    batch, so that training has several fields of view. ``shift``: largest offset of a crop from the centre,
    voxels. ``flip``: mirror left and right. ``rotation_deg``: standard deviation of an in-plane rotation.
    ``intensity``: standard deviation of the log of a common gain. ``blend``: fraction of items whose input
    is a mixture of two doses. ``negatives``: number of slices of other subjects near the same height, for
    the contrastive term. ``negative_offset``: standard deviation of their distance in slices. ``rescale``:
    ``volume``, the scale of the low-dose volume as in inference, or ``batch``, the minimum and maximum of
    each batch as in the authors' code. ``workers``: loader processes; 0: load in the training process.
    """

    doses: dict[int, float] = Field(default_factory=lambda: {100: 1.0})
    crops: tuple[tuple[PositiveInt, PositiveInt], ...] = Field(default=((128, 128),), min_length=1)
    shift: int = Field(default=4, ge=0)
    flip: bool = True
    rotation_deg: float = Field(default=0.0, ge=0, le=45)
    intensity: float = Field(default=0.1, ge=0)
    blend: float = Field(default=0.0, ge=0, le=1)
    negatives: int = Field(default=10, ge=0)
    negative_offset: float = Field(default=2.0, ge=0)
    rescale: Literal["volume", "batch"] = "volume"
    workers: int = Field(default=0, ge=0, le=MOST_WORKERS)

    @field_validator("doses")
    @classmethod
    def _some_dose(cls, doses: dict[int, float]) -> dict[int, float]:
        if not doses or min(doses) < 1 or min(doses.values()) < 0 or sum(doses.values()) <= 0:
            raise ValueError(f"doses maps a reduction (100 for 1/100) to a weight, got {doses}")
        return doses


class ModelConfig(Spec):
    """The model to train. sigma_r and the clip are computed from the data (see petrt.train.fit).

    ``residual_std``: standard deviation of the scaled residual, measured when the denoiser joins; 0: no
    scaling (sigma_r = 1), as in the paper. ``transform``: what the networks see and predict, the scaled
    activity (linear) or a logarithm of it (log1p).
    """

    name: str
    description: str = ""
    label: str = "not for diagnostic use"
    network: NetworkSpec
    domain: DomainSpec
    scale: ScaleRule = ScaleRule()
    transform: TransformSpec = TransformSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    sampler: SamplerSpec = SamplerSpec()
    residual_std: float = Field(default=1.0, ge=0)
    card: CardSpec | None = None


class LossConfig(Spec):
    """Terms and weights of the loss (Eq. 9).

    ``coarse``: P's own loss, which prevents its collapse (method.md section 5). ``dose_exponent``: in it,
    an item at dose d has the weight (d / d_min)^dose_exponent, with the smallest dose of ``data.doses``;
    above 0, the small errors at high doses count as well. As in the paper, L_main alone trains P with
    weight 0 and ``detach`` = false. ``denoiser``: the norm of L_main (Eq. 8).
    ``weighting``: ``eps`` as in the paper, or ``v``, errors divided by sqrt(gamma), which gives errors of
    x0 at high noise more weight. ``nas`` and ``spectrum`` are m and n. ``guidance_target``: y_aux pooled
    by a fixed filter, or by the extractor's own downsampler as in the authors' code. ``contrastive``: the
    form of L_CL (Eq. 7); ``contrastive_weight`` is k. ``levels``: how gamma is drawn, ``wavegrad`` as in
    the paper, ``log-snr`` uniform between gamma_min and gamma_max, or ``sampler``, only the levels of the
    model's own sampler.
    """

    coarse: Literal["l1", "l2"] = "l2"
    coarse_weight: float = Field(default=1.0, ge=0)
    dose_exponent: float = Field(default=0.0, ge=0, le=2)
    detach: bool = True
    denoiser: Literal["l1", "l2"] = "l1"
    denoiser_weight: float = Field(default=1.0, ge=0)
    weighting: Literal["eps", "v"] = "eps"
    nas: float = Field(default=1.0, ge=0)
    spectrum: float = Field(default=1.0, ge=0)
    guidance_target: Literal["pooled", "extractor"] = "pooled"
    contrastive: Literal["none", "paper", "official", "margin", "infonce"] = "none"
    contrastive_weight: float = Field(default=5e-5, ge=0)
    margin: float = Field(default=0.02, gt=0)
    temperature: float = Field(default=0.1, gt=0)
    levels: Literal["log-snr", "wavegrad", "sampler"] = "log-snr"
    gamma_min: float = Field(default=0.005, gt=0, lt=1)
    gamma_max: float = Field(default=0.999, gt=0, lt=1)

    @model_validator(mode="after")
    def _levels_ordered(self) -> LossConfig:
        if self.gamma_min >= self.gamma_max:
            raise ValueError(f"gamma_min {self.gamma_min} is not below gamma_max {self.gamma_max}")
        return self


class OptimizerConfig(Spec):
    """Adam. ``schedule``: constant, or cosine decay to ``final_rate`` times the rate, after a linear
    warm-up. ``clip``: largest norm of the gradient, 0: no limit. ``ema``: 0: no moving average.
    ``weight_decay``: Adam's (L2). ``init``: PyTorch's, or orthogonal as in the authors' code."""

    rate: float = Field(default=1e-4, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = Field(default=100, ge=0)
    final_rate: float = Field(default=0.02, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    init: Literal["default", "orthogonal"] = "default"


class ValidationConfig(Spec):
    """The validation slices: every ``every``-th slice of the first ``subjects`` of the validation split.
    ``samples`` are averaged."""

    subjects: int = Field(default=4, ge=0)
    every: int = Field(default=8, ge=1)
    samples: int = Field(default=4, ge=1)
    protocols: tuple[Literal["standard", "paper", "inference"], ...] = ("standard",)


class TrainConfig(Spec):
    """One training run. The denoiser joins after ``coarse_steps`` steps of P alone.

    ``batch`` is the number of slices per step of all processes together.
    """

    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    steps: int = Field(gt=0)
    coarse_steps: int = Field(ge=0)
    batch: int = Field(default=4, gt=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_every: int = Field(default=500, gt=0)
    validate_every: int = Field(default=500, gt=0)
    data: DataConfig = DataConfig()
    model: ModelConfig
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        network, loss = self.model.network, self.loss
        if network.coarse is None and self.coarse_steps:
            raise ValueError("coarse_steps without network.coarse")
        if network.coarse and not loss.coarse_weight and (loss.detach or not network.denoiser):
            raise ValueError("nothing trains P: give coarse_weight, or detach = false")
        if self.coarse_steps and not loss.coarse_weight:
            raise ValueError("coarse_steps without coarse_weight: nothing would train P")
        if loss.contrastive != "none" and not (self.data.negatives and network.denoiser):
            raise ValueError("the contrastive term needs negatives and a denoiser")
        return self


def load_config(source: str | Path) -> TrainConfig:
    """Read a TOML file, or a preset in ``petrt/train/presets`` by its name.

    Raises InputError, which names the first wrong key.
    """
    preset = files("petrt.train") / "presets" / f"{source}.toml"
    path = Path(source)
    with reading(path):
        if not path.suffix and preset.is_file():
            text = preset.read_text(encoding="utf-8")
        elif path.is_file():
            text = path.read_text(encoding="utf-8")
        else:
            raise InputError(
                f"no training configuration '{source}'",
                "give a .toml file or a preset: default, demo, official, paper",
            )
    return parsed(TrainConfig, text, str(source))
