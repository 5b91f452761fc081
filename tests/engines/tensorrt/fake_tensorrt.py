"""A stand-in for TensorRT's Python API and for petrt._cuda, on host memory.

It refuses calls in the wrong order, as TensorRT would, and computes with ONNX Runtime. Whatever is
public in its classes exists in the real bindings under the same name (see test_tensorrt.py), so that
code which runs here does not call what is not there. A plan is JSON around the ONNX graph.
"""

from __future__ import annotations

import base64
import ctypes
import enum
import json
import types
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime as ort

VERSION = "11.4.0"

DataType = enum.Enum("DataType", ["FLOAT", "HALF", "BF16"])
TensorIOMode = enum.Enum("TensorIOMode", ["INPUT", "OUTPUT"])
ExecutionContextAllocationStrategy = enum.Enum(
    "ExecutionContextAllocationStrategy", ["STATIC", "USER_MANAGED"]
)
ErrorCodeTRT = enum.Enum("ErrorCodeTRT", ["INTERNAL_ERROR", "FAILED_ALLOCATION"])
DynamicShapesKernelSpecializationStrategy = enum.Enum(
    "DynamicShapesKernelSpecializationStrategy", ["LAZY", "EAGER"]
)

SIZES = {"slices": (1, 2, 4), "images": (1, 2, 8), "height": (16, 32, 64), "width": (16, 32, 64)}


def make_plan(model: bytes, sizes: dict[str, tuple[int, int, int]] = SIZES, **faults: Any) -> bytes:
    """A plan of a bundle's graph. ``faults``: ``dtypes`` {name: DataType's name}, ``enqueue`` (error
    code, text) that every enqueue fails with, ``not_capturable``."""
    graph = onnx.load_model_from_string(model).graph
    tensors = {}
    for mode, values in (("INPUT", graph.input), ("OUTPUT", graph.output)):
        for value in values:
            dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            profile = [[_size(dim, sizes, i) for dim in dims] for i in range(3)]
            shape = [dim if isinstance(dim, int) else -1 for dim in dims]
            tensors[value.name] = {"mode": mode, "shape": shape, "profile": profile}
    text = {"tensors": tensors, "onnx": base64.b64encode(model).decode(), "faults": faults}
    return json.dumps(text).encode()


def _size(dim: Any, sizes: dict[str, tuple[int, int, int]], which: int) -> int:
    base, _, over = str(dim).partition("/")
    return int(base) if base.isdigit() else sizes[base][which] // int(over or 1)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class IErrorRecorder:
    pass


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self.error_recorder: Any = None

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            return ICudaEngine(json.loads(serialized_engine), self.error_recorder)
        except ValueError:
            self.error_recorder.report_error(
                ErrorCodeTRT.INTERNAL_ERROR, "Serialization assertion\n  failed"
            )
            return None


class ICudaEngine:
    def __init__(self, plan: dict[str, Any], recorder: Any) -> None:
        self._plan, self._recorder = plan, recorder
        self._tensors = plan["tensors"]
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode[self._tensors[name]["mode"]]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._plan["faults"].get("dtypes", {}).get(name, "FLOAT")]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name]["shape"])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        assert self.get_tensor_mode(name) is TensorIOMode.INPUT
        return [tuple(shape) for shape in self._tensors[name]["profile"]]

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig(self._recorder)

    def create_execution_context(self, strategy: Any) -> IExecutionContext:
        if isinstance(strategy, IRuntimeConfig):
            eager = DynamicShapesKernelSpecializationStrategy.EAGER
            assert strategy.dynamic_shapes_kernel_specialization_strategy is eager
            assert strategy._strategy is ExecutionContextAllocationStrategy.USER_MANAGED
            return RtxContext(self, strategy._cache)
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self)


class IRuntimeConfig:
    dynamic_shapes_kernel_specialization_strategy: Any = None

    def __init__(self, recorder: Any) -> None:
        self._recorder, self._cache = recorder, None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache(self._recorder)

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        assert Current.depth == 1, "the device is not the current one"
        self._cache = cache
        return True


class IRuntimeCache:
    """Names of kernels. ``_driver``: of the machine; ``_compiled``: all that was compiled here."""

    _driver = "580.1"
    _compiled: ClassVar[list[str]] = []

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder
        self._kernels: set[str] = set()

    def deserialize(self, blob: bytes) -> bool:
        assert Current.depth == 1, "the device is not the current one"
        driver, *kernels = json.loads(bytes(blob))
        if driver != self._driver:
            self._recorder.report_error(ErrorCodeTRT.INTERNAL_ERROR, f"cache of driver {driver}")
            return False
        self._kernels |= set(kernels)
        return True

    def serialize(self) -> bytearray:
        assert Current.depth == 1, "the device is not the current one"
        return bytearray(json.dumps([self._driver, *sorted(self._kernels)]).encode())

    def _need(self, kernel: str) -> None:
        if kernel not in self._kernels:
            self._compiled.append(kernel)
            self._kernels.add(kernel)


class IExecutionContext:
    """Order: all input shapes, then the memory's size, the memory, all addresses, and only then run."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._faults = engine, engine._plan["faults"]
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._needed: int | None = None
        self._memory = 0
        model = base64.b64decode(engine._plan["onnx"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _inputs(self) -> set[str]:
        return {n for n, t in self._engine._tensors.items() if t["mode"] == "INPUT"}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine._tensors[name]["profile"]
        fits = all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))
        if fits:
            self._shapes[name] = tuple(shape)
        return fits

    def infer_shapes(self) -> list[str]:
        missing = sorted(self._inputs() - set(self._shapes))
        if not missing:
            feeds = {n: np.zeros(s, np.float32) for n, s in self._shapes.items()}
            for out, value in zip(
                self._session.get_outputs(), self._session.run(None, feeds), strict=True
            ):
                self._shapes[out.name] = value.shape
        return missing

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def update_device_memory_size_for_shapes(self) -> int:
        assert self._inputs() <= set(self._shapes), "shapes come first"
        self._needed = 1000
        return self._needed

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory
        assert size == self._needed, "the size for these shapes comes first"
        self._memory = memory

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._memory, "no memory for activations"
        assert set(self._addresses) == set(self._engine._tensors), "addresses are missing"
        if "enqueue" in self._faults:
            code, text = self._faults["enqueue"]
            self._engine._recorder.report_error(ErrorCodeTRT[code], text)
            return False
        assert Current.depth == 1, "the device is not the current one"
        self.enqueue(stream_handle, self._compute)
        return True

    def _compute(self) -> None:
        arrays = {n: view_of(self._addresses[n], self._shapes[n]) for n in self._addresses}
        feeds = {n: arrays[n] for n in self._inputs()}
        for out, value in zip(
            self._session.get_outputs(), self._session.run(None, feeds), strict=True
        ):
            arrays[out.name][:] = value

    @staticmethod
    def enqueue(stream_handle: int, work: Callable[[], None]) -> None:
        """Do ``work`` at once; a test with streams puts its own way here."""
        assert stream_handle == Stream.handle
        work()


class RtxContext(IExecutionContext):
    """What contexts of TensorRT-RTX have besides: kernels are compiled when they first run."""

    def __init__(self, engine: ICudaEngine, cache: IRuntimeCache | None) -> None:
        super().__init__(engine)
        self._cache = cache or IRuntimeCache(None)

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._cache._need(f"{sorted(self._shapes.items())} of {hash(self._engine._plan['onnx'])}")
        return super().execute_async_v3(stream_handle)

    def is_stream_capturable(self, stream: int) -> bool:
        return not self._faults.get("not_capturable", False)


def view_of(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array of ``shape`` at ``address``."""
    memory = (ctypes.c_float * int(np.prod(shape))).from_address(address)
    return np.ctypeslib.as_array(memory).reshape(shape)


NOT_THERE = {"enqueue"}  # of this stand-in
CLASSES = (
    *(ILogger, IErrorRecorder, Runtime, ICudaEngine, IRuntimeConfig, IExecutionContext),
    *(DataType, TensorIOMode, ExecutionContextAllocationStrategy, ErrorCodeTRT),
)
# Of TensorRT-RTX alone.
RTX_CLASSES = (RtxContext, IRuntimeCache, DynamicShapesKernelSpecializationStrategy)


def make_module(*, rtx: bool = False) -> types.SimpleNamespace:
    """The module ``tensorrt``, or ``tensorrt_rtx`` with what is only there."""
    names = {cls.__name__: cls for cls in CLASSES}
    if rtx:
        names |= {cls.__name__: cls for cls in RTX_CLASSES[1:]}
    return _Module(__version__=VERSION, __name__="tensorrt_rtx" if rtx else "tensorrt", **names)


class _Module(types.SimpleNamespace):
    __hash__ = object.__hash__  # modules are hashable


class Stream:
    device, handle = 0, 4711

    def __init__(self, device: int = 0) -> None:
        self.synchronized = 0

    def synchronize(self) -> None:
        self.synchronized += 1


class DeviceArray:
    """As petrt._cuda.DeviceArray; ``host`` is its memory."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "float32", device: int = 0) -> None:
        self.shape, self.dtype, self.device = tuple(shape), dtype, device
        self.host = np.zeros(shape, np.uint16 if dtype == "bfloat16" else dtype)
        self.ptr = self.host.ctypes.data


class Current:
    """As petrt.engines.tensorrt.current_device.CurrentDevice."""

    depth = 0

    def __init__(self, index: int) -> None:
        self.index = index

    def __enter__(self) -> None:
        Current.depth += 1

    def __exit__(self, *error: object) -> None:
        Current.depth -= 1
