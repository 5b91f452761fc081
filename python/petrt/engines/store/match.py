"""Finds the installed engine that fits, or the reason why none does, such as "driver 570.1 -> 580.2"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from petrt import _core
from petrt.engines.store.folder import Installed, installed
from petrt.engines.store.record import (
    LABELS,
    Capability,
    EngineKind,
    EngineRecord,
    Flags,
    GpuRecord,
    ProfileRecord,
    capability_text,
    range_text,
)
from petrt.model.bundle import Bundle


@dataclass(frozen=True)
class Wanted:
    """The engine that is wanted: for a ``gpu``, or for ``targets``, compute capabilities of other machines.

    None for ``precision``, ``profile`` and ``flags`` means any.
    """

    model: str
    sha256: str
    engine: EngineKind
    engine_version: str
    petrt: str
    gpu: GpuRecord | None = None
    targets: tuple[Capability, ...] = ()
    precision: str | None = None
    profile: ProfileRecord | None = None
    flags: Flags | None = None

    @classmethod
    def of(cls, bundle: Bundle, engine: EngineKind, version: str, **others: Any) -> Wanted:
        """An engine built from ``bundle`` by this version of petrt, for ``version`` of the engine."""
        return cls(
            model=bundle.model.name,
            sha256=bundle.identity,
            engine=engine,
            engine_version=version,
            petrt=_core.__version__,
            **others,
        )


def find(wanted: Wanted) -> tuple[Installed | None, str]:
    """The installed engine that fits best, or None and the reason. Plans are not read yet.

    An engine verified on this GPU is preferred, then 16 bit to 32 bit. The reason is that of the engine
    with the fewest mismatches.
    """
    entries, broken = installed()
    fitting: list[Installed] = []
    reasons: list[tuple[int, str]] = []
    for entry in entries:
        for passed, reason in enumerate(_mismatches(entry.record, wanted)):
            if reason is not None:
                reasons.append((passed, reason))
                break
        else:
            fitting.append(entry)
    if fitting:
        return min(fitting, key=lambda entry: _rank(entry.record, wanted.gpu)), "installed"
    ours = [b for b in broken if b.folder.name.startswith(f"{wanted.model[:40]}-{wanted.engine}-")]
    if ours:
        reasons.append((1, f"the installed one is broken: {ours[0].reason}"))
    none = f"no {LABELS[wanted.engine]} engine is installed"
    closest = max(reasons, key=lambda each: each[0], default=(0, ""))
    # An engine of another model or kind says nothing about this one.
    return None, closest[1] if closest[0] else none


def _mismatches(record: EngineRecord, wanted: Wanted) -> Iterator[str | None]:
    """For each property, the mismatch of ``record``, or None if it fits."""
    label = LABELS[wanted.engine]
    yield _unless(
        record.engine == wanted.engine and record.model.name == wanted.model, "another model"
    )
    yield _unless(record.model.sha256 == wanted.sha256, "model changed")
    yield _gpu_mismatch(record, wanted)
    yield _unless(
        wanted.precision in (None, record.precision),
        f"precision {record.precision} -> {wanted.precision}",
    )
    yield _changed(label, record.engine_version, wanted.engine_version)
    yield _changed("petrt", record.petrt, wanted.petrt)
    if record.gpu is not None and wanted.gpu is not None:
        yield _changed("driver", record.gpu.driver, wanted.gpu.driver)
    if wanted.profile is not None and record.profile is not None:
        yield _profile_change(record.profile, wanted.profile)
    if wanted.flags is not None:
        yield _unless(record.flags == wanted.flags, "other build flags")


def _gpu_mismatch(record: EngineRecord, wanted: Wanted) -> str | None:
    if record.gpu is None:
        if wanted.gpu is not None and not wanted.targets:
            fits = wanted.gpu.compute_capability in record.targets
            built = capability_text(record.targets)
            mine = capability_text([wanted.gpu.compute_capability])
            return _unless(fits, f"built for {built}, this GPU is {mine}")
        before, now = (capability_text(sorted(t)) for t in (record.targets, wanted.targets))
        return _changed("targets", before, now)
    if wanted.gpu is None:
        return f"built for {record.gpu.name}"
    built_on, here = record.gpu, wanted.gpu
    same = here.compute_capability == built_on.compute_capability
    fits = {
        "none": same and here.name == built_on.name,
        "same-compute-capability": same,
        "ampere-plus": here.compute_capability >= (8, 0),
    }[record.flags.hardware_compatibility]
    return _unless(fits, f"GPU {built_on.name} -> {here.name}")


def _profile_change(before: ProfileRecord, now: ProfileRecord) -> str | None:
    """The differences only, such as "profile: slices 1,8,16 -> 32"."""
    pairs = zip(before.model_dump().items(), now.model_dump().values(), strict=True)
    texts = [
        f"{name} {range_text(old)} -> {range_text(new)}" for (name, old), new in pairs if old != new
    ]
    return f"profile: {', '.join(texts)}" if texts else None


def _rank(record: EngineRecord, gpu: GpuRecord | None) -> tuple[bool, int]:
    unverified = gpu is None or not record.verified_on(gpu)
    return unverified, ("bf16", "fp16", "fp32").index(record.precision)


def _unless(fits: bool, reason: str) -> str | None:
    return None if fits else reason


def _changed(what: str, before: object, now: object) -> str | None:
    return None if before == now else f"{what} {before} -> {now}"
