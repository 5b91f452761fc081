"""The outcome of one subject: its entry in the data set, its numbers, and its refused pairs."""

from __future__ import annotations

from pydantic import Field

from petrt.data.index import SubjectEntry
from petrt.model.spec import Spec


class Refusal(Spec):
    """A refused pair (``dose`` None: a whole subject or an unusable scan), and the reason."""

    name: str
    dose: int | None
    reason: str

    @property
    def line(self) -> str:
        """The refusal in one line."""
        dose = "" if self.dose is None else f", 1/{self.dose}"
        return f"{self.name}{dose}: {self.reason}"


class Scanned(Spec):
    """Numbers of one volume: total activity / full dose's, and relative noise (None: not measured)."""

    activity_ratio: float | None
    noise: float | None


class Outcome(Spec):
    """The outcome of one subject. ``scans``: dose reduction -> numbers, 1 for the full dose.

    ``patient``: a salted hash of the files' patient fields, which finds other scans of the same patient.
    It is not stored in the data set.
    """

    name: str
    entry: SubjectEntry | None = None
    refused: tuple[Refusal, ...] = ()
    scans: dict[int, Scanned] = Field(default_factory=dict)
    patient: str | None = None
