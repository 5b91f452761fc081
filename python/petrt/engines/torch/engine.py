"""PyTorch as an engine: the bundle's networks as torch modules, without the training code.

Eager float32 on a CPU; bfloat16, channels-last and compiled on a GPU. It is the fastest engine on
GPUs without TensorRT, and runs every precision anywhere, which makes it the reference.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from petrt.engines.base import Buffers, Engine, check_interface, checked
from petrt.errors import DeviceError, OutOfDeviceMemory, first_line
from petrt.hardware.packages import TORCH
from petrt.hardware.processes import check_package
from petrt.model.bundle import Bundle
from petrt.model.half_precision import Precision

try:
    import torch
except ModuleNotFoundError as error:
    raise DeviceError("the torch engine needs PyTorch", TORCH) from error

from torch.nn import functional as F

from petrt.engines.torch.cuda import Cuda
from petrt.engines.torch.graph import TorchGraph
from petrt.model.group_norm import Norm

_NAMES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


class TorchEngine(Engine):
    """One module per graph and shape; buffers are wrapped without a copy and written in place.

    Args:
        precision: by default "fp32" on a CPU and "bf16" on a GPU. In 16 bit a CPU rounds where a GPU
            does and sums in float32, so it shows what the precision costs, at no gain in speed.
        stream: a petrt._cuda.Stream; None for the CPU.
        threads: of one call on a CPU; each thread that calls has its own. Sums may round differently.
        mode: of torch.compile on a GPU, or None for eager. A CPU is always eager.

    Raises:
        InputError: a network that our exporter does not write, or weights beyond the precision.
    """

    name = "torch"
    precision: str

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision | None = None,
        stream: Any = None,
        threads: int = 1,
        mode: str | None = "default",
    ) -> None:
        check_package("PyTorch")
        self.version = str(torch.__version__)
        self.stream = stream
        self.capturable = stream is not None
        chosen: Precision = precision or ("fp32" if stream is None else "bf16")
        self.precision = chosen
        self.threads = threads if stream is None else 1
        self._place: _Place = _Cpu(threads) if stream is None else Cuda(stream, chosen, mode)
        self.device = str(self._place.device)
        self._graphs: dict[str, TorchGraph] = {}
        place = self._place
        for graph in bundle.graphs:
            network = bundle.network(graph)
            self._graphs[graph] = TorchGraph(network, chosen, place.device, place.norm)
        self._modules: dict[Any, Callable[..., Any]] = {}
        self._lock = threading.Lock()
        check_interface(self, bundle)

    def tensors(self, graph: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        return self._graphs[graph].inputs, self._graphs[graph].outputs

    def dtypes(self, graph: str) -> dict[str, str]:
        """On a CPU every buffer is float32, whatever the precision: NumPy has no bfloat16."""
        own = self._graphs[graph].dtypes
        return {
            name: "float32" if self.stream is None else _NAMES[dtype] for name, dtype in own.items()
        }

    @property
    def notes(self) -> dict[str, str]:
        """How the networks run: "eager", "compiled", or "eager: " and why it could not be compiled."""
        return {"networks": self._place.networks}

    def _between(self) -> frozenset[str]:
        """Features and maps: what this engine writes and this engine alone reads."""
        return frozenset(self.tensors("guidance")[1] if "guidance" in self._graphs else ())

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        """On a GPU this compiles, where this graph and shape are new, and runs twice to warm up.

        Buffers of features and maps hold them in the engine's own memory order there.
        """
        arrays = checked(self, graph, inputs, outputs)
        ours = self._between()
        tensors = [
            self._place.between(tensor) if name in ours and tensor.dim() == 4 else tensor
            for name, tensor in zip(arrays, map(self._place.tensor, arrays.values()), strict=True)
        ]
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}

        def guarded(call: Callable[[], Any]) -> Any:
            try:
                return call()
            except torch.OutOfMemoryError as error:
                raise OutOfDeviceMemory(f"torch in {graph}.onnx: {first_line(error)}") from error
            except RuntimeError as error:
                given = {name: shapes[name] for name in inputs}
                raise DeviceError(
                    f"torch failed in {graph}.onnx on buffers {given}: {first_line(error)}"
                ) from error

        def prepare() -> Callable[[], None]:
            with self._lock:
                key = (graph, *shapes.values())
                if key not in self._modules:
                    module = self._graphs[graph].module(shapes)
                    self._modules[key] = self._place.prepare(module, tensors)
                return self._place.bind(self._modules[key], tensors)

        run = guarded(prepare)
        return lambda: guarded(run)


class _Place(Protocol):
    """What differs between a CPU and a GPU."""

    device: torch.device
    norm: Norm
    networks: str

    def tensor(self, array: Any) -> torch.Tensor:
        """The same memory as a tensor."""
        ...

    def between(self, tensor: torch.Tensor) -> torch.Tensor:
        """A buffer between two networks, in the memory order that suits them."""
        ...

    def prepare(self, module: torch.nn.Module, tensors: list[torch.Tensor]) -> Callable[..., Any]:
        """The module in the form that is run, once for each shape."""
        ...

    def bind(self, module: Callable[..., Any], tensors: list[torch.Tensor]) -> Callable[[], None]:
        """One forward on these tensors."""
        ...


class _Cpu:
    device = torch.device("cpu")
    norm: Norm = staticmethod(F.group_norm)
    networks = "eager"

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def tensor(self, array: np.ndarray[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(array)

    def between(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def prepare(self, module: torch.nn.Module, tensors: list[torch.Tensor]) -> Callable[..., Any]:
        return module

    def bind(self, module: Callable[..., Any], tensors: list[torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            use_threads(self._threads)
            with torch.inference_mode():
                module(*tensors)

        return run


_threads = threading.Lock()


def use_threads(count: int) -> None:
    """Make torch compute on ``count`` threads for the calling thread from now on, for others as before.

    torch.set_num_threads also sets what threads to come start with: that is put back.
    """
    with _threads:
        before = torch.get_num_threads()
        if before == count:
            return
        torch.set_num_threads(count)
        other = threading.Thread(target=torch.set_num_threads, args=(before,))
        other.start()
        other.join()
