"""A PET file of a BIDS data set as a case: its outputs, its key, and how it is read and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrt.cli.cases import CaseRunner, Written
from petrt.cli.plan import InputCase
from petrt.cli.resume import Keys
from petrt.cli.setup import Setup

if TYPE_CHECKING:
    from petrt.inference.reconstruction import Reconstruction
    from petrt.io.bids.layout import PetFile
    from petrt.io.nifti import Glance
    from petrt.io.volume import Volume


@dataclass(frozen=True)
class BidsCase(InputCase):
    """A PET file of a data set. ``record`` is the sidecar of the image; those of ``std`` and ``coarse`` lie
    beside them."""

    file: PetFile = field(kw_only=True)

    @property
    def outputs(self) -> list[Path]:
        """All paths that are written."""
        from petrt.io.bids.derivatives import sidecar_of

        second = [path for path in (self.std, self.coarse) if path is not None]
        return [*super().outputs, *map(sidecar_of, second)]

    def look(self, max_voxels: int) -> Glance:
        """Header and metadata, checked against each other. Raises InputError."""
        from petrt.io.bids import metadata

        content = metadata.metadata(self.file)
        glance = super().look(max_voxels)
        metadata.check(self.file, content, glance.shape)
        return glance


def case_of(file: PetFile, out: Path, std: bool, coarse: bool = False) -> BidsCase:
    from petrt.io.bids.derivatives import COARSE, IMAGE, UNCERTAINTY, image_path, sidecar_of

    image = image_path(file, out, IMAGE)
    uncertainty = image_path(file, out, UNCERTAINTY) if std else None
    first = image_path(file, out, COARSE) if coarse else None
    return BidsCase(file.path, image, uncertainty, sidecar_of(image), None, first, file=file)


class BidsKeys(Keys):
    """Keys that change with the metadata of a file, too: derivatives repeat them."""

    def __init__(self, setup: Setup, files: Sequence[PetFile]) -> None:
        super().__init__(setup.reconstructor, setup.fraction, setup.nonfinite)
        self._files = {file.path: file for file in files}

    def of(
        self,
        source: Path,
        series: str | None = None,
        sha256: str | None = None,
        dose: float | None = None,
    ) -> str:
        from petrt.inference.settings import KEY_LENGTH
        from petrt.io.bids.metadata import metadata

        content = json.dumps(metadata(self._files[source]), sort_keys=True)
        return hashlib.sha256(
            f"{super().of(source, series, sha256, dose)} {content}".encode()
        ).hexdigest()[:KEY_LENGTH]


def runner_of(files: Sequence[PetFile], setup: Setup) -> BidsRunner:
    """What runs cases of ``files``, on this machine or on another one."""
    keys = BidsKeys(setup, files)
    return BidsRunner(setup.reconstructor, setup.dose, setup.nonfinite, setup.max_voxels, keys)


class BidsRunner(CaseRunner):
    """Checks metadata before it reads a volume, and writes sidecars as BIDS has them."""

    def _read(self, case: InputCase) -> Volume:
        case.look(self.max_voxels)
        return super()._read(case)

    def _write(self, case: InputCase, volume: Volume, result: Reconstruction) -> Written:
        from petrt.files.outputs import explained

        with explained(case.image.parent):
            case.image.parent.mkdir(parents=True, exist_ok=True)
        return super()._write(case, volume, result)

    def _write_each(
        self, case: InputCase, volume: Volume, result: Reconstruction, key: str
    ) -> Written:
        from petrt.files.atomic import atomic_write_json
        from petrt.io.bids.derivatives import coarse_sidecar, sidecar_of, uncertainty_sidecar
        from petrt.io.bids.metadata import metadata

        assert isinstance(case, BidsCase)
        written = super()._write_each(case, volume, result, key)
        for path, sidecar in ((case.std, uncertainty_sidecar), (case.coarse, coarse_sidecar)):
            if path is not None:
                content = sidecar(case.file, metadata(case.file), result.stats, key)
                atomic_write_json(sidecar_of(path), content, overwrite=case.overwrite)
        return written

    def _content(self, case: InputCase, stats: dict[str, Any], key: str) -> dict[str, Any]:
        from petrt.io.bids.derivatives import image_sidecar
        from petrt.io.bids.metadata import metadata

        assert isinstance(case, BidsCase)
        return image_sidecar(case.file, metadata(case.file), stats, key)
