"""Plans of TensorRT, or of TensorRT for RTX: one API under two module names."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petrt.engines.base import (
    ANY_BATCH,
    BatchRange,
    Buffers,
    Engine,
    check_interface,
    checked,
    interface,
)
from petrt.engines.store.folder import build_command
from petrt.engines.store.record import LABELS, EngineKind
from petrt.engines.tensorrt.current_device import CurrentDevice
from petrt.engines.tensorrt.log import Errors, log_of
from petrt.engines.tensorrt.runtime_cache import KernelMemory, RuntimeCache, Store
from petrt.engines.tensorrt.shapes import Shape, Sizes, Tensors, same_shape, shape_text
from petrt.errors import DeviceError, OutOfDeviceMemory
from petrt.hardware.gpus import cuda_version
from petrt.hardware.packages import NEWEST_CUDA, tensorrt_command
from petrt.model.bundle import Bundle

if TYPE_CHECKING:
    from petrt._cuda import Stream

MODULES: dict[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}


def import_tensorrt(kind: EngineKind) -> Any:
    """The module of ``kind``. Raises DeviceError where it is absent or cannot be loaded."""
    if not is_installed(kind):
        raise DeviceError(f"{LABELS[kind]} is not installed", install_command(kind))
    try:
        return importlib.import_module(MODULES[kind])
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"{LABELS[kind]} cannot be loaded: {' '.join(str(error).split())}",
            f"pip install --force-reinstall {kind}-cu{_cuda_major()}",
        ) from error


def install_command(kind: EngineKind) -> str:
    """The command that installs TensorRT for the CUDA version that the driver here supports."""
    return tensorrt_command(kind, _cuda_major())


def _cuda_major() -> int:
    return min((cuda_version() or (NEWEST_CUDA, 0))[0], NEWEST_CUDA)


def is_installed(kind: EngineKind) -> bool:
    return importlib.util.find_spec(MODULES[kind]) is not None


@dataclass(frozen=True)
class _Network:
    """A deserialised plan. ``sizes``: what it takes."""

    plan: Any
    tensors: Tensors
    dtypes: dict[str, str]
    sizes: Sizes


class TensorRTEngine(Engine):
    """Runs the plans of one bundle on ``stream``.

    Each ``bind`` gets an execution context of its own, whose activation memory is a buffer of ours:
    every address stays what it is, so that a CUDA graph may record the enqueue. ``capturable`` turns
    False where a context says that it cannot be recorded.

    Args:
        plans: graph -> plan, checked (``petrt.engines.store.folder.load_graphs``): TensorRT runs what
            is in it.
        trt: the module, where it is not to be imported.
        kernels: where what TensorRT-RTX compiles is kept; by default as long as the engine lives.

    Raises:
        DeviceError: a plan that TensorRT refuses, or that is not of this bundle.
    """

    threads = 1

    def __init__(
        self,
        bundle: Bundle,
        plans: Mapping[str, bytes],
        *,
        kind: EngineKind,
        precision: str,
        stream: Stream,
        trt: Any = None,
        kernels: Store | None = None,
    ) -> None:
        self._trt = import_tensorrt(kind) if trt is None else trt
        self.name: str = kind
        self.version = str(self._trt.__version__)
        self.precision, self.stream = precision, stream
        self.device = f"cuda:{stream.device}"
        self.capturable = True
        self._command = build_command(bundle.source)
        self._kernels = RuntimeCache(kernels or KernelMemory())
        self._current = CurrentDevice(stream.device)
        self._log, self._errors = log_of(self._trt), Errors(self._trt)
        with self._current:
            self._runtime = self._start()
            self._networks = {
                graph: self._deserialise(graph, plan, interface(bundle, graph))
                for graph, plan in plans.items()
            }
        check_interface(self, bundle)

    def tensors(self, graph: str) -> Tensors:
        return self._networks[graph].tensors

    def dtypes(self, graph: str) -> dict[str, str]:
        return self._networks[graph].dtypes

    def batch_range(self, graph: str) -> BatchRange:
        network = self._networks.get(graph)
        return ANY_BATCH if network is None else network.sizes.batch

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        network = self._networks[graph]
        buffers = checked(self, graph, inputs, outputs)
        shapes = {name: tuple(array.shape) for name, array in inputs.items()}
        network.sizes.check(graph, network.tensors, shapes, self._command)
        self._errors.take()
        with self._current:
            context = self._context(graph, shapes)
            for name, array in buffers.items():
                self._accepted(context.set_tensor_address(name, array.ptr), graph, shapes)
            for name, array in outputs.items():
                made = tuple(context.get_tensor_shape(name))
                if made != tuple(array.shape):
                    raise ValueError(f"{graph}: {name} is {made}, its buffer {tuple(array.shape)}")
            memory = self._activations(context, graph, shapes)
            if not getattr(context, "is_stream_capturable", lambda _: True)(self.stream.handle):
                self.capturable = False

        def enqueue(kept: object = (buffers, memory)) -> None:
            with self._current:
                done = context.execute_async_v3(self.stream.handle)
            self._accepted(done, graph, shapes)

        enqueue()  # kernels that are compiled or chosen at first use are so now, not in a recording
        self.stream.synchronize()
        with self._current:
            self._kernels.keep()
        return enqueue

    def _start(self) -> Any:
        try:
            runtime = self._trt.Runtime(self._log)
        except (TypeError, RuntimeError) as error:  # the binding's way to say that it got null
            raise DeviceError(
                f"{LABELS[self.name]} does not start: {self._reason()}", "see petrt doctor"
            ) from error
        runtime.error_recorder = self._errors.recorder
        return runtime

    def _deserialise(self, graph: str, data: bytes, tensors: Tensors) -> _Network:
        plan = self._runtime.deserialize_cuda_engine(data)
        if plan is None:
            raise DeviceError(
                f"{LABELS[self.name]} {self.version} refuses the plan of {graph}: {self._reason()}",
                self._command,
            )
        names = [plan.get_tensor_name(i) for i in range(plan.num_io_tensors)]
        of = {mode: {n for n in names if plan.get_tensor_mode(n).name == mode} for mode in _MODES}
        for (mode, found), declared in zip(of.items(), tensors, strict=True):
            fits = found == set(declared) and all(
                same_shape(plan.get_tensor_shape(name), dims) for name, dims in declared.items()
            )
            if not fits:
                raise DeviceError(
                    f"the plan of {graph} is not of this model: its {mode.lower()}s are "
                    f"{', '.join(sorted(found))}",
                    self._command,
                )
        dtypes = {name: DTYPES[plan.get_tensor_dtype(name).name] for name in names}
        profile = {name: plan.get_tensor_profile_shape(name, 0) for name in tensors[0]}
        low, high = ({name: tuple(each[i]) for name, each in profile.items()} for i in (0, 2))
        return _Network(plan, tensors, dtypes, Sizes.of(tensors, low, high))

    def _context(self, graph: str, shapes: Mapping[str, Shape]) -> Any:
        """An execution context with these input shapes, that allocates nothing itself."""
        trt, plan = self._trt, self._networks[graph].plan
        managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            # TensorRT-RTX compiles a kernel for each shape. In the background (its default) the
            # bits would change from one run to the next, and in a recording they must not.
            config = plan.create_runtime_config()
            config.dynamic_shapes_kernel_specialization_strategy = (
                trt.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            config.set_execution_context_allocation_strategy(managed)
            self._kernels.attach(config)
            self._errors.take()  # kernels that it refuses are compiled again
            context = plan.create_execution_context(config)
        else:
            context = plan.create_execution_context(managed)
        self._accepted(context is not None, graph, shapes)
        for name, shape in shapes.items():
            self._accepted(context.set_input_shape(name, shape), graph, shapes)
        self._accepted(not context.infer_shapes(), graph, shapes)
        return context

    def _activations(self, context: Any, graph: str, shapes: Mapping[str, Shape]) -> Any:
        """The memory between the layers, as much as these shapes need."""
        from petrt._cuda import DeviceArray

        size = int(context.update_device_memory_size_for_shapes())
        self._accepted(not self._errors, graph, shapes)
        memory = DeviceArray((max(size, 1),), "uint8", self.stream.device)
        context.set_device_memory(memory.ptr, size)
        return memory

    def _accepted(self, done: bool, graph: str, shapes: Mapping[str, Shape]) -> None:
        """Raise DeviceError with TensorRT's reason where a call of it said no."""
        if done:
            return
        kind = OutOfDeviceMemory if self._errors.out_of_memory else DeviceError
        texts = ", ".join(f"{name} {shape_text(shape)}" for name, shape in shapes.items())
        raise kind(
            f"{LABELS[self.name]} {self.version} failed in {graph} on {texts}: {self._reason()}"
        )

    def _reason(self) -> str:
        return self._errors.take() or self._log.take() or "it gives no reason"


_MODES = ("INPUT", "OUTPUT")
