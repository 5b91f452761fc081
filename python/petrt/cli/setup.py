"""The options of a run of the model, which petrt reconstruct, bids and node share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from petrt.errors import UsageError

if TYPE_CHECKING:
    from petrt.diffusion.dose import Told
    from petrt.inference.reconstructor import Reconstructor

Case = TypeVar("Case")


@dataclass(frozen=True)
class Setup:
    """How to reconstruct, and which part of the cases. ``memory`` in GiB; ``dose`` as it was typed."""

    model: str
    samples: int | None
    dose: str | None
    seed: int
    preset: str | None
    sampler: str | None
    steps: int | None
    strength: float
    device: str
    engine: str
    precision: str | None
    threads: int | None
    memory: float | None
    all_slices: bool
    allow_activity_change: bool
    nonfinite: str
    max_voxels: int
    num_parts: int = 1
    part_id: int = 0
    overwrite: bool = False
    dry_run: bool = False
    resume: bool = False

    @classmethod
    def given(cls, options: Mapping[str, Any]) -> Setup:
        """From the options of a command by their names, such as its ``locals()``; others are passed over."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in options.items() if name in names})

    def check(self, std: bool) -> None:
        """Raise UsageError for options that contradict each other.
        ``std``: the standard deviation of the samples is wanted."""
        from petrt.diffusion.dose import AUTO, parse_dose
        from petrt.diffusion.presets import samples_of

        if std and (count := samples_of(self.preset, self.samples)) < 2:
            another = "choose another preset" if not count else "add --samples 8"
            raise UsageError("--std needs at least two samples", another)
        if self.part_id >= self.num_parts:
            raise UsageError(f"--part-id {self.part_id} must be below --num-parts {self.num_parts}")
        if self.overwrite and self.resume:
            raise UsageError(
                "--overwrite does every case again, --resume those that changed",
                "choose one of them",
            )
        if self.dose not in (None, AUTO):
            parse_dose(self.dose)

    def part(self, cases: Sequence[Case]) -> list[Case]:
        """The cases of this part."""
        return list(cases[self.part_id :: self.num_parts])

    @cached_property
    def reconstructor(self) -> Reconstructor:
        """Loads the model and chooses its engine."""
        from petrt.inference.reconstructor import Reconstructor

        return Reconstructor(
            self.model,
            samples=self.samples,
            preset=self.preset,
            steps=self.steps,
            sampler=self.sampler,
            strength=self.strength,
            seed=self.seed,
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            memory=None if self.memory is None else int(self.memory * 2**30),
            skip_background=not self.all_slices,
            allow_activity_change=self.allow_activity_change,
        )

    @cached_property
    def fraction(self) -> Told:
        """The dose that the model is told, or "auto"."""
        from petrt.diffusion.dose import told

        return told(self.dose, self.reconstructor.bundle.model)
