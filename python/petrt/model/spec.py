"""The specification of a model without its weights. Checkpoints and bundles share it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Guides = Literal["none", "nas", "nas+spectrum"]
Dose = Annotated[float, Field(gt=0, le=1)]  # of the full dose
MOST_SIGMA_Z = 3.0  # slices; petrt._core.slice_weights takes no more


class Spec(BaseModel):
    """Base of all specifications. An unknown key is an error, so a misspelt setting is found."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class UNetSpec(Spec):
    """One U-Net. Level i has ``base * multipliers[i]`` channels and ``blocks`` residual blocks."""

    base: int = Field(gt=0)
    multipliers: tuple[int, ...] = (1, 2, 3, 4)
    blocks: int = Field(default=3, gt=0)
    norm_groups: int = Field(default=32, gt=0)
    # Levels (0 = full resolution) with self-attention in their blocks; the first mid block always has it.
    attention_levels: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _groups_divide_widths(self) -> UNetSpec:
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"multipliers must be positive, got {self.multipliers}")
        if self.base % self.norm_groups:
            raise ValueError(f"norm_groups {self.norm_groups} does not divide base {self.base}")
        if self.base % 2:
            raise ValueError(f"base must be even (sin and cos of the noise), got {self.base}")
        return self


class GuidanceSpec(Spec):
    """The guidance extractors: a 3x3 conv to ``stem`` channels, then one residual block per width."""

    stem: int = Field(default=8, gt=0)
    widths: tuple[PositiveInt, ...] = (16, 32, 48, 64)
    norm_groups: int = Field(default=8, gt=0)
    # z offsets of the neighbouring slices. The paper's text has four, its code five.
    neighbours: tuple[int, ...] = (-2, -1, 0, 1, 2)

    @model_validator(mode="after")
    def _groups_divide_widths(self) -> GuidanceSpec:
        if not self.widths or any(width % self.norm_groups for width in (self.stem, *self.widths)):
            widths = (self.stem, *self.widths)
            raise ValueError(f"norm_groups {self.norm_groups} does not divide widths {widths}")
        return self


class NetworkSpec(Spec):
    """The networks: coarse network P, denoiser D, at least one of them, and the guides they share.

    Without a coarse network (the SR3 baseline) the denoiser samples the image itself. With ``dose``,
    the guidance also takes the fraction of the full dose, so one model serves several doses.
    ``coarse_input``: P takes the slice alone, as in the paper, or the slice with its neighbours (NAS) in
    full resolution; the extractors halve theirs before the first convolution that widens them.
    """

    guides: Guides = "nas+spectrum"
    coarse: UNetSpec | None = None
    denoiser: UNetSpec | None = None
    guidance: GuidanceSpec = GuidanceSpec()
    dose: bool = False
    coarse_input: Literal["slice", "neighbours"] = "slice"

    @model_validator(mode="after")
    def _something_to_run(self) -> NetworkSpec:
        if self.coarse is None and self.denoiser is None:
            raise ValueError("a network needs a coarse part, a denoiser, or both")
        levels = {len(u.multipliers) for u in (self.coarse, self.denoiser) if u is not None}
        if self.guides != "none" and (len(levels) > 1 or min(levels) < 2):
            got = sorted(levels)
            raise ValueError(f"guides need U-Nets of one depth, at least 2 levels, got {got}")
        if self.dose and self.guides == "none":
            raise ValueError("the dose enters through the guidance: dose = true needs guides")
        if self.coarse_input == "neighbours" and (self.coarse is None or self.guides == "none"):
            raise ValueError("coarse_input = neighbours needs a coarse part and guides")
        return self

    @property
    def coarse_reads(self) -> Literal["x", "nas"]:
        """The image that the coarse network reads: x [B, 1, H, W] or nas [B, 5, H, W]."""
        return "nas" if self.coarse_input == "neighbours" else "x"

    @property
    def scales(self) -> int:
        """How often H and W are halved. Both must be multiples of 2 ** scales."""
        return max(len(u.multipliers) for u in (self.coarse, self.denoiser) if u is not None) - 1

    @property
    def guide_count(self) -> int:
        """Number of guides: 0, 1 (NAS) or 2 (NAS and spectrum)."""
        return {"none": 0, "nas": 1, "nas+spectrum": 2}[self.guides]


class ScaleRule(Spec):
    """The rule that computes a volume's scale, the number it is divided by, from the low-dose volume.

    ``maximum`` is the authors' rule. ``smoothed-hottest`` smooths the volume by a Gaussian of
    ``fwhm_mm`` and takes the level that its hottest ``volume_ml`` exceed. Noise determines the maximum
    of a 1/100-dose volume, but hardly changes this level; nor does air around the body or a small lesion.
    """

    kind: Literal["maximum", "smoothed-hottest"] = "smoothed-hottest"
    fwhm_mm: float = Field(default=12.0, gt=0)
    volume_ml: float = Field(default=84.0, gt=0)


class TransformSpec(Spec):
    """What the networks see of a scaled volume: ``linear``, the volume itself; ``log1p``, a logarithm of
    it with the ``gain`` k (petrt.imaging.transform has the formula)."""

    kind: Literal["linear", "log1p"] = "linear"
    gain: float = Field(default=10.0, gt=0)


class ScheduleSpec(Spec):
    """A noise schedule gamma_t (method.md section 3); see petrt.diffusion.noise_schedule for the formulas."""

    kind: Literal["linear-beta", "log-snr"] = "linear-beta"
    # linear-beta
    beta_start: float = Field(default=1e-6, gt=0, lt=1)
    beta_end: float = Field(default=0.5, gt=0, lt=1)
    timesteps: int = Field(default=10, ge=1)
    # log-snr
    gamma_max: float = Field(default=0.9999, gt=0, lt=1)
    gamma_min: float = Field(default=0.01, gt=0, lt=1)


class SamplerSpec(Spec):
    """The sampler of the reverse process and its number of steps."""

    kind: Literal["ddpm", "ddim", "dpmpp2m", "mean"] = "ddpm"
    steps: int = Field(default=10, ge=1, le=1000)


class NoiseDomain(Spec):
    """What volumes of the training population look like: see petrt.evaluation.noise_domain.

    ``level``: the range of noise levels, natural logarithms of the noise relative to the hottest level.
    ``dose``: constant and slope of ln(dose) in the level; ``dose_std``: the error's deviation.
    ``expected``: of each of the ``features`` a parabola in the level, and ``covariance`` of what these leave.
    ``usual``: distances up to this are usual. ``subjects``: how many the fit has seen.
    """

    features: tuple[str, ...] = Field(min_length=1)
    level: tuple[float, float]
    dose: tuple[float, Annotated[float, Field(lt=0)]]
    dose_std: float = Field(gt=0)
    expected: tuple[tuple[float, float, float], ...]
    covariance: tuple[tuple[float, ...], ...]
    usual: float = Field(gt=0)
    subjects: int = Field(ge=1)

    @model_validator(mode="after")
    def _one_size(self) -> NoiseDomain:
        count = len(self.features)
        rows = [len(row) for row in self.covariance]
        if len(self.expected) != count or rows != [count] * count:
            raise ValueError(f"{count} features need as many parabolas, and rows of the covariance")
        if self.level[0] >= self.level[1]:
            raise ValueError(f"the range of noise levels is empty, got {self.level}")
        return self


class DomainSpec(Spec):
    """The training data. A volume that differs from them gives a warning.

    ``dose_fraction``: the most frequent dose, as a fraction of the full dose. ``dose_range``: the
    smallest and largest fraction, if there were several. ``noise``: what tells the dose of a volume, and
    whether it is like the training data; None: nothing does.
    """

    voxel_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    matrix: tuple[PositiveInt, PositiveInt] | None = None
    dose_fraction: float | None = Field(default=None, gt=0, le=1)
    dose_range: tuple[Dose, Dose] | None = None
    tracer: str = ""
    noise: NoiseDomain | None = None


class CalibrationSpec(Spec):
    """The calibration of the samples' standard deviation.

    The interval mean +- z(level) * factor * std holds the full-dose image in a fraction ``level`` of
    the active voxels of the subjects used for the fit. It is valid for this sampler, number of steps
    and number of samples only.
    """

    factor: float = Field(gt=0)
    level: float = Field(gt=0, lt=1)
    sampler: SamplerSpec
    samples: int = Field(ge=2)
    dose_fraction: float | None = Field(default=None, gt=0, le=1)
    subjects: int = Field(ge=1)


class MapSpec(Spec):
    """The standard deviation of a voxel's error, over the scale (docs/uncertainty.md):

    log variance = constant + dose log(dose) + (samples + samples_dose log(dose)) log(V + floor_V)
    + (image + image_dose log(dose)) log(I + floor_I) + (gradient + gradient_dose log(dose)) log(G + floor_G).

    V: variance of the samples, smoothed by a Gaussian; I: their mean; G: the size of its gradient, smoothed.
    Floors and widths: petrt.evaluation.uncertainty.voxels.
    """

    constant: float
    samples: float = 0.0
    image: float = 0.0
    dose: float = 0.0
    samples_dose: float = 0.0
    image_dose: float = 0.0
    gradient: float = 0.0
    gradient_dose: float = 0.0


class RegionSpec(Spec):
    """The interval of a region's statistic (docs/uncertainty.md), values over the scale:

    centre = (1 + bias + bias_dose log(dose)) value + (recovery + recovery_dose log(dose)) detail, and
    log s = constant + samples log(s of the samples) + volume log(ml) + value log(value)
    + detail log |detail| + dose log(dose) + volume2 log(ml)^2 + detail2 log^2 |detail|
    + detail_volume log |detail| log(ml) + volume_dose log(ml) log(dose).

    detail: the value less that of the same image blurred a little.
    """

    bias: float
    bias_dose: float = 0.0
    recovery: float = 0.0
    recovery_dose: float = 0.0
    constant: float
    samples: float = 0.0
    volume: float = 0.0
    value: float = 0.0
    detail: float = 0.0
    dose: float = 0.0
    volume2: float = 0.0
    detail2: float = 0.0
    detail_volume: float = 0.0
    volume_dose: float = 0.0


class SamplesSpec(Spec):
    """What was fitted for one sampler, its number of steps and a number of samples.

    ``intensity_only``: the map's fit without the samples, which it must beat.
    """

    sampler: SamplerSpec
    samples: int = Field(ge=2)
    map: MapSpec
    intensity_only: MapSpec
    mean: RegionSpec
    peak: RegionSpec
    max: RegionSpec


class UncertaintySpec(Spec):
    """The calibration of voxels and regions: petrt.evaluation.uncertainty; ``petrt calibrate`` writes it.

    A normal interval at ``level`` covers this fraction of voxels and of regions of the subjects of the
    fit, ``subjects`` or more for each of the ``fits``. It holds for the ``samples`` that were fitted, and
    for doses within ``doses``; regions have sizes within ``volumes_ml``.
    """

    level: float = Field(gt=0, lt=1)
    subjects: int = Field(ge=1)
    doses: tuple[Dose, Dose]
    volumes_ml: tuple[PositiveFloat, PositiveFloat]
    fits: tuple[SamplesSpec, ...] = Field(min_length=1)


class CardSpec(Spec):
    """The model card, in sentences (Mitchell et al., "Model cards for model reporting", FAT* 2019).

    ``population``: whose scans it was trained on. ``training``: how. ``numbers``: what was measured, each on
    what. ``refusals``: what it refuses or warns of. ``biases``: known systematic errors.
    """

    population: str
    training: str
    numbers: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()


class ModelSpec(Spec):
    """Everything except the weights that determines a model's output, and the label of its outputs.

    ``noise_sigma_z``: the width of the sampler's noise along z, in slices of the network grid (method.md
    section 9). 0, which bundles without the field have, draws each slice's noise for itself.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    label: str = "not for diagnostic use"
    network: NetworkSpec
    domain: DomainSpec
    scale: ScaleRule = ScaleRule()
    transform: TransformSpec = TransformSpec()
    sigma_r: float = Field(default=1.0, gt=0)
    clip: float = Field(default=1.0, gt=0)
    schedule: ScheduleSpec = ScheduleSpec()
    sampler: SamplerSpec = SamplerSpec()
    noise_sigma_z: float = Field(default=0.0, ge=0, le=MOST_SIGMA_Z)
    calibration: CalibrationSpec | None = None
    uncertainty: UncertaintySpec | None = None  # goes before ``calibration``
    card: CardSpec | None = None
