"""The table of a cohort: one line for each image of a derivative data set, from its sidecars."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petrt.errors import InputError
from petrt.files.atomic import atomic_write_bytes, atomic_write_json, together
from petrt.files.names import shown
from petrt.files.system import reading
from petrt.io.bids.derivatives import IMAGE
from petrt.io.bids.layout import read_json

TABLE = "group_pet.tsv"
ABSENT = "n/a"
_IGNORED = "group_pet.*"
# Column -> what BIDS puts in the .json file beside the table.
COLUMNS: dict[str, dict[str, str]] = {
    "filename": {"Description": "The image, by its path in this data set"},
    "participant_id": {"Description": "The participant"},
    "session_id": {"Description": "The session"},
    "frames": {"Description": "Number of frames"},
    "dose_fraction": {
        "Description": "Dose that the model was told, as a fraction of the standard dose"
    },
    "samples": {"Description": "Number of samples whose mean is the image"},
    "sampler": {"Description": "Sampler of the reverse process"},
    "steps": {"Description": "Steps of the sampler"},
    "strength": {"Description": "From 0, the source, to 1, the model's image"},
    "activity_ratio": {
        "Description": "Total activity of the image divided by that of its source; of a series that of the "
        "frame where it is farthest from 1"
    },
    "maximum_shift": {
        "Description": "Change of the maximum from the source to the image; of a series the farthest from 0",
        "Units": "percent",
    },
    "warnings": {"Description": "Number of warnings in the record of the run"},
    "seconds": {"Description": "Time of the reconstruction", "Units": "s"},
    "model": {"Description": "Name of the model"},
    "model_sha256": {"Description": "Identity of the model"},
    "petrt": {"Description": "Version of petrt"},
}


def rows(out: Path) -> list[dict[str, Any]]:
    """A row of ``COLUMNS`` for each image in the data set ``out``, sorted by path; ``n/a`` for what is
    undefined. Raises InputError if there is none, or for a sidecar that petrt did not write."""
    end = f"pet/*_desc-{IMAGE}_pet.json"
    paths = sorted([*out.glob(f"sub-*/{end}"), *out.glob(f"sub-*/ses-*/{end}")])
    if not paths:
        raise InputError(
            f"{shown(out)}: no image by petrt in this folder", "run the level participant first"
        )
    return [_row(path, out) for path in paths]


def write(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write the table and its .json file to ``out``, together; those of a run before are replaced. BIDS has
    no name for such a table, so .bidsignore gets a line for it."""
    ignore = out / ".bidsignore"
    with reading(ignore):
        ignored = ignore.read_text(encoding="utf-8") if ignore.is_file() else ""
    table = io.StringIO()
    writer = csv.DictWriter(table, [*COLUMNS], delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with together():
        atomic_write_bytes(out / TABLE, table.getvalue().encode(), overwrite=True)
        atomic_write_json((out / TABLE).with_suffix(".json"), COLUMNS, overwrite=True)
        if _IGNORED not in ignored.splitlines():
            text = "".join(f"{line}\n" for line in (*ignored.splitlines(), _IGNORED))
            atomic_write_bytes(ignore, text.encode(), overwrite=True)


def _row(path: Path, out: Path) -> dict[str, Any]:
    image = path.with_name(f"{path.stem}.nii.gz")
    within = image.relative_to(out)
    if not image.exists():
        raise InputError(
            f"{shown(path)}: its image is absent", "remove it, or run participant again"
        )
    record: Any = read_json(path).get("petrt")
    try:
        frames, sampler = record["frames"], record["sampler"] or {"kind": None, "steps": None}
        values = {
            "filename": within.as_posix(),
            "participant_id": within.parts[0],
            "session_id": within.parts[1] if len(within.parts) == 4 else None,
            "frames": len(frames),
            "dose_fraction": record["dose_fraction"],
            "samples": record["samples"],
            "sampler": sampler["kind"],
            "steps": sampler["steps"],
            "strength": record.get("strength", 1.0),
            "activity_ratio": _farthest(frames, "activity_ratio", 1.0, 5),
            "maximum_shift": _farthest(frames, "suvmax_shift_percent", 0.0, 2),
            "warnings": len(record["warnings"]),
            "seconds": round(record["seconds"]["total"], 2),
            "model": record["model"]["name"],
            "model_sha256": record["model"]["sha256"],
            "petrt": record["petrt"],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{shown(path)}: not a sidecar by petrt", "move the image away") from error
    return {name: ABSENT if value is None else value for name, value in values.items()}


def _farthest(
    frames: Sequence[Mapping[str, Any]], name: str, usual: float, digits: int
) -> float | None:
    """The number ``name`` of the frame where it is farthest from ``usual``; None if no frame has it."""
    known: list[float] = [frame[name] for frame in frames if frame.get(name) is not None]
    if not known:
        return None
    farthest = max(known, key=lambda each: abs(each - usual))
    return round(farthest, digits)
