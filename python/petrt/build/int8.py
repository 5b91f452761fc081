"""petrt build-engine --precision int8: networks in 8 bit for an engine on the CPU.

Calibrated and searched on simulated subjects, verified on another one, and only then installed. Until
the last step everything is in memory, as in ``petrt.build.install``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import Literal, cast

from petrt import _core
from petrt.build.install import Bar, look_up
from petrt.build.quantize import weight_bits
from petrt.build.quantize_ranges import SEED, Calibration, Ranges
from petrt.build.quantize_search import Layer, Search, layers_of, quantize_all
from petrt.build.verify import (
    BARS,
    SAMPLES,
    Limit,
    Reference,
    make_reference,
    measure,
    missed,
    probed_doses,
    verify,
)
from petrt.bundle import Bundle, file_entry
from petrt.engines.cache import Installed, build_lock, install, private_root
from petrt.engines.fit import Wanted
from petrt.engines.installed import cpu_here, quantized_engine
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.record import (
    CPU_LABELS,
    QUANTIZED,
    CpuRecord,
    EngineKind,
    EngineRecord,
    ModelRef,
    QuantizedRecord,
    Verified,
    engine_key,
)
from petrt.errors import DeviceError, UsageError

logger = logging.getLogger("petrt")

# The search's own subject has to reach more than verification asks for, which is another subject.
MARGIN_DB, MARGIN_LOSS = 3.0, 0.5
SEARCH_SEED = SEED + 1000
ROUNDS = 10  # each halves the error that is left


@dataclass(frozen=True)
class Int8Request:
    """What ``petrt build-engine --precision int8`` is to build, on and for this machine's CPU."""

    bundle: Bundle
    engine: EngineKind
    version: str
    cpu: CpuRecord
    calibration: Calibration = field(default_factory=Calibration)
    limit: Limit = BARS["int8"]

    @property
    def bits(self) -> Literal[7, 8]:
        return weight_bits(self.cpu.isa)

    @property
    def results(self) -> bool:
        """Whether what convolutions write is rounded too: see ``petrt.build.quantize``."""
        return self.engine == "onnxruntime"

    @property
    def key(self) -> str:
        """The key that the engine will be installed under."""
        return engine_key(self.bundle.identity, self.engine, "int8", None, (), self.cpu)

    @cached_property
    def wanted(self) -> Wanted:
        """What an installed engine must be so that there is nothing to build."""
        return Wanted.of(
            self.bundle, self.engine, self.version, cpu=self.cpu, precision="int8",
            calibration=self.calibration.text,
        )  # fmt: skip

    def __str__(self) -> str:
        label = f"{CPU_LABELS[self.engine]} {self.version}"
        return f"{self.bundle.model.name}, {label}, int8, for {self.cpu}"


def make_int8_request(
    bundle: Bundle, engine: str = "auto", calibration: Calibration | None = None
) -> Int8Request:
    """Settle what is left open. Raises UsageError for an engine without 8 bit, DeviceError for one that
    is not installed, and without ONNX Runtime, which calibrates and searches for every engine."""
    from petrt.engines.candidates import Missing, version_on_cpu

    if engine not in ("auto", *CPU_LABELS):
        raise UsageError(
            f"no int8 with the engine '{engine}'", f"choose auto, {' or '.join(CPU_LABELS)}"
        )
    kind = cast(EngineKind, "onnxruntime" if engine == "auto" else engine)
    version, searcher = version_on_cpu(kind), version_on_cpu("onnxruntime")
    if isinstance(version, Missing):
        raise DeviceError(version.reason, version.hint)
    if isinstance(searcher, Missing):
        raise DeviceError(f"int8 is calibrated by ONNX Runtime: {searcher.reason}", searcher.hint)
    return Int8Request(bundle, kind, version, cpu_here(), calibration or Calibration())


def build_int8(request: Int8Request, *, force: bool = False, bar: Bar) -> Installed:
    """Quantize, verify and install what is asked for, unless it is installed already (or ``force``).

    Raises DeviceError where the bound is missed even with the worst layers in float32: nothing is
    installed then.
    """
    private_root(create=True)  # a folder that cannot be used is told before minutes of work
    with build_lock(request.key):
        entry, reason = look_up(request)
        if entry is not None and not force:
            logger.info("%s is installed already", request)
            return entry
        logger.info("building %s: %s", request, "as asked (--force)" if entry else reason)
        started = time.perf_counter()
        made = _Build(request, bar).run()
        seconds = time.perf_counter() - started
        files = {QUANTIZED[graph]: data for graph, data in made.graphs.items()}
        record = EngineRecord(
            petrt=_core.__version__,
            model=ModelRef(name=request.bundle.model.name, sha256=request.bundle.identity),
            engine=request.engine,
            engine_version=request.version,
            precision="int8",
            cpu=request.cpu,
            quantized=made.record,
            files={name: file_entry(data) for name, data in files.items()},
            built=datetime.now(timezone.utc).isoformat(),
            built_seconds=round(seconds, 2),
            verified=made.verified,
        )
        return install(record, files)


@dataclass(frozen=True)
class _Made:
    graphs: dict[str, bytes]
    record: QuantizedRecord
    verified: Verified


class _Build:
    """One build: ranges, then rounds of verification, each with half the error of the one before."""

    def __init__(self, request: Int8Request, bar: Bar) -> None:
        self._request, self._bundle, self._bar = request, request.bundle, bar
        self._layers = layers_of(request.bundle)
        self._ranges: Ranges
        self._probe: Reference  # of the search
        self._reference: Reference  # of the verification

    def run(self) -> _Made:
        """Raises DeviceError where the bound is missed."""
        if not any(self._layers.values()):
            name = self._bundle.model.name
            text = f"the model '{name}' has no convolution that 8 bit would speed up"
            raise DeviceError(text, "run it in fp32")
        model = self._bundle.model
        with self._bar("calibrating", "volumes") as step:
            self._ranges = self._request.calibration.ranges(self._bundle, step)
        doses = probed_doses(model)
        # The search looks at the ends of the doses, with one sample: it runs often.
        ends = tuple(dict.fromkeys((doses[0], doses[-1])))
        self._probe = make_reference(self._bundle, ends, 1, seed=SEARCH_SEED)
        self._reference = make_reference(self._bundle, doses, SAMPLES)
        search: Search | None = None
        reason = ""
        for _ in range(ROUNDS):
            kept = search.kept if search else []
            graphs = self._quantize(kept)
            figures = self._measure(graphs)
            reason = missed(figures, self._strict) or ""
            if not reason:
                verified, reason = self._verify(graphs)
                if verified is not None:
                    return _Made(graphs, self._record(kept), verified)
            logger.info("with %s in float32: %s", _count(kept), reason)
            search = self._relax(search)
            if search.exhausted:
                break
        raise DeviceError(
            f"no int8 for '{self._bundle.model.name}', not even with "
            f"{_count(search.kept if search else [])} in float32: {reason}",
            "run it in fp32, or calibrate on volumes of your own: --calibration PATH",
        )

    @property
    def _strict(self) -> Limit:
        """What the search's subject has to reach."""
        limit = self._request.limit
        loss = None if limit.loss_db is None else limit.loss_db * MARGIN_LOSS
        return replace(limit, psnr_db=limit.psnr_db + MARGIN_DB, loss_db=loss)

    def _quantize(self, kept: Sequence[Layer]) -> dict[str, bytes]:
        request = self._request
        return quantize_all(self._bundle, self._ranges, kept, request.bits, request.results)

    def _measure(self, graphs: dict[str, bytes]) -> Verified:
        """On the search's subject; by ONNX Runtime, which opens fastest, whoever will run them."""
        engine = OnnxRuntimeEngine(self._bundle, precision="int8", graphs=graphs)
        return measure(self._bundle, engine, self._probe)

    def _verify(self, graphs: dict[str, bytes]) -> tuple[Verified | None, str]:
        """By the engine that will run them: the figures, or why they are not good enough."""
        request = self._request
        engine = quantized_engine(self._bundle, request.engine, graphs)
        try:
            limit, reference = request.limit, self._reference
            return verify(self._bundle, engine, limit=limit, reference=reference), ""
        except DeviceError as error:
            return None, error.message

    def _relax(self, search: Search | None) -> Search:
        """Half of the error that is expected is taken out."""
        with self._bar("searching", "reconstructions") as step:
            if search is None:
                search = Search(list(self._layers.values()), self._error)
            search.relax(search.remaining / 2, lambda count: step(count, 2 * self._total))
        return search

    def _error(self, layers: Sequence[Layer]) -> float:
        """The squared error of the image, relative to its peak's, with only ``layers`` in 8 bit."""
        alone = set(layers)
        others = [x for each in self._layers.values() for x in each if x not in alone]
        figures = self._measure(self._quantize(others))
        return 0.0 if figures.psnr_db is None else 10 ** (-figures.psnr_db / 10)

    @property
    def _total(self) -> int:
        return sum(map(len, self._layers.values()))

    def _record(self, kept: Sequence[Layer]) -> QuantizedRecord:
        return QuantizedRecord(
            bits=self._request.bits,
            layers={
                graph: sum(layer not in set(kept) for layer in layers)
                for graph, layers in self._layers.items()
            },
            kept=tuple(f"{graph}/{name}" for graph, name in kept),
            calibration=self._request.calibration.text,
        )


def _count(kept: Sequence[Layer]) -> str:
    return f"{len(kept)} layer{'' if len(kept) == 1 else 's'}"
