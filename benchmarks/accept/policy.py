"""The bars, as ``policy.toml`` holds them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from petrt.errors import InputError
from petrt.files.names import shown
from petrt.files.toml import parsed

DEFAULT = Path(__file__).with_name("policy.toml")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AgainstOld(_Table):
    psnr_db: float
    psnr_worst_db: float
    ssim: float
    peak_points: float
    time_ratio: float


class Absolute(_Table):
    activity_percent: float
    activity_worst_percent: float
    grey_percent: float
    white_percent: float
    peak_percent: float
    coverage_percent: tuple[float, float]


class EngineBars(_Table):
    psnr_db: dict[str, float]
    difference_percent: dict[str, float]


class Policy(_Table):
    against_old: AgainstOld
    absolute: Absolute
    engine: EngineBars


def read_policy(path: Path = DEFAULT) -> Policy:
    """Raises InputError for a file that is absent, damaged or has a wrong key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{shown(path)}: cannot be read as TOML") from error
    return parsed(Policy, text, shown(path))
