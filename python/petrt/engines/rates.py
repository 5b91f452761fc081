"""How fast schedules were on this CPU: one file, ``schedules.json`` in the engine folder."""

from __future__ import annotations

from pydantic import Field

from petrt import _core
from petrt.engines.base import EnginePrecision
from petrt.engines.kept import Row, keep, kept
from petrt.model.spec import Spec

FILE = "schedules.json"


class Rate(Spec):
    """``workers`` side by side, each with ``threads`` in its calls and a batch of ``slices`` x ``samples``.

    ``image_ms``: milliseconds of one worker's denoiser for each image in its call; ``slice_ms``: of its
    guidance and coarse network for each slice; both while the other workers do the same.
    """

    workers: int = Field(ge=1)
    threads: int = Field(ge=1)
    slices: int = Field(ge=1)
    samples: int = Field(ge=1)
    image_ms: float = Field(gt=0)
    slice_ms: float = Field(ge=0)


class Situation(Spec):
    """What the rates depend on. ``model``: the bundle's identity; ``cpu``: its name, of which this
    process may use ``cores``; ``samples``: drawn of each slice."""

    model: str = Field(pattern=r"^[0-9a-f]{64}$")
    cpu: str
    cores: int = Field(ge=1)
    engine: str
    precision: EnginePrecision
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    samples: int = Field(ge=1)


class Measured(Row):
    """Rates of the schedules that were tried. They count as long as neither version changes."""

    situation: Situation
    version: str
    rates: tuple[Rate, ...] = Field(min_length=1)
    petrt: str = _core.__version__

    @property
    def key(self) -> tuple[object, ...]:
        return (self.situation,)


def keep_rates(situation: Situation, version: str, rates: tuple[Rate, ...]) -> None:
    """Keep what was measured with ``version`` of the engine in place of what there was."""
    keep(FILE, Measured, Measured(situation=situation, version=version, rates=rates))


def kept_rates(situation: Situation, version: str) -> tuple[Rate, ...]:
    """What was measured in this situation with these versions; empty where nothing was."""
    here = (situation, version, _core.__version__)
    rows = kept(FILE, Measured)
    return next((r.rates for r in rows if (r.situation, r.version, r.petrt) == here), ())
