"""Compiles ONNX to a plan with TensorRT or TensorRT for RTX, two modules with the same Python API.

Networks are strongly typed, so the plan has the types of the graph. A plan can be wrong without an error:
TensorRT 11 has silently miscompiled float16 convolution, activation and residual sum beside a concatenation
(TensorRT#4854), and a U-Net consists of these. So every plan is verified on a volume before its use.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal

import onnx

from petrt.engines.tensorrt.current_device import CurrentDevice
from petrt.engines.tensorrt.log import log_of
from petrt.errors import DeviceError, UsageError
from petrt.export.tensorrt.profile import Profile, Range, default_profile
from petrt.model.bundle import check_onnx

__all__ = [
    "HardwareCompatibility",
    "Profile",
    "Range",
    "SerializedEngine",
    "build_plan",
    "default_profile",
]

HardwareCompatibility = Literal["none", "same-compute-capability", "ampere-plus"]
# Called with (percent done, 100) from the thread that builds. An exception in it ends the build.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SerializedEngine:
    """A serialised plan. ``timing_cache``: for the next build on this machine.

    ``warnings``: TensorRT's warnings, one line each.
    """

    data: bytes
    timing_cache: bytes
    seconds: float
    warnings: tuple[str, ...]


def is_rtx(trt: Any) -> bool:
    """Whether the module is TensorRT for RTX, which can build without a GPU."""
    return hasattr(trt, "ComputeCapability")


def build_plan(
    trt: Any,
    model: bytes,
    profile: Profile,
    *,
    workspace_bytes: int | None = None,
    timing_cache: bytes = b"",
    targets: Sequence[tuple[int, int]] = (),
    hardware_compatibility: HardwareCompatibility = "none",
    tf32: bool = False,
    device: int | None = None,
    progress: Progress | None = None,
) -> SerializedEngine:
    """Compile the ONNX ``model``, whose types are the plan's (see ``petrt.export.tensorrt.precision``).

    Args:
        trt: the module ``tensorrt`` or ``tensorrt_rtx``.
        profile: sizes that the plan accepts. Each range costs memory and time.
        workspace_bytes: limit of a layer's scratch memory; by default TensorRT's own.
        timing_cache: ``SerializedEngine.timing_cache`` of an earlier build; ignored if it does not fit.
        targets: for TensorRT for RTX, compute capabilities such as (8, 6) to build for, without such a
            GPU; by default all that it supports from 8.6 on. TensorRT builds for ``device``.
        hardware_compatibility: for TensorRT, other GPUs on which the plan can run.
        tf32: let float32 convolutions round their inputs to 10 bits.
        device: index of the GPU to build on; None to build without one (TensorRT for RTX).
        progress: see ``Progress``.

    Raises:
        InputError: ``model`` is not an ONNX model of a bundle. UsageError: contradictory profile or
        options. DeviceError: TensorRT refuses or fails, with its reason. KeyboardInterrupt: cancelled.
    """
    check_onnx(model, "the network")
    build = _Build(trt, model, profile, progress)
    if targets and not is_rtx(trt):
        raise UsageError(
            f"{build.name} builds for the GPU of this machine only",
            "for other GPUs install TensorRT for RTX (tensorrt_rtx)",
        )
    if hardware_compatibility != "none" and is_rtx(trt):
        raise UsageError(
            "hardware compatibility is for TensorRT", "name the GPUs of an RTX plan as targets"
        )

    def configure(config: Any) -> None:
        if not tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        if workspace_bytes is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
        if hardware_compatibility != "none":
            level = hardware_compatibility.upper().replace("-", "_")
            config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
        # Without it a plan of TensorRT for RTX allocates memory at run time, which CUDA graphs forbid.
        if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        _set_targets(trt, config, targets)
        cache = config.create_timing_cache(timing_cache) or config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)

    # The build runs in its own thread, so that Ctrl-C is raised here and not in a callback from C++,
    # which must not raise.
    with ThreadPoolExecutor(1, "petrt-build") as pool:
        future = pool.submit(build.run, configure, device)
        try:
            return future.result()
        except KeyboardInterrupt:
            build.cancel.set()
            raise


def _set_targets(trt: Any, config: Any, targets: Sequence[tuple[int, int]]) -> None:
    if not targets:
        return
    unique = sorted(set(targets))
    config.num_compute_capabilities = len(unique)
    for index, (major, minor) in enumerate(unique):
        capability = getattr(trt.ComputeCapability, f"SM{major}{minor}", None)
        if capability is None or not config.set_compute_capability(capability, index):
            raise UsageError(
                f"TensorRT for RTX {trt.__version__} has no target {major}.{minor}",
                "choose among rtx30, rtx40, rtx50",
            )


class _Build:
    """One build, with the state of its callbacks. ``cancel`` ends it at the next step."""

    def __init__(self, trt: Any, model: bytes, profile: Profile, progress: Progress | None) -> None:
        graph = onnx.load_model_from_string(model)
        self._trt, self._model, self._progress = trt, model, progress
        self._shapes = profile.shapes(graph)
        self._graph = graph.graph.name
        self.cancel = Event()
        self._log = log_of(trt)
        self._raised: BaseException | None = None
        self.name = f"{'TensorRT for RTX' if is_rtx(trt) else 'TensorRT'} {trt.__version__}"

    def run(self, configure: Callable[[Any], None], device: int | None) -> SerializedEngine:
        with nullcontext() if device is None else CurrentDevice(device):
            return self._run(configure)

    def _run(self, configure: Callable[[Any], None]) -> SerializedEngine:
        started = time.perf_counter()
        self._log.take()
        self._log.warnings.clear()
        try:
            builder = self._trt.Builder(self._log)
        except TypeError as error:  # the binding raises it for a null pointer
            raise DeviceError(
                f"{self.name} cannot start: {self._reason()}", "see petrt doctor"
            ) from error
        network = builder.create_network(0)
        self._parse(network)
        config = builder.create_builder_config()
        configure(config)
        config.add_optimization_profile(self._profile(builder))
        config.progress_monitor = monitor = _monitor(self._trt, self._step)
        self._log.take()
        data = builder.build_serialized_network(network, config)
        del monitor  # must live until here, because the builder does not hold it
        if self._raised is not None:
            raise self._raised
        if data is None:
            raise DeviceError(
                f"{self.name} cannot build {self._graph}: {self._reason()}",
                "try --slices as one smaller number, a single --size, a larger --workspace or another engine",
            )
        cache = config.get_timing_cache()
        self._step(1.0)
        return SerializedEngine(
            bytes(data),
            b"" if cache is None else bytes(cache.serialize()),
            time.perf_counter() - started,
            tuple(_reason(warning) for warning in self._log.warnings),
        )

    def _parse(self, network: Any) -> None:
        parser = self._trt.OnnxParser(network, self._log)
        if not parser.parse(self._model):
            raise DeviceError(
                f"{self.name} cannot read {self._graph}: {_parser_error(parser)}",
                "export the model again, or use another engine",
            )

    def _profile(self, builder: Any) -> Any:
        made = builder.create_optimization_profile()
        for name, shapes in self._shapes.items():
            made.set_shape(name, *shapes)
        return made

    def _reason(self) -> str:
        return _reason(self._log.take(0)) or "no reason given"

    def _step(self, fraction: float) -> bool:
        """Called at every step of the build. Returns False to end it."""
        try:
            if self._progress is not None:
                self._progress(round(100 * fraction), 100)
        except BaseException as error:  # raised again later, because the caller is C++
            self._raised = error
        return self._raised is None and not self.cancel.is_set()


def _monitor(trt: Any, step: Callable[[float], bool]) -> Any:
    """A progress monitor that calls ``step`` with the fraction done, which never decreases.

    Phases are nested. Each counts its own steps; an inner phase is part of one step of the outer one.
    """

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._open: dict[str, tuple[str | None, int, int]] = {}
            self._fraction = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._open[phase] = (parent, max(1, steps), 0)

        def step_complete(self, phase: str, index: int) -> bool:
            parent, steps, _ = self._open.get(phase, (None, 1, 0))
            self._open[phase] = (parent, steps, index + 1)
            done, inside, name = 0.0, 0.0, phase
            for _ in range(len(self._open)):
                parent, steps, finished = self._open[name]
                done = inside = min(1.0, (finished + inside) / steps)
                if parent not in self._open:
                    break
                name = parent
            self._fraction = max(self._fraction, done)
            return step(self._fraction)

        def phase_finish(self, phase: str) -> None:
            self._open.pop(phase, None)

    return Monitor()


def _parser_error(parser: Any) -> str:
    """The first error of the parser in one line: operator, node, reason."""
    if not parser.num_errors:
        return "no reason given"
    error = parser.get_error(0)
    code, text = str(error.code()).rsplit(".", 1)[-1], _reason(error.desc())
    reason = code.lower().replace("_", " ") + ("" if text == "false" else f": {text}")
    node = " ".join(part for part in (error.node_operator(), error.node_name()) if part)
    return f"{node}: {reason}" if node else reason


def _reason(message: str) -> str:
    """TensorRT's message without source locations: "API Usage Error: reason"."""
    line = re.sub(r"\[\w+\.cpp:\d+: \w+\] | In [\w:~<>() ]+?( at /[^\s)]*|…$)", "", message)
    found = re.search(r"Error Code \d+: ([^(]+?) ?\((.*)", line)
    return f"{found[1]}: {found[2].rstrip(') .')}" if found else line
