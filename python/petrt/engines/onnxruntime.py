"""ONNX Runtime: on the CPU, and on a GPU through its CUDA provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from petrt.engines.base import Buffers, Division, Engine, check_interface, checked
from petrt.errors import DeviceError, InputError, OutOfDeviceMemory, UsageError, first_line
from petrt.hardware import packages
from petrt.hardware.machine import onnxruntime_command
from petrt.model.bundle import Bundle
from petrt.model.half_precision import Precision

CUDA_PROVIDER = "CUDAExecutionProvider"
# bfloat16 is left out: the CUDA provider has no transposed convolution in it, the CPU's nothing.
PRECISIONS: dict[str, tuple[Precision, ...]] = {"cpu": ("fp32",), "cuda": ("fp32", "fp16")}


def import_onnxruntime() -> Any:
    """The package. Raises DeviceError, with the command, where it is missing or does not load."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise DeviceError("ONNX Runtime is not installed", onnxruntime_command()) from error
    except (ImportError, OSError) as error:
        text = f"ONNX Runtime cannot be loaded: {first_line(error)}"
        raise DeviceError(text, onnxruntime_command()) from error
    return onnxruntime


class OnnxRuntimeEngine(Engine):
    """One session per graph; buffers are bound by address, so nothing is copied around a call.

    Args:
        precision: "fp32", which is the default, or on a GPU "fp16".
        stream: a petrt._cuda.Stream; None for the CPU. ONNX Runtime enqueues there and does not wait,
            but what it does cannot be recorded into a CUDA graph.
        threads: of one call on a CPU; calls at the same time share all but the one they come on.

    Raises:
        InputError: a graph that ONNX Runtime refuses. DeviceError: it is not installed, or a GPU it
        cannot use. UsageError: a precision it lacks.
    """

    name = "onnxruntime"
    capturable = False
    division: Division | None = "shared"
    precision: str

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision | None = None,
        stream: Any = None,
        threads: int = 1,
    ) -> None:
        ort = import_onnxruntime()
        chosen: Precision = precision or "fp32"
        kind = "cpu" if stream is None else "cuda"
        if chosen not in PRECISIONS[kind]:
            raise UsageError(
                f"ONNX Runtime does not run {chosen} on {'the CPU' if kind == 'cpu' else 'a GPU'}",
                f"choose {' or '.join(PRECISIONS[kind])}, or --engine torch",
            )
        self.version, self.precision, self.stream = ort.__version__, chosen, stream
        self.threads = threads if stream is None else 1
        self.device = "cpu" if stream is None else f"cuda:{stream.device}"
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._run_options = ort.RunOptions()
        providers: list[Any] = ["CPUExecutionProvider"]
        if stream is not None:
            _check_cuda(ort)
            providers.insert(0, (CUDA_PROVIDER, cuda_options(stream, chosen)))
            self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._sessions: dict[str, Any] = {}
        for graph in bundle.graphs:
            try:
                model = bundle.onnx(graph, chosen)
                self._sessions[graph] = ort.InferenceSession(model, options, providers=providers)
            except InputError:
                raise
            except Exception as error:  # onnxruntime raises classes of its own, without a base
                raise InputError(
                    f"{bundle.source}: ONNX Runtime {ort.__version__} refuses {graph}.onnx: "
                    f"{first_line(error)}",
                    "export the model again",
                ) from error
            _check_provider(self._sessions[graph], stream)
        check_interface(self, bundle)

    def tensors(self, graph: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        session = self._sessions[graph]
        return (
            {tensor.name: list(tensor.shape) for tensor in session.get_inputs()},
            {tensor.name: list(tensor.shape) for tensor in session.get_outputs()},
        )

    def dtypes(self, graph: str) -> dict[str, str]:
        names = {"tensor(float)": "float32", "tensor(float16)": "float16"}
        session = self._sessions[graph]
        return {t.name: names[t.type] for t in (*session.get_inputs(), *session.get_outputs())}

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        """On a GPU this runs once, which is when convolution algorithms are chosen."""
        session, dtypes = self._sessions[graph], self.dtypes(graph)
        buffers = checked(self, graph, inputs, outputs)
        binding = session.io_binding()
        device, index = ("cpu", 0) if self.stream is None else ("cuda", self.stream.device)
        for name, array in buffers.items():
            bind = binding.bind_input if name in inputs else binding.bind_output
            address = array.ctypes.data if self.stream is None else array.ptr
            bind(name, device, index, np.dtype(dtypes[name]).type, array.shape, address)
        shapes = {name: tuple(buffers[name].shape) for name in inputs}

        def enqueue(_alive: Buffers = buffers) -> None:
            """The binding has the addresses of the buffers alone."""
            try:
                session.run_with_iobinding(binding, self._run_options)
            except Exception as error:
                text = (
                    f"ONNX Runtime failed in {graph}.onnx on buffers {shapes}: {first_line(error)}"
                )
                if self.stream is not None and "allocate memory" in str(error):
                    raise OutOfDeviceMemory(text) from error
                raise DeviceError(text) from error

        if self.stream is not None:
            enqueue()
            self.stream.synchronize()
        return enqueue


def cuda_options(stream: Any, precision: str) -> dict[str, str]:
    """The CUDA provider's options: everything on ``stream``, float32 as exact as it is on a CPU."""
    return {
        "device_id": str(stream.device),
        "user_compute_stream": str(stream.handle),
        "do_copy_in_default_stream": "1",
        "use_tf32": "0",
        "prefer_nhwc": "1" if precision == "fp16" else "0",
        "arena_extend_strategy": "kSameAsRequested",
    }


def _check_cuda(ort: Any) -> None:
    """Refuse an ONNX Runtime without the CUDA provider; load the CUDA libraries pip installed."""
    if CUDA_PROVIDER not in ort.get_available_providers():
        raise DeviceError(
            f"the installed ONNX Runtime {ort.__version__} runs on a CPU only", _command_for_gpu()
        )
    if hasattr(ort, "preload_dlls"):  # from 1.21 on
        ort.preload_dlls()


def _command_for_gpu() -> str:
    return packages.onnxruntime_command(packages.onnxruntime(), gpu=True)


def _check_provider(session: Any, stream: Any) -> None:
    """ONNX Runtime logs that a GPU cannot be used and goes on with the CPU: that is an error here."""
    if stream is not None and CUDA_PROVIDER not in session.get_providers():
        raise DeviceError(
            f"ONNX Runtime cannot use cuda:{stream.device}: its CUDA or cuDNN libraries do not load",
            _command_for_gpu(),
        )
