"""What became of a case: one row of a run's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from petrt.cli.plan import InputCase
from petrt.errors import PetrtError
from petrt.files.names import printable, shown

DONE, FAILED, WAITING = "done", "failed", "waiting"
# What a page says of a run beside the columns of a table.
RUN = (
    *("label", "petrt", "model", "engine", "device", "dose_fraction", "dose", "seed", "samples"),
    *("preset", "sampler", "strength", "options", "std", "regions"),
)


@dataclass(frozen=True)
class Outcome:
    """One case of a run. Of a series the numbers are those of the frame that is farthest from unchanged;
    None where they are undefined or not known. ``outputs``: SHA-256 by the kind of output. ``key``: see
    petrt.cli.resume. ``series``: the UID of the series, where its input has several. ``paths``: of the input
    and its results, from the table's folder. ``run``: what else of the run's record a page shows."""

    name: str
    outcome: str = WAITING
    exit_code: int | None = None
    error: str | None = None
    seconds: float | None = None
    activity_ratio: float | None = None
    suvmax_shift_percent: float | None = None
    warnings: tuple[str, ...] = ()
    input_sha256: str | None = None
    model_sha256: str | None = None
    options_sha256: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    series: str | None = None
    paths: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The run's record as far as this row holds it; {} where it knows no run."""
        if not self.run:
            return {}
        hashes = {"input": self.input_sha256, "options": self.options_sha256}
        return {
            **self.run,
            "warnings": list(self.warnings),
            "seconds": {"total": self.seconds},
            "hashes": {**hashes, "outputs": dict(self.outputs)},
        }


def done(case: InputCase, record: Mapping[str, Any], record_sha256: str | None) -> Outcome:
    """The outcome of a case from its record, and that file's own hash if there is one."""
    hashes, outputs = record.get("hashes", {}), record.get("hashes", {}).get("outputs", {})
    judged = [frame for frame in record["frames"] if not frame.get("unchanged")]
    ratios = [each["activity_ratio"] for each in judged if each["activity_ratio"] is not None]
    shifts = [each.get("suvmax_shift_percent") for each in judged]
    known = [shift for shift in shifts if shift is not None]
    return Outcome(
        case_name(case),
        DONE,
        exit_code=0,
        seconds=record["seconds"]["total"],
        activity_ratio=max(ratios, key=lambda ratio: abs(ratio - 1), default=None),
        suvmax_shift_percent=max(known, key=abs, default=None),
        warnings=tuple(record["warnings"]),
        input_sha256=hashes.get("input"),
        model_sha256=record["model"]["sha256"],
        options_sha256=hashes.get("options"),
        outputs=outputs | ({"record": record_sha256} if record_sha256 else {}),
        key=record.get("key") or None,
        series=case.series,
        run={key: record[key] for key in RUN if key in record}
        | {"frames": [{"unchanged": bool(each.get("unchanged"))} for each in record["frames"]]},
    )


def failed(case: InputCase, error: PetrtError) -> Outcome:
    """The outcome of a case that ended with ``error``."""
    return Outcome(case_name(case), FAILED, exit_code=error.exit_code, error=printable(str(error)))


def case_name(case: InputCase) -> str:
    """The name of a case in the table: that of its input's file."""
    return shown(case.source)
