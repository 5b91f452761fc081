"""The report of ``petrt doctor``: what this machine has, what ``auto`` picks, what to install.

It names neither the machine nor its user; paths start at ``~``.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from petrt import _core
from petrt.engines import select
from petrt.errors import PetrtError, first_line
from petrt.hardware import cpu, machine, packages
from petrt.hardware.machine import CudaModule, Driver, GpuRow, Part, Place
from petrt.model.bundle import Bundle, load_bundle, shipped_models

if TYPE_CHECKING:
    from petrt.engines.base import Engine
    from petrt.engines.store.record import EngineRecord


@dataclass(frozen=True)
class AutoChoice:
    """What ``auto`` picks for ``model``, and why; ``problem`` if no engine works."""

    model: str
    engine: str | None
    device: str | None
    precision: str | None
    reason: str | None
    problem: str | None = None


@dataclass(frozen=True)
class Fix:
    """A missing part and the command that adds it. ``needed``: whether this machine can use it."""

    part: str
    why: str
    command: str
    needed: bool


@dataclass(frozen=True)
class Report:
    """The whole report. ``cpu``: cores that this process may use, and instruction sets."""

    petrt: str
    python: str
    system: str
    cpu: dict[str, Any]
    driver: Driver
    gpus: list[GpuRow]
    cuda_module: CudaModule
    engines: list[Part]
    libraries: list[Part]
    cache: Cache
    installed: list[InstalledEngine]
    models: list[dict[str, str]]
    auto: AutoChoice
    fixes: list[Fix]

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values, without the user's name and home folder."""
        tidied: dict[str, Any] = tidy({"format": "petrt-doctor", "version": 1, **asdict(self)})
        return tidied


def examine(model: str = "demo") -> Report:
    """The report on this machine. Raises only InputError, for a ``model`` that cannot be read."""
    bundle = load_bundle(model)
    driver, module = machine.driver(), machine.cuda_module()
    rows = machine.gpu_rows(module)
    place = machine.place(driver, module, rows)
    engines, libraries = machine.engines(place), [machine.cupy(place)]
    return Report(
        petrt=_core.__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpu={"cores": cpu.default_threads(), "isa": cpu.isa()},
        driver=driver,
        gpus=rows,
        cuda_module=module,
        engines=engines,
        libraries=libraries,
        cache=cache(),
        installed=installed(),
        models=models(),
        auto=choose(model, bundle, place, engines),
        fixes=fixes(place, driver, module, [*engines, *libraries]),
    )


@dataclass(frozen=True)
class Cache:
    """The folder of installed engines; ``path`` None: this user has no place for it. ``problem``: why
    petrt does not use it, or None."""

    path: str | None
    exists: bool
    bytes: int
    mode: str | None
    problem: str | None


def cache() -> Cache:
    """Size and permissions of the engine folder."""
    from petrt.engines.store.folder import cache_root, private_root

    problem = None
    try:
        root = cache_root()
    except PetrtError as error:
        return Cache(None, False, 0, None, str(error))
    try:
        private_root()
    except PetrtError as error:
        problem = str(error)
    try:
        mode = f"{stat.S_IMODE(root.lstat().st_mode):o}"
    except OSError:
        return Cache(str(root), False, 0, None, problem)
    return Cache(str(root), True, _bytes_under(root), mode, problem)


def _bytes_under(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another process may be replacing an engine
                total += (Path(parent) / name).lstat().st_size
    return total


@dataclass(frozen=True)
class InstalledEngine:
    """One installed engine. ``state``: "verified" with the measured ``psnr_db`` (None: bit for bit
    equal), "unverified" (it is verified at first use), or "broken" with the ``problem``."""

    folder: str
    state: Literal["verified", "unverified", "broken"]
    model: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    precision: str | None = None
    built_for: str | None = None
    psnr_db: float | None = None
    problem: str | None = None


def installed() -> list[InstalledEngine]:
    """Every engine in the engine folder; empty if the folder is not private."""
    from petrt.engines.store import folder as engines

    try:
        entries, broken = engines.installed()
    except (PetrtError, OSError):  # ``cache`` reports the reason
        return []
    rows = [_installed(entry.folder.name, entry.record) for entry in entries]
    return rows + [
        InstalledEngine(each.folder.name, "broken", problem=each.reason) for each in broken
    ]


def _installed(folder: str, record: EngineRecord) -> InstalledEngine:
    verified = record.verified
    return InstalledEngine(
        folder,
        "verified" if verified else "unverified",
        model=record.model.name,
        engine=record.engine,
        engine_version=record.engine_version,
        precision=record.precision,
        built_for=record.built_for,
        psnr_db=verified.psnr_db if verified else None,
    )


def choose(model: str, bundle: Bundle, place: Place, engines: list[Part]) -> AutoChoice:
    """What ``auto`` picks for ``model``. On a CPU ``auto`` itself runs. On a GPU no engine is opened, and
    PyTorch is judged by its files, because its import takes seconds."""
    try:
        return _asked(model, bundle) if place.blocked else _forecast(model, bundle, engines)
    except Exception as error:  # an engine's package may raise anything; the report shows it
        return AutoChoice(model, None, None, None, None, first_line(error))


def _forecast(model: str, bundle: Bundle, engines: list[Part]) -> AutoChoice:
    from petrt.engines.candidates import ON_GPU, Missing, Ready, find_gpu, on_gpu

    gpu = find_gpu(0)
    if isinstance(gpu, Missing):  # cuda:0 is unusable, but another GPU can be used
        return AutoChoice(model, None, None, None, None, str(gpu))

    def asked() -> Iterator[Ready | Missing]:
        parts = {part.name: part for part in engines if part.device == "cuda"}
        for name in ON_GPU:
            part = parts[name]
            if name == "torch" and part.state == "ready":
                yield Ready(name, part.version or "", "bf16", part.detail, _never)
            else:
                yield on_gpu(bundle, gpu, name, None)

    passed: list[Missing] = []
    for candidate in asked():
        if isinstance(candidate, Ready):
            reason = "; ".join([str(candidate), *(str(missing) for missing in passed)])
            return AutoChoice(
                model, candidate.name, f"cuda:{gpu.index}", candidate.precision, reason
            )
        passed.append(candidate)
    return _asked(model, bundle)


def _asked(model: str, bundle: Bundle) -> AutoChoice:
    from petrt.engines.candidates import DOCTOR

    choice = select.choose(bundle)
    engine, reason = choice.engine, choice.reason.replace(f" ({DOCTOR})", "")
    return AutoChoice(model, engine.name, engine.device, engine.precision, reason)


def _never() -> Engine:
    raise AssertionError("a forecast opens nothing")


def models() -> list[dict[str, str]]:
    """Models shipped with petrt: name and identity, or why they cannot be read."""
    rows = []
    for name in shipped_models():
        try:
            rows.append({"name": name, "sha256": load_bundle(name).identity})
        except PetrtError as error:
            rows.append({"name": name, "problem": error.message})
    return rows


def fixes(place: Place, driver: Driver, module: CudaModule, parts: list[Part]) -> list[Fix]:
    """One command for each missing part: first those that this machine can use, then the others."""
    found = []
    if driver.fix:
        what = "GPUs" if driver.fix == packages.CUDA else "driver"
        found.append(Fix(what, driver.problem or "", driver.fix, needed=True))
    if module.fix:
        found.append(Fix("CUDA module", module.detail, module.fix, driver.card))
    for part in parts:
        needed = driver.card if part.device == "cuda" else part.state == "broken"
        if part.name == "tensorrt-rtx":  # serves only some GPUs
            needed = place.rtx
        if part.fix:
            why = part.detail or part.state
            found.append(Fix(f"{part.name} on {part.device}", why, part.fix, needed))
    return sorted(found, key=lambda fix: not fix.needed)


def tidy(value: Any) -> Any:
    """``value`` (nested JSON values) without the user's home folder and name in any path."""
    if isinstance(value, dict):
        return {key: tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(item) for item in value]
    if not isinstance(value, str):
        return value
    home, user = _home(), _user()
    end = r"(?![^/\s:'\"])"  # whole path components only
    if len(home) > 1:
        value = re.sub(re.escape(home) + end, "~", value)
    return re.sub(rf"(?<=/){re.escape(user)}{end}", "<user>", value) if user else value


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # neither an environment variable nor an entry for this user id
        return ""


def _user() -> str | None:
    try:
        return getpass.getuser()
    except Exception:  # neither an environment variable nor an entry for this user id
        return None
