"""ONNX Runtime on the CPU: the engine that is always there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from petrt.bundle import GRAPHS, Bundle
from petrt.engines.base import Buffers, check_interface, check_names, resolve_shapes
from petrt.errors import DeviceError, InputError


class OnnxRuntimeEngine:
    """One session per graph; buffers are bound by address, so nothing is copied around a call."""

    name = "onnxruntime"
    device = "cpu"
    precision = "fp32"
    capturable = False
    stream = None

    def __init__(self, bundle: Bundle) -> None:
        import onnxruntime as ort

        self.version = ort.__version__
        options = ort.SessionOptions()
        # Slices run side by side instead (petrt.pipeline): as fast as several threads in one call,
        # and no sum depends on how many there are.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._ort = ort
        self._sessions: dict[str, Any] = {}
        for graph in GRAPHS:
            model = bundle.onnx(graph)
            if model is None:
                continue
            try:
                self._sessions[graph] = ort.InferenceSession(
                    model, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # onnxruntime raises classes of its own, without a base
                raise InputError(
                    f"{bundle.source}: ONNX Runtime {ort.__version__} refuses {graph}.onnx: "
                    f"{_first_line(error)}",
                    "export the model again",
                ) from error
        check_interface(self, bundle)

    def tensors(self, graph: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        session = self._sessions[graph]
        return (
            {tensor.name: list(tensor.shape) for tensor in session.get_inputs()},
            {tensor.name: list(tensor.shape) for tensor in session.get_outputs()},
        )

    def output_shapes(
        self, graph: str, inputs: Mapping[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        return resolve_shapes(self.tensors(graph), inputs)

    def dtypes(self, graph: str) -> dict[str, str]:
        return {name: "float32" for part in self.tensors(graph) for name in part}

    def max_batch(self, graph: str) -> int | None:
        return None

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        session = self._sessions[graph]
        wanted = self.tensors(graph)
        check_names(graph, "inputs", set(wanted[0]), set(inputs))
        check_names(graph, "outputs", set(wanted[1]), set(outputs))
        binding = session.io_binding()
        for bind, buffers in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in buffers.items():
                if array.dtype != np.float32 or not array.flags.c_contiguous:
                    raise ValueError(f"{graph}: {name} must be C-contiguous float32")
                bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        keep_alive = (dict(inputs), dict(outputs))

        def enqueue() -> None:
            try:
                session.run_with_iobinding(binding)
            except Exception as error:
                raise DeviceError(
                    f"ONNX Runtime failed in {graph}.onnx on buffers "
                    f"{ {name: a.shape for name, a in keep_alive[0].items()} }: {_first_line(error)}"
                ) from error

        return enqueue


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
