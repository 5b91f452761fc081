"""What decides the values of a result beside its input: for keys of outputs, and for UIDs of DICOM series."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from petrt import _core
from petrt.diffusion.strength import words
from petrt.evaluation.calibration import std_description
from petrt.io.dicom.derivation import Derivation, Role

if TYPE_CHECKING:
    from petrt.diffusion.dose import Told
    from petrt.inference.reconstructor import Reconstructor

KEY_LENGTH = 15  # hexadecimal digits; a NIfTI header's intent_name has 16 bytes with its end


def settings_of(reconstructor: Reconstructor, dose: Told, nonfinite: str) -> str:
    """All of it as JSON: version, model, engine, sampler, seed, dose; ``dose`` is what the run is told
    (``petrt.diffusion.dose.told``): with "auto" the input and the model decide it. A strength of 1 goes
    without saying."""
    engine, sampler = reconstructor.engine, reconstructor.sampler
    strength = reconstructor.strength
    return json.dumps(
        {
            "petrt": _core.__version__,
            "model": reconstructor.bundle.identity,
            "engine": [engine.name, engine.precision, engine.device.partition(":")[0]],
            "sampler": None if sampler is None else sampler.model_dump(mode="json"),
            "samples": reconstructor.samples,
            "seed": reconstructor.seed,
            "skip_background": reconstructor.skip_background,
            "dose": dose,
            "nonfinite": nonfinite,
            **({} if strength == 1 else {"strength": strength}),
        },
        sort_keys=True,
    )


def key_of(settings: str, source_sha256: str) -> str:
    """The key of the result for an input with this hash (``petrt.io.source.sha256``)."""
    return hashlib.sha256(f"{settings} {source_sha256}".encode()).hexdigest()[:KEY_LENGTH]


def derivation_of(settings: str, key: str, stats: dict[str, Any], role: Role) -> Derivation:
    """What a DICOM series of a run with the record ``stats`` says of its making."""
    dose = stats["dose_fraction"]
    estimated = " from the noise" if stats["dose"]["source"] == "estimated" else ""
    parts = [
        *_drawn(stats, role),
        *([] if role == "coarse" else words(stats["strength"])),
        *([f"dose fraction {dose:.4g}{estimated}"] if dose is not None else []),
        *([std_description(stats["std"])] if role == "std" else []),
    ]
    model = stats["model"]
    return Derivation(
        model=model["name"],
        sha256=model["sha256"],
        version=stats["petrt"],
        settings=settings,
        summary=f"{', '.join(parts)}.",
        key=key,
        role=role,
    )


def _drawn(stats: dict[str, Any], role: Role) -> list[str]:
    """The samples behind the values; those of the coarse prediction are none."""
    sampler = stats["sampler"]
    if sampler is None or role == "coarse":
        return ["the coarse prediction alone, no samples"]
    return [
        f"{stats['samples']} samples of {sampler['kind']} with {sampler['steps']} steps",
        f"seed {stats['seed']}",
    ]
