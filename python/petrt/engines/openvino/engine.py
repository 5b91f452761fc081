"""OpenVINO: the bundle's ONNX on a CPU, in bfloat16 where the CPU computes in it."""

from __future__ import annotations

import functools
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from petrt.engines.base import Buffers, Division, Engine, check_interface, checked, interface
from petrt.engines.openvino.cache import compile_cached
from petrt.errors import DeviceError, InputError, UsageError, first_line
from petrt.hardware import cpu
from petrt.hardware.cpu import default_threads
from petrt.hardware.packages import OPENVINO
from petrt.hardware.processes import check_package
from petrt.model.bundle import Bundle
from petrt.model.half_precision import Precision

# OpenVINO's names of the precisions.
HINTS = {"fp32": "f32", "bf16": "bf16"}
# Bytes in memory for each byte of ONNX once all is compiled or read from the cache, beside what the source
# models take. Measured on the paper's networks with one and two workers: 3.7 to 5.8.
COMPILED = 6.0
# Shapes of batches that stay compiled for buffers to come; those in use are kept by their requests.
KEPT = 12


def import_openvino() -> Any:
    """The package without its model converter, whose import sends usage statistics over the network.

    Raises DeviceError where it is missing or does not load.
    """
    converter = "openvino.tools.ovc"
    first = "openvino" not in sys.modules
    if first:  # "not there", which the package takes
        sys.modules[converter] = None  # type: ignore[assignment]
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise DeviceError("the openvino engine needs OpenVINO", OPENVINO) from error
    except (ImportError, OSError) as error:
        raise DeviceError(f"OpenVINO cannot be loaded: {first_line(error)}", OPENVINO) from error
    finally:
        if first:
            del sys.modules[converter]
    return openvino


@functools.cache
def process_core() -> Any:
    """The one ov.Core of this process, which lasts as long as the process.

    A Core gives its thread a stack for signal handlers, and brings back the one before when it is freed. If
    two are freed in the order in which they were made, what comes back is the stack of the first, which is
    unmapped: the next signal that Python handles, such as Ctrl-C, kills the process (OpenVINO 2026.4).
    """
    return import_openvino().Core()


def check_precision(precision: Precision | None) -> Precision:
    """What is asked for, or the fastest that computes with real numbers. Raises UsageError: OpenVINO
    would compute in float32 where the CPU has no bfloat16, and say nothing."""
    if precision is None:
        return "bf16" if cpu.has_bf16() else "fp32"
    if precision not in HINTS:
        raise UsageError(f"OpenVINO does not run {precision}", f"choose {', '.join(HINTS)}")
    if precision == "bf16" and not cpu.has_bf16():
        raise UsageError("this CPU does not compute in bf16", "choose fp32")
    return precision


class OpenVINOEngine(Engine):
    """One compiled model per graph and shape, one request per ``bind``, on the caller's buffers.

    Args:
        precision: "fp32" or "bf16", the default where the CPU computes in it.
        threads: of one call.
        streams: calls that run side by side; more wait. Default: as many as the cores allow.

    Raises:
        InputError: a graph that OpenVINO refuses. UsageError: a precision that is not to be had.
        DeviceError: OpenVINO is missing.
    """

    name = "openvino"
    device = "cpu"
    capturable = False
    stream = None
    division: Division | None = "own"

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision | None = None,
        threads: int = 1,
        streams: int | None = None,
    ) -> None:
        chosen = check_precision(precision)
        check_package("OpenVINO")
        self._ov = import_openvino()
        self.version = str(self._ov.__version__).partition("-")[0]
        self.precision: str = chosen
        self.threads = threads
        self.streams = streams or max(1, default_threads() // threads)
        self._core = process_core()
        self._source = bundle.source
        self._models: dict[str, Any] = {}
        self._tensors: dict[str, tuple[dict[str, list[Any]], dict[str, list[Any]]]] = {}
        self.binding_bytes = 0
        for graph in bundle.graphs:
            model = bundle.onnx(graph) or b""
            self.binding_bytes += int(COMPILED * len(model))
            self._models[graph] = self._read(graph, model)
            self._tensors[graph] = interface(bundle, graph)
        self._compiled: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = threading.Lock()
        check_interface(self, bundle)

    def tensors(self, graph: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        return self._tensors[graph]

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        """This compiles, where this graph is new in these shapes."""
        buffers = checked(self, graph, inputs, outputs)
        shapes = {name: tuple(buffers[name].shape) for name in inputs}
        for name, shape in self.output_shapes(graph, shapes).items():
            if buffers[name].shape != shape:
                raise ValueError(f"{graph}: {name} must be of shape {shape}")
        request = self._compile(graph, shapes).create_infer_request()
        for name, array in buffers.items():
            request.set_tensor(name, self._ov.Tensor(array, shared_memory=True))

        def run(_alive: Buffers = buffers) -> None:
            """The request has the addresses of the buffers alone."""
            try:
                request.start_async()
                request.wait()
            except RuntimeError as error:
                raise DeviceError(
                    f"OpenVINO failed in {graph}.onnx on buffers {shapes}: {_reason(error)}"
                ) from error

        return run

    def _compile(self, graph: str, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """The compiled model of ``graph`` for inputs of these shapes, on all streams."""
        key = (graph, *shapes.values())
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = self._compile_new(graph, shapes)
                while len(self._compiled) > KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(key)
            return self._compiled[key]

    def _compile_new(self, graph: str, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Static shapes take less memory than dynamic ones. Threads are not pinned: the cores are not
        ours alone."""
        hint = HINTS[self.precision]
        config = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": self.streams * self.threads,
            "ENABLE_CPU_PINNING": False,
            "ENABLE_HYPER_THREADING": True,  # a core is what this process may use, as everywhere in petrt
        }
        try:
            model = self._models[graph].clone()
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            compiled = compile_cached(self._core, model, config)
        except RuntimeError as error:
            raise self._refused(graph, error) from error
        found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if found != hint:
            raise DeviceError(f"OpenVINO compiled {graph}.onnx in {found}, not in {hint}")
        return compiled

    def _read(self, graph: str, model: bytes) -> Any:
        """The graph as OpenVINO holds it."""
        try:
            return self._core.read_model(model)
        except RuntimeError as error:
            raise self._refused(graph, error) from error

    def _refused(self, graph: str, error: RuntimeError) -> InputError:
        where = f"{self._source}: OpenVINO {self.version} refuses {graph}.onnx"
        return InputError(f"{where}: {_reason(error)}", "export the model again")


def _reason(error: RuntimeError) -> str:
    """The line of OpenVINO's text that says what is wrong: those before it say where in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (said or lines or [type(error).__name__])[0]
