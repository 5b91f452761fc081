"""The torch engine on a GPU: stream, memory and compilation, set up so that CUDA graphs can record it.

A CUDA graph repeats kernel launches with the same addresses. So all work runs on petrt's own stream, and
intermediate tensors come from a separate memory pool, which only this engine uses, on this stream, one
forward pass at a time.

Binding, warm-up and recording must run on one thread: cuDNN stores its benchmark results per thread, and a
new search inside a recording is forbidden by CUDA.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from petrt.errors import first_line
from petrt.hardware.machine import code_for
from petrt.model.group_norm import Norm, group_norm_by_channel

logger = logging.getLogger("petrt")


class Cuda:
    """Modules on the GPU of ``stream`` (petrt._cuda.Stream); ``mode`` of torch.compile, None: eager.

    ``networks``: how they run, "compiled", "eager", or "eager: " and the reason. Forward passes of several
    threads run one at a time, because they share the memory pool. Convolution algorithms are chosen by
    time, so two processes may differ by rounding; in one process the same input gives the same bits.
    """

    norm: Norm = staticmethod(group_norm_by_channel)

    def __init__(self, stream: Any, precision: str, mode: str | None) -> None:
        self.device = torch.device("cuda", stream.device)
        self._owner, self._exact = stream, precision == "fp32"
        self._stream = torch.cuda.ExternalStream(stream.handle, device=self.device)
        self._pool = self._new_pool()
        self._mode, self._told = mode, False
        self._turn = threading.RLock()
        self.networks = "eager" if mode is None else "compiled"
        if mode is not None and (reason := eager_reason()):
            self._fall_back(reason)

    def tensor(self, array: Any) -> torch.Tensor:
        """The device array as a tensor at the same address."""
        tensor = torch.as_tensor(array, device=self.device)
        # The array interface has no bfloat16; its bits come as 16-bit integers.
        return tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor

    def between(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view of the memory of [B, C, H, W] in channels-last order, in which convolutions work."""
        return channels_last(tensor)

    def prepare(self, module: torch.nn.Module, tensors: list[torch.Tensor]) -> Callable[..., Any]:
        """Compile, and run once to choose algorithms; outside the memory pool, which stays small."""
        self._settle()
        if self._mode is not None:
            if not self._told:
                logger.info(
                    "torch compiles the networks for this size, which takes a minute or two"
                )
                self._told = True
            try:
                compiled = compile_module(module, self._mode)
                self._warm_up(compiled, tensors)
                return compiled
            except torch.OutOfMemoryError:
                raise
            except (
                Exception
            ) as error:  # Triton, the C compiler and the driver have their own classes
                self._fall_back(_reason(error))
        self._warm_up(module, tensors)
        return module

    def bind(self, module: Callable[..., Any], tensors: list[torch.Tensor]) -> Callable[[], None]:
        pool = self._pool  # must live as long as the graphs recorded with it

        def run() -> None:
            with self._turn, self._scope(pool):
                module(*tensors)

        try:
            run()  # fills the pool, so that recording allocates nothing
        except torch.OutOfMemoryError:
            self._pool = self._new_pool()  # a smaller batch starts with an empty pool
            raise
        self._owner.synchronize()
        return run

    def _warm_up(self, module: Callable[..., Any], tensors: list[torch.Tensor]) -> None:
        try:
            with self._turn, self._scope(None), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice for users of torch.compile
                module(*tensors)
            self._owner.synchronize()
        finally:
            torch.cuda.empty_cache()

    def _settle(self) -> None:
        """Wait for the default stream, which copied the weights; our own stream does not wait for it."""
        torch.cuda.synchronize(self.device)

    @contextmanager
    def _scope(self, pool: Any) -> Iterator[None]:
        """Set torch's global state for one forward pass, and restore it."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(torch.cuda.device(self.device))
            stack.enter_context(torch.cuda.stream(self._stream))
            if pool is not None:
                stack.enter_context(torch.cuda.use_mem_pool(pool, self.device))
            cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
            stack.enter_context(cudnn)
            if self._exact:
                stack.enter_context(matmul_in_float32())
            yield

    def _new_pool(self) -> Any:
        with torch.cuda.device(self.device):
            return torch.cuda.MemPool()

    def _fall_back(self, reason: str) -> None:
        self._mode, self.networks = None, f"eager: {reason}"
        logger.warning("torch cannot compile here and runs eagerly, slower: %s", reason)


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """A channels-last tensor [B, C, H, W] in the memory of a contiguous one of the same shape."""
    batch, channels, height, width = tensor.shape
    return tensor.view(batch, height, width, channels).permute(0, 3, 1, 2)


def compile_module(module: torch.nn.Module, mode: str) -> Callable[..., Any]:
    """The module compiled as one graph, for fixed shapes."""
    compiled: Callable[..., Any] = torch.compile(module, fullgraph=True, dynamic=False, mode=mode)
    return compiled


def unusable(index: int) -> str | None:
    """The reason why this PyTorch cannot run on ``cuda:index``; None if it can."""
    what = f"PyTorch {torch.__version__}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            reason = f": {first_line(said[0].message)}" if said else ""  # type: ignore[arg-type]
            return f"{what} sees no cuda:{index}{reason}"
    built = torch.cuda.get_arch_list()
    numbers = tuple(name[3:] for name in built if name.startswith("sm_"))
    capability = torch.cuda.get_device_capability(index)
    code = code_for(capability, numbers)
    if code is None or (code == "PTX" and not any(name.startswith("compute_") for name in built)):
        return f"{what} is built for {', '.join(built)}, not for compute capability {capability}"
    return None


def eager_reason() -> str | None:
    """What torch.compile lacks for a GPU, with the command that adds it; None if nothing."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install triton)"
    named = os.environ.get("CC")
    if not any(shutil.which(name) for name in ([named] if named else ["cc", "gcc", "clang"])):
        return f"no C compiler {named}" if named else "no C compiler is found (apt install gcc)"
    return None


@contextmanager
def matmul_in_float32() -> Iterator[None]:
    """Turn off TF32 in matrix products, and restore the caller's setting."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _reason(error: BaseException) -> str:
    """The first line of an error, with the second if the first only announces it."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[:2]) if lines and lines[0].endswith(":") else first_line(error)
