"""How fast the engines of this machine were: measured as volumes ran on a GPU, in full batches.

One file, ``measured.json`` in the engine folder (petrt.engines.kept). It only helps ``auto`` choose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from petrt import _core
from petrt.engines.kept import Row, keep, kept

FILE = "measured.json"


class Measurement(Row):
    """Time of one engine: ``milliseconds`` a slice and sample, all in all, on GPU ``gpu`` (its name).

    ``model``: the bundle's identity. It counts as long as none of the versions changes.
    """

    model: str = Field(pattern=r"^[0-9a-f]{64}$")
    gpu: str
    driver: str
    engine: str
    version: str
    precision: Literal["fp32", "fp16", "bf16"]
    milliseconds: float = Field(gt=0)
    petrt: str = _core.__version__

    @property
    def key(self) -> tuple[str, ...]:
        return (self.model, self.gpu, self.engine, self.precision)


def record_measured(measurement: Measurement) -> None:
    """Keep ``measurement`` in place of an earlier one of the same model, GPU, engine and precision."""
    keep(FILE, Measurement, measurement)


def read_measured(model: str, gpu: str, driver: str) -> list[Measurement]:
    """What was measured of ``model`` on this GPU with this driver and this petrt."""
    here = (model, gpu, driver, _core.__version__)
    found = kept(FILE, Measurement)
    return [m for m in found if (m.model, m.gpu, m.driver, m.petrt) == here]


def time_of(
    measured: Iterable[Measurement], engine: str, version: str, precision: str
) -> float | None:
    """The time of an engine of this version in this precision; None where it was not measured."""
    wanted = (engine, version, precision)
    return next(
        (m.milliseconds for m in measured if (m.engine, m.version, m.precision) == wanted), None
    )
