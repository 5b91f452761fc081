"""What became of one subject: its entry in the data set, its numbers, and what was refused."""

from __future__ import annotations

from pydantic import Field

from petrt.data.index import SubjectEntry
from petrt.model.spec import Spec


class Refusal(Spec):
    """A pair, or with ``dose`` None a whole subject or unusable scan, and why it is not in the data set."""

    name: str
    dose: int | None
    reason: str

    @property
    def line(self) -> str:
        """One line for people."""
        dose = "" if self.dose is None else f", 1/{self.dose}"
        return f"{self.name}{dose}: {self.reason}"


class Scanned(Spec):
    """Numbers of one volume: total activity over the full dose's, relative noise (None: not measured)."""

    activity_ratio: float | None
    noise: float | None


class Outcome(Spec):
    """One subject. ``scans`` by dose reduction, 1 the full dose.

    ``patient``: a salted hash of what the files say of the patient, to find other scans of the same
    one; it does not enter the data set.
    """

    name: str
    entry: SubjectEntry | None = None
    refused: tuple[Refusal, ...] = ()
    scans: dict[int, Scanned] = Field(default_factory=dict)
    patient: str | None = None
