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

from petrt.cli.output import STDOUT, print_json
from petrt.cli.plan import InputCase
from petrt.errors import PetrtError
from petrt.files.names import shown
from petrt.files.system import refusal

if TYPE_CHECKING:
    from petrt.cli.resume import Keys
    from petrt.inference.reconstruction import Reconstruction
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io.volume import Volume

logger = logging.getLogger("petrt")

# Level and text of a log line. Only the main thread logs, between two progress bars.
Line = tuple[int, str]


@dataclass(frozen=True)
class CaseRunner:
    """Reads, reconstructs and writes cases. Writes nothing before a reconstruction is done."""

    reconstructor: Reconstructor
    dose: float | None
    nonfinite: str
    max_voxels: int
    keys: Keys | None  # None: outputs get no key
    several: bool = True

    def run(self, cases: Sequence[InputCase]) -> list[PetrtError]:
        """Run all ``cases`` and return the errors of those that failed, which are already logged.

        With a single case its error is raised."""
        failures: list[PetrtError] = []

        def finish(written: tuple[InputCase, Future[list[Line]]] | None) -> None:
            try:
                for level, text in written[1].result() if written else ():
                    logger.log(level, "%s", text)
            except BrokenPipeError:  # nobody reads stdout any more
                raise
            except (PetrtError, OSError) as error:
                assert written is not None
                fail(written[0], error)

        def fail(case: InputCase, reason: PetrtError | OSError) -> None:
            error = refusal(reason) if isinstance(reason, OSError) else reason
            if len(cases) == 1:
                raise error
            logger.error("failed: %s", named(case.source, str(error)))
            failures.append(error)

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead = reader.submit(self._read, cases[0])
            last: tuple[InputCase, Future[list[Line]]] | None = None
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
                    fail(case, failed)
                else:
                    last = case, writer.submit(self._write, case, volume, result)
            finish(last)
        return failures

    def _read(self, case: InputCase) -> Volume:
        return case.read(self.max_voxels, self.nonfinite)  # type: ignore[arg-type]

    def _reconstruct(self, volume: Volume, label: str) -> Reconstruction:
        from petrt.cli.progress import bar

        with bar(label, "slices") as progress:
            return self.reconstructor(volume, dose=self.dose, progress=progress)

    def _write(self, case: InputCase, volume: Volume, result: Reconstruction) -> list[Line]:
        """Write the outputs of one case, which appear together, and return its log lines."""
        from petrt.files.atomic import together

        key = self.keys.of(case.source, case.series) if self.keys else ""
        with together():
            said = self._write_each(case, volume, result, key)
        if case.record == STDOUT:
            print_json(result.stats, one_line=self.several)
        return said

    def _write_each(
        self, case: InputCase, volume: Volume, result: Reconstruction, key: str
    ) -> list[Line]:
        from petrt.evaluation.calibration import std_description
        from petrt.files.atomic import atomic_write_json
        from petrt.inference.settings import derivation_of
        from petrt.io import output

        stats, said = result.stats, []
        image = result.image.get_fdata(dtype="float32")
        deviation = None if result.std is None else result.std.get_fdata(dtype="float32")
        settings = self.keys.settings if self.keys else ""
        how: dict[str, Any] = {"compress": case.compress, "overwrite": case.overwrite}
        for path, kind in case.results:
            if path == case.image:
                by = derivation_of(settings, key, stats, "image")
                output.write(path, image, volume, kind, by, **how)
            elif deviation is not None:
                by = derivation_of(settings, key, stats, "std")
                description = std_description(stats["std"])
                output.write(path, deviation, volume, kind, by, description=description, **how)
        if case.std is not None and deviation is not None:
            word = "calibrated" if stats["std"]["calibrated"] else "not calibrated"
            said.append((logging.INFO, f"{shown(case.std)}: {word}, {stats['std']['reason']}"))
        if case.record is not None and case.record != STDOUT:
            atomic_write_json(case.record, stats | {"key": key}, overwrite=case.overwrite)
        if case.preview is not None:
            self._picture(case, volume, image, deviation, stats)
        return [*said, *summary(shown(case.image), stats)]

    def _picture(
        self, case: InputCase, volume: Volume, image: Any, deviation: Any, stats: dict[str, Any]
    ) -> None:
        from petrt.evaluation.report.picture import comparison, save_comparison

        # Of a series the first frame that holds something: the first of all is often empty.
        filled = [n for n, frame in enumerate(stats["frames"]) if not frame.get("unchanged")]
        first = (..., next(iter(filled), 0)) if image.ndim == 4 else ...
        columns = comparison(
            volume.data[first],
            image[first],
            uncertainty=None if deviation is None else deviation[first],
            calibrated=stats["std"]["calibrated"],
        )
        assert case.preview is not None
        save_comparison(case.preview, columns, affine=volume.affine_mm, overwrite=case.overwrite)


def named(source: Path, text: str) -> str:
    """``text`` that begins with the name of its case."""
    name = shown(source)
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"


def summary(name: str, stats: dict[str, Any]) -> list[Line]:
    """The log lines with warnings and outcome of the case ``name``."""
    from petrt.inference.judgement import figures

    said = [(logging.WARNING, f"warning: {name}: {warning}") for warning in stats["warnings"]]
    if skipped := sum(frame.get("background_slices", 0) for frame in stats["frames"]):
        said.append((logging.INFO, f"{name}: {skipped} background slices are set to 0"))
    seconds = stats["seconds"]["total"]
    text = f"{name}: {figures(stats['frames'])}, {seconds:.1f} s, {stats['label']}"
    return [*said, (logging.INFO, text)]
