"""Results of single cases on disk, so that a run that was cut goes on where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.files.atomic import atomic_write_bytes

Arrays = dict[str, NDArray[Any]]


@dataclass
class Measured:
    """What a case gave: ``methods`` (name -> numbers), ``notes`` for JSON, ``arrays`` for pictures."""

    methods: dict[str, dict[str, float | None]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


class Store:
    """A folder of one section's cases under one set of ``settings``: other settings, other folder."""

    def __init__(self, work: Path, section: str, settings: dict[str, Any]) -> None:
        text = json.dumps(settings, sort_keys=True)
        self.folder = work / f"{section}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    def get(self, case: str) -> Measured | None:
        """What was kept of ``case``."""
        path = self.folder / f"{case}.json"
        if not path.is_file():
            return None
        kept = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return Measured(kept["methods"], kept["notes"], arrays)

    def put(self, case: str, measured: Measured) -> None:
        """Keep ``measured``; the JSON file comes last and stands for both."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **measured.arrays)
        atomic_write_bytes(self.folder / f"{case}.npz", buffer.getvalue(), overwrite=True)
        text = json.dumps({"methods": measured.methods, "notes": measured.notes})
        atomic_write_bytes(self.folder / f"{case}.json", text.encode(), overwrite=True)

    def measured(self, case: str, measure: Callable[[], Measured]) -> Measured:
        """The kept result of ``case``, or that of ``measure``, which is kept."""
        kept = self.get(case)
        if kept is None:
            begun = time.perf_counter()
            kept = measure()
            kept.notes["seconds"] = round(time.perf_counter() - begun, 1)
            self.put(case, kept)
        best = {name: n.get("standard.psnr") for name, n in kept.methods.items()}
        shown = ", ".join(f"{name} {psnr:.2f}" for name, psnr in best.items() if psnr is not None)
        print(f"{self.folder.name} {case}: {shown} ({kept.notes['seconds']} s)", flush=True)
        return kept
