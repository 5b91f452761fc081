"""What pages read of a run's record (petrt.inference.run_record), checked: any file may claim to be one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    """Keys that no page reads are passed over. Numbers and texts are taken as they are, not turned."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class _Model(_Part):
    name: str
    sha256: str
    label: str = ""
    shipped: str = ""


class _Engine(_Part):
    name: str
    version: str = ""
    precision: str = ""
    reason: str = ""


class _Dose(_Part):
    source: str | None = None
    estimate: Positive | None = None
    interval95: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = None


class _Sampler(_Part):
    kind: str
    steps: int


class _Std(_Part):
    calibrated: bool = False
    reason: str = ""


class _Options(_Part):
    nonfinite: str
    force_units: bool
    skip_background: bool
    allow_activity_change: bool
    max_voxels: int
    series: bool
    noise: str
    compress: str | None = None


class _Frame(_Part):
    unchanged: bool = False


class _Seconds(_Part):
    total: float | None = None


class _Hashes(_Part):
    input: str
    options: str | None = None
    outputs: dict[str, str]


class _Region(_Part):
    label: int
    name: str | None
    ml: float
    mean: float | None
    mean_low: float | None = None
    mean_high: float | None = None
    peak: float | None
    peak_low: float | None = None
    peak_high: float | None = None
    max: float | None
    max_low: float | None = None
    max_high: float | None = None
    reason: str | None = None


class _Regions(_Part):
    level: float
    rows: list[_Region]


class _Record(_Part):
    model: _Model
    engine: _Engine
    device: str
    dose_fraction: Positive | None
    dose: _Dose
    seed: int
    samples: int
    preset: str | None
    sampler: _Sampler | None
    strength: float
    std: _Std
    frames: list[_Frame] = Field(min_length=1)
    warnings: list[str]
    seconds: _Seconds
    hashes: _Hashes
    options: _Options | None = None
    regions: _Regions | None = None


def is_record(content: Any) -> bool:
    """Whether ``content``, as JSON gave it, is the record of a run with the hashes of input and outputs."""
    try:
        _Record.model_validate(content)
    except ValidationError:
        return False
    return True
