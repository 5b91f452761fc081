"""Where the outputs of ``petrt reconstruct`` go, and whether they can be written."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from petrt.cli.output import STDOUT
from petrt.errors import PetrtError, UsageError
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.io.dicom.derivation import Role
    from petrt.io.nifti import Glance
    from petrt.io.output import Format, Kind
    from petrt.io.volume import Nonfinite, Volume

logger = logging.getLogger("petrt")

IMAGES = (".nii", ".nii.gz")
# What remains of an input's name without these.
_INPUTS = (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".img.gz", ".img", ".zip", ".dcm", ".ima")


@dataclass(frozen=True)
class RegionsWanted:
    """The label map of the regions to measure, where their table goes (None: stdout), and the probability of
    their intervals."""

    labels: Path
    table: Path | None
    level: float


@dataclass(frozen=True)
class InputCase:
    """One input and the paths of its outputs. ``overwrite``: of this case, outputs may be replaced.

    ``series``: the UID to read of a DICOM input, None for its only PET series. ``force_units``: also one
    that is not quantitative. ``form``: the format of the results, of which a DICOM series is a folder.
    ``regions``: what to measure in it. ``dose``: the fraction of the full dose that its name states; None:
    that of the whole run.
    """

    source: Path
    image: Path
    std: Path | None
    record: Path | None
    preview: Path | None
    coarse: Path | None = None
    overwrite: bool = False
    series: str | None = None
    force_units: bool = False
    form: Format = "nifti"
    compress: str | None = None
    report: Path | None = None
    regions: RegionsWanted | None = None
    dose: float | None = None

    def read(self, max_voxels: int, nonfinite: Nonfinite) -> Volume:
        """The input, checked. Raises InputError."""
        from petrt.io import source

        return source.read(
            self.source,
            series=self.series,
            force_units=self.force_units,
            max_voxels=max_voxels,
            nonfinite=nonfinite,
        )

    def look(self, max_voxels: int) -> Glance:
        """What the input's headers say, checked. Raises InputError."""
        from petrt.io import source

        return source.look(
            self.source, series=self.series, force_units=self.force_units, max_voxels=max_voxels
        )

    @property
    def results(self) -> list[tuple[Role, Path, Kind]]:
        """The image, the map of standard deviations and the coarse prediction, as far as they are wanted:
        what each is, its path, and what the path becomes."""
        from petrt.io.output import kind_of

        wanted: list[tuple[Role, Path | None]] = [
            ("image", self.image),
            ("std", self.std),
            ("coarse", self.coarse),
        ]
        return [
            (role, path, kind_of(path, self.form, deviation=role == "std"))
            for role, path in wanted
            if path is not None
        ]

    @property
    def outputs(self) -> list[Path]:
        """All paths that are written."""
        table = None if self.regions is None else self.regions.table
        paths = (self.image, self.std, self.coarse, self.record, self.preview, self.report, table)
        return [path for path in paths if path is not None and path != STDOUT]


@dataclass(frozen=True)
class Destination:
    """OUT, --std, --coarse, --json, --preview and --report: files for a single case, folders for several."""

    out: Path
    std: Path | None
    record: Path | None
    preview: Path | None
    coarse: Path | None = None
    out_format: str | None = None
    report: Path | None = None

    @property
    def named(self) -> list[tuple[str, Path | None, tuple[str, ...], str]]:
        """Each with its name, the suffixes of such files, and the ending of an output in a folder."""
        return [
            ("OUT", self.out, IMAGES, ".nii.gz"),
            ("--std", self.std, (*IMAGES, ".dcm"), "_std.nii.gz"),
            ("--json", self.record, (".json",), ".json"),
            ("--preview", self.preview, (".png",), ".png"),
            ("--coarse", self.coarse, IMAGES, "_coarse.nii.gz"),
            ("--report", self.report, (".html",), ".html"),
        ]


def plan_cases(
    sources: Sequence[Path],
    several: bool,
    to: Destination,
    series: Sequence[str | None] | None = None,
) -> tuple[list[InputCase], bool]:
    """The inputs with the paths of their outputs, and whether OUT is a folder of cases.

    Several inputs need folders. So does a single one that a folder or glob gave, unless OUT has the name
    of a NIfTI file. ``series`` is the DICOM series of each source, named in its outputs where a source
    has several. Raises UsageError.
    """
    _no_stdout(to)
    single = len(sources) == 1 and (not several or _is_name(to.out, IMAGES))
    if not single:
        for name, path, suffixes, _ in to.named:
            if path is None or path == STDOUT:
                continue
            if (os.path.lexists(path) and not path.is_dir()) or _is_name(path, suffixes):
                raise UsageError(
                    f"several inputs: {name} must be a folder, {shown(path)} is the name of a file"
                    if not os.path.lexists(path)
                    else f"several inputs: {name} must be a folder, {shown(path)} is a file",
                    "name a folder; it is made if it is missing",
                )
    uids = series or [None] * len(sources)
    cases = [
        _case(source, to, single, uid, sources.count(source) > 1)
        for source, uid in zip(sources, uids, strict=True)
    ]
    images = [case.image for case in cases]
    if twice := next((path for path in images if images.count(path) > 1), None):
        raise UsageError(
            f"two inputs have the same name: both would be written to {shown(twice)}",
            "reconstruct their folders one by one",
        )
    return cases, not single


def check(cases: Iterable[InputCase], sources: Sequence[Path], *, folders: bool) -> None:
    """Raise UsageError for outputs that cannot be written. With ``folders``, make their folders."""
    from petrt.files.outputs import check_output, explained
    from petrt.io import output

    cases = list(cases)
    if folders:
        for folder in {path.parent for case in cases for path in case.outputs}:
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for case in cases:
        for _, path, kind in case.results:
            output.check(path, kind, sources, overwrite=case.overwrite)
        for path in case.outputs:
            if path not in (case.image, case.std, case.coarse):
                check_output(path, sources, overwrite=case.overwrite or _is_own_page(case, path))
            real = os.path.realpath(path)
            if real in seen:
                raise UsageError(f"{shown(path)}: two outputs share this path", "give each its own")
            seen.add(real)


def allowing(
    cases: Iterable[InputCase],
    overwrite: bool,
    force_units: bool = False,
    compress: str | None = None,
) -> list[InputCase]:
    """The cases with the choice of --overwrite, --force-units and --compress."""
    return [
        replace(case, overwrite=overwrite, force_units=force_units, compress=compress)
        for case in cases
    ]


def names_of_pages(inputs: Sequence[tuple[Path, str | None]]) -> list[str]:
    """The names of the pages of ``inputs``, each with the UID of its series or None: by their hashes, since
    the name of a file may be that of a patient. One that cannot be read fails later, with its reason."""
    from petrt.evaluation.report.index import page_names
    from petrt.io import source

    hashes = []
    for path, series in inputs:
        try:
            hashes.append(source.sha256(path, series))
        except PetrtError:
            hashes.append("unread")
    return page_names(hashes)


def with_page_names(cases: Sequence[InputCase], folder: Path) -> list[InputCase]:
    """The cases with pages in ``folder`` (--report) that are called as ``names_of_pages`` says."""
    names = names_of_pages([(case.source, case.series) for case in cases])
    return [replace(case, report=folder / name) for case, name in zip(cases, names, strict=True)]


def with_named_doses(cases: Sequence[InputCase]) -> list[InputCase]:
    """The cases with the dose that their names state, as in the challenge; told in the log."""
    from petrt.data.prepare.doses import drf_in
    from petrt.data.prepare.known import known_file

    for case in cases:
        if why := known_file(case.source.name):
            logger.warning("warning: %s: %s", shown(case.source), why)
    named = [(case, drf_in(case.source.name)) for case in cases]
    counts = Counter(drf for _, drf in named if drf)
    if counts:
        parts = ", ".join(f"1/{drf} of {n}" for drf, n in sorted(counts.items()))
        logger.info("dose by file name (DRF): %s; --dose would be for all", parts)
    return [case if drf is None else replace(case, dose=1 / drf) for case, drf in named]


def _is_own_page(case: InputCase, path: Path) -> bool:
    """Whether a page of the same input stands there, which a run may replace."""
    from petrt.evaluation.report.index import is_page_of
    from petrt.io import source

    if path != case.report or not path.exists():
        return False
    try:
        return is_page_of(path, source.sha256(case.source, case.series))
    except PetrtError:
        return False


def _no_stdout(to: Destination) -> None:
    for name, path, *_ in to.named:
        if path == STDOUT and name != "--json":
            raise UsageError(f"{name} cannot be -, which is stdout", "only --json can; name a file")


def _is_name(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether ``path`` is the name of a file and no folder yet."""
    return path.name.lower().endswith(suffixes) and not path.is_dir()


def _case(
    source: Path, to: Destination, single: bool, series: str | None, several: bool
) -> InputCase:
    from petrt.io.output import format_for

    form = format_for(source, to.out_format, to.out if single else None)
    paths: list[Path | None] = []
    for name, path, _, ending in to.named:
        series_folder = form == "dicom" and name in ("OUT", "--std", "--coarse")
        if path is None or path == STDOUT or (single and (series_folder or not path.is_dir())):
            paths.append(path)
            continue
        ending = ending.removesuffix(".nii.gz") if series_folder else ending
        paths.append(path / output_name(source, ending, series if several else None))
    image, std, record, preview, coarse, report = paths
    assert image is not None
    return InputCase(
        source, image, std, record, preview, coarse, series=series, form=form, report=report
    )


def output_name(source: Path, ending: str, series: str | None) -> str:
    """What an output of ``source`` is called in a folder; ``series``: of several, the UID."""
    name = source.name or source.absolute().name  # "." is a folder, too
    suffix = next((each for each in _INPUTS if name.lower().endswith(each)), "")
    middle = "" if series is None else "_" + re.sub(r"[^0-9.]", "x", series)
    return name[: len(name) - len(suffix)] + middle + ending
