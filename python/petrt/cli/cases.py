"""Runs the cases of ``petrt reconstruct``: reads, reconstructs and writes one after the other.

The next case is read and the previous one written during a reconstruction, so cores do not wait for files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from petrt.cli import outcome
from petrt.cli.outcome import Outcome
from petrt.cli.output import STDOUT, print_json
from petrt.cli.pictures import Line, write_picture, write_report
from petrt.cli.plan import InputCase
from petrt.cli.regions import show_table, write_table
from petrt.errors import PetrtError
from petrt.files.names import shown
from petrt.files.system import refusal

if TYPE_CHECKING:
    from petrt.cli.resume import Keys
    from petrt.inference.reconstruction import Reconstruction
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io.volume import Volume

logger = logging.getLogger("petrt")

Told = Callable[[InputCase, Outcome], None]


@dataclass(frozen=True)
class Written:
    """A case whose outputs are written: its log lines, that of its outcome last; its record; and the SHA-256
    of the record's file."""

    lines: Sequence[Line]
    record: dict[str, Any]
    record_sha256: str | None = None


class Runner(Protocol):
    """Runs cases: on this machine (CaseRunner), or on several (petrt.cli.cluster)."""

    def run(self, cases: Sequence[InputCase], told: Told | None = None) -> list[PetrtError]:
        """Run all ``cases``; call ``told`` with the outcome of each. Returns the errors of those that
        failed, which are already logged. With a single case its error is raised."""


@dataclass(frozen=True)
class Reporter:
    """Tells how cases end, in the log, on stdout and to ``told``. For the main thread."""

    total: int
    told: Told | None
    several: bool

    def done(self, case: InputCase, written: Written) -> None:
        """The outputs of ``case`` are written."""
        name, seconds = shown(case.source), written.record["seconds"]["total"]
        *before, (level, text) = written.lines
        for each in before:
            logger.log(each[0], "%s", each[1], extra={"case": name})
        logger.log(level, "%s", text, extra={"event": "done", "case": name, "seconds": seconds})
        if self.told is not None:
            self.told(case, outcome.done(case, written.record, written.record_sha256))
        if case.regions is not None and case.regions.table is None:
            show_table(written.record, err=case.record == STDOUT)
        if case.record == STDOUT:
            print_json(written.record, one_line=self.several)

    def failed(self, case: InputCase, reason: PetrtError | OSError) -> PetrtError:
        """``case`` has failed for ``reason``, which is raised if there is no other case."""
        error = refusal(reason) if isinstance(reason, OSError) else reason
        if self.told is not None:
            self.told(case, outcome.failed(case, error))
        if self.total == 1:
            raise error
        log_failed(case.source, error)
        return error


@dataclass(frozen=True)
class CaseRunner:
    """Reads, reconstructs and writes cases. Writes nothing before a reconstruction is done."""

    reconstructor: Reconstructor
    dose: float | str | None  # as it was given
    nonfinite: str
    max_voxels: int
    keys: Keys | None  # None: outputs get no key
    several: bool = True

    def run(self, cases: Sequence[InputCase], told: Told | None = None) -> list[PetrtError]:
        """See Runner."""
        failures: list[PetrtError] = []
        report = Reporter(len(cases), told, self.several)

        def finish(written: tuple[InputCase, Future[Written]] | None) -> None:
            if written is None:
                return
            try:
                result = written[1].result()
            except (PetrtError, OSError) as error:
                failures.append(report.failed(written[0], error))
            else:
                report.done(written[0], result)

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead = reader.submit(self._read, cases[0])
            last: tuple[InputCase, Future[Written]] | None = None
            for index, case in enumerate(cases):
                now = ahead
                if index + 1 < len(cases):
                    ahead = reader.submit(self._read, cases[index + 1])
                failed: PetrtError | OSError | None = None
                try:
                    volume = now.result()
                    result = self._reconstruct(case, volume, f"{index + 1}/{len(cases)}")
                except (PetrtError, OSError) as error:
                    failed = error
                finish(last)  # keeps the order of the cases, and at most two results in memory
                last = None
                if failed is not None:
                    failures.append(report.failed(case, failed))
                else:
                    last = case, writer.submit(self._write, case, volume, result)
            finish(last)
        return failures

    def one(self, case: InputCase) -> Written:
        """Run one case, one step after the other, and tell nobody. Raises PetrtError and OSError."""
        volume = self._read(case)
        return self._write(case, volume, self._run(case, volume, None))

    def _read(self, case: InputCase) -> Volume:
        return case.read(self.max_voxels, self.nonfinite)  # type: ignore[arg-type]

    def _dose(self, case: InputCase) -> Any:
        return self.dose if case.dose is None else case.dose

    def _reconstruct(self, case: InputCase, volume: Volume, label: str) -> Reconstruction:
        from petrt.cli.progress import bar

        with bar(label, "slices") as progress:
            return self._run(case, volume, progress)

    def _run(
        self, case: InputCase, volume: Volume, progress: Callable[[int, int], None] | None
    ) -> Reconstruction:
        labels = None if case.regions is None else case.regions.labels
        dose = self._dose(case)
        let_in: dict[str, Any] = {"nonfinite": self.nonfinite, "force_units": case.force_units}
        let_in["max_voxels"] = self.max_voxels
        return self.reconstructor(volume, dose=dose, progress=progress, regions=labels, **let_in)

    def _write(self, case: InputCase, volume: Volume, result: Reconstruction) -> Written:
        """Write the outputs of one case, which appear together."""
        from petrt.files.atomic import together
        from petrt.io.source import sha256

        stats, key = result.stats, ""
        asked = {"series": case.series is not None, "compress": case.compress}
        stats = stats | {"options": stats["options"] | asked}
        if self.keys is not None:
            digest = sha256(case.source, case.series)
            key = self.keys.of(case.source, case.series, digest, case.dose)
            options = self.keys.options_sha256(case.dose)
            hashes = {"input": digest, "model": stats["model"]["sha256"], "options": options}
            stats = stats | {"hashes": hashes}
        with together():
            return self._write_each(case, volume, replace(result, stats=stats), key)

    def _write_each(
        self, case: InputCase, volume: Volume, result: Reconstruction, key: str
    ) -> Written:
        """Write the outputs, the record last, since it holds the hashes of the others."""
        from petrt.files.atomic import atomic_write_json, unpublished
        from petrt.files.hashes import output_sha256
        from petrt.inference.save import written_as
        from petrt.inference.settings import derivation_of
        from petrt.io import output

        stats, said = result.stats, []
        settings = self.keys.settings_at(case.dose) if self.keys else ""
        how: dict[str, Any] = {"compress": case.compress, "overwrite": case.overwrite}
        written: dict[str, Path] = {}
        for role, path, kind in case.results:
            by = derivation_of(settings, key, stats, role)
            data, description = written_as(result, role)
            output.write(path, data, volume, kind, by, description=description, **how)
            written[role] = path
        if case.std is not None:
            word = "calibrated" if stats["std"]["calibrated"] else "not calibrated"
            said.append((logging.INFO, f"{shown(case.std)}: {word}, {stats['std']['reason']}"))
        if case.preview is not None:
            said += write_picture(case, volume, result)
            written["preview"] = case.preview
        if case.regions is not None:
            rows = [row.record() for row in result.regions(case.regions.level)]
            stats = stats | {"regions": {"level": case.regions.level, "rows": rows}}
            if case.regions.table is not None:
                write_table(case.regions.table, stats, key, overwrite=case.overwrite)
                written["regions"] = case.regions.table
        outputs = {kind: output_sha256(unpublished(path)) for kind, path in written.items()}
        stats = stats | {"hashes": stats.get("hashes", {}) | {"outputs": outputs}}
        if case.report is not None:
            said += write_report(case, replace(result, stats=stats))
            outputs["report"] = output_sha256(unpublished(case.report))
        record_sha256 = None
        if case.record is not None and case.record != STDOUT:
            content = self._content(case, stats, key)
            atomic_write_json(case.record, content, overwrite=case.overwrite)
            record_sha256 = output_sha256(unpublished(case.record))
        lines = [*said, *summary(shown(case.image), stats, len(volume.warnings))]
        return Written(lines, stats | {"key": key}, record_sha256)

    def _content(self, case: InputCase, stats: dict[str, Any], key: str) -> dict[str, Any]:
        """What the record's file holds."""
        return stats | {"key": key}


def log_failed(source: Path, error: PetrtError) -> None:
    """Log that the case of several with this ``source`` failed."""
    extra = {"event": "failed", "case": shown(source), "exit_code": error.exit_code}
    logger.error("failed: %s", named(source, str(error)), extra=extra)


def named(source: Path, text: str) -> str:
    """``text`` that begins with the name of its case."""
    name = shown(source)
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"


def summary(name: str, stats: dict[str, Any], told: int = 0) -> list[Line]:
    """The log lines with warnings and outcome of the case ``name``; ``told``: warnings that the reader
    has logged."""
    from petrt.inference.domain import dose_line
    from petrt.inference.judgement import figures

    said = [
        (logging.WARNING, f"warning: {name}: {warning}") for warning in stats["warnings"][told:]
    ]
    if skipped := sum(frame.get("background_slices", 0) for frame in stats["frames"]):
        said.append((logging.INFO, f"{name}: {skipped} background slices are set to 0"))
    if dose := dose_line(stats):
        said.append((logging.INFO, f"{name}: {dose}"))
    seconds = stats["seconds"]["total"]
    text = f"{name}: {figures(stats['frames'])}, {seconds:.1f} s, {stats['label']}"
    return [*said, (logging.INFO, text)]
