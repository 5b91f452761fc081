"""Runs the cases of ``petrt reconstruct``: reads, reconstructs and writes one after the other.

The next case is read and the previous one written during a reconstruction, so cores do not wait for files.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrt.errors import PetrtError
from petrt.files.system import refusal

if TYPE_CHECKING:
    from petrt.inference.reconstruction import Reconstruction
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io.volume import Volume

logger = logging.getLogger("petrt")

# Level and text of a log line. Only the main thread logs, between two progress bars.
Line = tuple[int, str]


@dataclass(frozen=True)
class InputCase:
    """One input and the paths of its outputs."""

    source: Path
    image: Path
    std: Path | None
    record: Path | None
    preview: Path | None


@dataclass(frozen=True)
class CaseRunner:
    """Reads, reconstructs and writes cases. Writes nothing before a reconstruction is done."""

    reconstructor: Reconstructor
    dose: float | None
    nonfinite: str
    max_voxels: int
    overwrite: bool

    def run(self, cases: Sequence[InputCase]) -> list[PetrtError]:
        """Run all ``cases`` and return the errors of those that failed, which are already logged.

        With a single case its error is raised."""
        failures: list[PetrtError] = []

        def finish(written: Future[list[Line]] | None) -> None:
            try:
                for level, text in written.result() if written else ():
                    logger.log(level, "%s", text)
            except (PetrtError, OSError) as error:
                fail(error)

        def fail(reason: PetrtError | OSError) -> None:
            error = refusal(reason) if isinstance(reason, OSError) else reason
            if len(cases) == 1:
                raise error
            logger.error("failed: %s", error)
            failures.append(error)

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead = reader.submit(self._read, cases[0])
            last: Future[list[Line]] | None = None
            for index, case in enumerate(cases):
                now = ahead
                if index + 1 < len(cases):
                    ahead = reader.submit(self._read, cases[index + 1])
                failed: PetrtError | OSError | None = None
                try:
                    volume = now.result()
                    result = self._reconstruct(volume, f"{index + 1}/{len(cases)}")
                except (PetrtError, OSError) as error:
                    failed = error
                finish(last)  # keeps the order of the cases, and at most two results in memory
                last = None
                if failed is not None:
                    fail(failed)
                else:
                    last = writer.submit(self._write, case, volume, result)
            finish(last)
        return failures

    def _read(self, case: InputCase) -> Volume:
        from petrt.io import nifti

        return nifti.read(case.source, max_voxels=self.max_voxels, nonfinite=self.nonfinite)  # type: ignore[arg-type]

    def _reconstruct(self, volume: Volume, label: str) -> Reconstruction:
        from petrt.cli.progress import bar

        with bar(label, "slices") as progress:
            return self.reconstructor(volume, dose=self.dose, progress=progress)

    def _write(self, case: InputCase, volume: Volume, result: Reconstruction) -> list[Line]:
        """Write the outputs of one case, which appear together, and return its log lines."""
        from petrt.files.atomic import together

        with together():
            return self._write_each(case, volume, result)

    def _write_each(self, case: InputCase, volume: Volume, result: Reconstruction) -> list[Line]:
        from petrt.evaluation.calibration import std_description
        from petrt.files.atomic import atomic_write_json
        from petrt.io import nifti

        stats, said = result.stats, []
        image = result.image.get_fdata(dtype="float32")
        deviation = None if result.std is None else result.std.get_fdata(dtype="float32")
        nifti.write(case.image, image, volume, overwrite=self.overwrite)
        if case.std is not None and deviation is not None:
            description = std_description(stats["std"])
            nifti.write(
                case.std, deviation, volume, description=description, overwrite=self.overwrite
            )
            kind = "calibrated" if stats["std"]["calibrated"] else "not calibrated"
            said.append((logging.INFO, f"{case.std.name}: {kind}, {stats['std']['reason']}"))
        if case.record is not None:
            atomic_write_json(case.record, stats, overwrite=self.overwrite)
        if case.preview is not None:
            self._picture(case.preview, volume, image, deviation, stats)
        return [*said, *summary(case.image.name, stats)]

    def _picture(
        self, path: Path, volume: Volume, image: Any, deviation: Any, stats: dict[str, Any]
    ) -> None:
        from petrt.evaluation.report.picture import comparison, save_comparison

        first = (..., 0) if image.ndim == 4 else ...
        columns = comparison(
            volume.data[first],
            image[first],
            uncertainty=None if deviation is None else deviation[first],
            calibrated=stats["std"]["calibrated"],
        )
        save_comparison(path, columns, affine=volume.affine_mm, overwrite=self.overwrite)


def summary(name: str, stats: dict[str, Any]) -> list[Line]:
    """The log lines with warnings and outcome of the case ``name``."""
    said = [(logging.WARNING, f"warning: {warning}") for warning in stats["warnings"]]
    if skipped := sum(frame.get("background_slices", 0) for frame in stats["frames"]):
        said.append((logging.INFO, f"{name}: {skipped} background slices are set to 0"))
    ratio = stats["frames"][0]["activity_ratio"]
    shown = "undefined" if ratio is None else f"{ratio:.4f}"
    seconds = stats["seconds"]["total"]
    text = f"{name}: activity ratio {shown}, {seconds:.1f} s, {stats['label']}"
    return [*said, (logging.INFO, text)]
