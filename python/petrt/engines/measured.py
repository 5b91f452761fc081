"""How fast the engines of this machine were: measured as volumes ran on a GPU, in full batches.

One file, ``measured.json`` in the engine folder. It only helps ``auto`` choose: a file that cannot be
read or written is said once in the log and otherwise as good as none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import Field, ValidationError

from petrt import _core
from petrt.engines.cache import private_root
from petrt.errors import PetrtError
from petrt.io.atomic import atomic_write_bytes
from petrt.spec import Spec

logger = logging.getLogger("petrt")

FILE = "measured.json"
MAX_BYTES = 1 << 20


class Measurement(Spec):
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


class Measurements(Spec):
    """The file."""

    format: Literal["petrt-measured"] = "petrt-measured"
    version: Literal[1] = 1
    measured: tuple[Measurement, ...] = ()


def record_measured(measurement: Measurement) -> None:
    """Keep ``measurement`` in place of an earlier one of the same model, GPU, engine and precision."""
    try:
        root = private_root(create=True)
        assert root is not None
        with FileLock(root / f".{FILE}.lock", mode=0o600):
            others = [m for m in _read(root) if m.key != measurement.key]
            content = Measurements(measured=(*others, measurement))
            text = content.model_dump_json(indent=2).encode()
            atomic_write_bytes(root / FILE, text, overwrite=True)
    except (PetrtError, OSError) as error:
        logger.info("the measured time cannot be kept: %s", error)


def read_measured(model: str, gpu: str, driver: str) -> list[Measurement]:
    """What was measured of ``model`` on this GPU with this driver and this petrt."""
    try:
        root = private_root()
    except PetrtError:  # the folder of engines itself cannot be used: its own check says so
        return []
    here = (model, gpu, driver, _core.__version__)
    found = [] if root is None else _read(root)
    return [m for m in found if (m.model, m.gpu, m.driver, m.petrt) == here]


def time_of(
    measured: Iterable[Measurement], engine: str, version: str, precision: str
) -> float | None:
    """The time of an engine of this version in this precision; None where it was not measured."""
    wanted = (engine, version, precision)
    return next(
        (m.milliseconds for m in measured if (m.engine, m.version, m.precision) == wanted), None
    )


def _read(root: Path) -> list[Measurement]:
    path = root / FILE
    try:
        with path.open("rb") as stream:
            return list(Measurements.model_validate_json(stream.read(MAX_BYTES)).measured)
    except FileNotFoundError:
        return []
    except (OSError, ValidationError):
        logger.info("%s is not readable and ignored; delete it", path)
        return []
