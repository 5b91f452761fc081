"""Bytes that the networks read and write on a GPU once they are compiled, counted without a GPU.

    pip install triton
    python -m benchmarks.inductor_bytes        # half an hour on two cores

Every network is compiled for an H100 (compute capability 9.0) up to the text of its kernels, on tensors
with a shape and a device but no memory. Nothing is run. PyTorch's own count of the final kernels
(GraphLowering.count_bytes) gives the bytes: a kernel reads each input once and writes each output once.
Libraries' kernels, convolutions and attention, count like all others. So it is what must move if caches
keep what a kernel reads twice, and nothing between kernels. It does not see that a reduction over a few of
many channels, channels-last, fetches whole sectors of memory for them; inner reductions are listed for that.

A volume is guidance once, coarse network once, denoiser once a step, all slices in one batch; nothing of
what happens between the networks. What is answered in the place of a GPU's libraries and shapes the result:
a convolution's result is channels-last where image or weight is, which is cuDNN's rule; the folded networks'
attention is the flash kernel, while the unfolded networks spell out products and softmax.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor, nn
from torch._dynamo.device_interface import CudaInterface
from torch._inductor import config
from torch._inductor.fx_passes import joint_graph, misc_patterns
from torch._inductor.graph import GraphLowering
from torch._inductor.scheduler import ExternKernelSchedulerNode
from torch._prims_common import suggest_memory_format
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import petrt
from benchmarks.common import RESULTS, write_json
from benchmarks.latency.subject import make_subject
from benchmarks.latency.unfolded import plain_norms
from petrt.engines.torch.graph import TorchGraph
from petrt.model.bundle import GRAPHS, Bundle, load_bundle
from petrt.model.group_norm import Norm, group_norm_by_channel

VARIANTS = {
    "unfolded": "unfolded, PyTorch's GroupNorm, channels-last bf16 weights, compiled",
    "A": "folded, PyTorch's GroupNorm, features and maps NCHW",
    "B": "folded, GroupNorm by channel, features and maps NCHW",
    "C": "folded, GroupNorm by channel, features and maps channels-last: the torch engine",
}
SIZES = {"preset": "paper", "size": 128, "slices": 128, "steps": 10}
GPU = SimpleNamespace(
    name="H100",
    major=9,
    minor=0,
    multi_processor_count=132,
    total_memory=80 << 30,
    warp_size=32,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    regs_per_multiprocessor=65536,
    L2_cache_size=50 << 20,
    gcnArchName="",
)
ANSWERS: dict[str, Any] = {
    "is_available": lambda: True,
    "is_bf16_supported": lambda **_: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "_exchange_device": lambda _: 0,
    "_maybe_exchange_device": lambda _: 0,
    "get_device_properties": lambda *_: GPU,
    "get_device_capability": lambda *_: (9, 0),
    "get_rng_state": lambda: torch.zeros(16, dtype=torch.uint8),
    "set_rng_state": lambda _: None,
}
ATEN = torch.ops.aten
# Tensor's own methods turn to the device first. The operators behind them need none.
METHODS: dict[str, Any] = {
    "copy_": lambda self, *source: ATEN.copy_.default(self, *source),
    "contiguous": lambda self, **order: ATEN.contiguous.default(self, **order),
    "__getitem__": lambda self, index: _item(self, index),
}
FLASH = ATEN._scaled_dot_product_flash_attention
SUMMED = ("bytes", "bytes_of_libraries", "generated_kernels", "library_kernels", "inner_reductions")
_getitem = torch.Tensor.__getitem__


class Compiled(BaseException):
    """Ends a compilation with what was counted; no Exception, which the compiler would wrap."""


def _item(tensor: Tensor, index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part == slice(None) for part in parts):
        return _getitem(tensor, index)
    for axis in (axis for axis, part in enumerate(parts) if part is None):
        tensor = tensor.unsqueeze(axis)
    return tensor


def _convolution_format(image: Tensor, weight: Tensor, _: Any) -> torch.memory_format:
    last = torch.channels_last in map(suggest_memory_format, (image, weight))
    return torch.channels_last if last else torch.contiguous_format


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """PyTorch takes itself for one with an H100, as far as compiling goes."""
    put = mock.patch.multiple
    taken = {n: staticmethod(answer) for n, answer in ANSWERS.items() if n in vars(CudaInterface)}
    with (
        tempfile.TemporaryDirectory() as scratch,
        mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=scratch),
        # The widths here need no padding; to find out about others, the compiler would time products.
        config.patch(compile_threads=1, fx_graph_cache=False, shape_padding=False),
        put(torch.cuda, **ANSWERS),
        put(CudaInterface, **taken),  # it took the functions over when it was imported
        put(torch._C, _conv_determine_backend_memory_format=_convolution_format),
        put(torch.utils._triton, triton_hash_with_backend=str),  # would ask the driver
        put(GraphLowering, _compile_to_module=_count_kernels),
        put(F, scaled_dot_product_attention=lambda *qkv, scale: FLASH(*qkv, scale=scale)[0]),
    ):
        # The patterns that the compiler looks for are made once. Those of permutations cannot be made here.
        with (
            put(torch, tensor=lambda value, **kind: torch.full((), value, **kind)),
            put(misc_patterns, _misc_patterns_init=lambda _: None),
        ):
            joint_graph.lazy_init(torch.device("cuda", 0))
        with put(torch.Tensor, **METHODS):
            yield


def _count_kernels(graph: GraphLowering) -> None:
    """In place of compiling the text of the kernels: what they move, how many are launched, reductions."""
    text = graph.codegen()[0].value
    libraries = [n for n in graph.scheduler.nodes if isinstance(n, ExternKernelSchedulerNode)]
    kernel = r"^(triton_\w+) = async_compile\.triton\('\w+', '''(.*?)^'''"
    sources = dict(re.findall(kernel, text, re.S | re.M))
    launched = re.findall(r"^ +(triton_\w+)\.run\(", text, re.M)
    called = re.findall(r"^ +(?:\w+ = )?(?:extern_kernels|torch\.ops\.aten)\.(\w+)", text, re.M)
    pattern = re.compile(r"ReductionHint\.INNER,.*?r0_numel = (\d+)", re.S)
    inner = Counter(int(m[1]) for name in launched if (m := pattern.search(sources[name])))
    raise Compiled(
        {
            "bytes": graph.count_bytes()[0],
            "bytes_of_libraries": sum(node.get_read_write_buffers_sizes() for node in libraries),
            "generated_kernels": len(launched),
            "library_kernels": len(called),
            "libraries": dict(sorted(Counter(called).items())),
            "inner_reductions": sum(inner.values()),
            "inner_reduction_sizes": {str(size): inner[size] for size in sorted(inner)},
        }
    )


def count(module: nn.Module, arguments: Sequence[Any]) -> dict[str, Any]:
    """``module`` compiled for these arguments as one graph, as petrt and the baseline do it."""
    torch._dynamo.reset()
    try:
        torch.compile(module, fullgraph=True, dynamic=False)(*arguments)
    except Compiled as compiled:
        return dict(compiled.args[0])
    raise RuntimeError("nothing was compiled")


def blank(shape: Sequence[int], dtype: torch.dtype, last: bool = True) -> Tensor:
    """A tensor without memory on the GPU; ``last``: an image or a convolution's weight channels-last."""
    order = torch.channels_last if last and len(shape) == 4 else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device="cuda", memory_format=order)


def on_gpu(module: Any) -> Any:
    return module._apply(lambda weight: blank(weight.shape, weight.dtype))


def folded(bundle: Bundle, norm: Norm, turned: bool, batch: int, size: int) -> Iterator[Any]:
    """The graphs of a bundle as the torch engine binds them; ``turned``: features, maps channels-last."""
    lengths = {"slices": batch, "images": batch, "height": size, "width": size}

    def length(dim: Any) -> int:
        base, _, over = str(dim).partition("/")
        return lengths[base] // int(over or 1) if base in lengths else int(base)

    last: Mapping[str, Any] = {}
    for name in GRAPHS:
        with FakeTensorMode():
            graph = TorchGraph(bundle.network(name), "bf16", torch.device("cuda"), norm)
        last = last or (graph.outputs if turned else {})
        shapes = {
            key: tuple(map(length, dims)) for key, dims in {**graph.inputs, **graph.outputs}.items()
        }
        module = graph.module(shapes)
        with FakeTensorMode(), torch.no_grad():
            arguments = [blank(s, graph.dtypes[k], k in last) for k, s in shapes.items()]
            yield name, count(on_gpu(module), arguments)


def unfolded(model: nn.Module, batch: int, size: int) -> Iterator[Any]:
    """The networks of the baseline (unfolded.py), with the arguments that it gives them."""
    networks = plain_norms(copy.deepcopy(model)).to(torch.bfloat16).requires_grad_(False)
    with FakeTensorMode(), torch.no_grad():
        networks = on_gpu(networks)
        near, x = (blank((batch, c, size, size), torch.bfloat16, last=False) for c in (5, 1))
        levels, features = blank((batch,), torch.bfloat16), networks.guidance(near, x)
        yield "guidance", count(networks.guidance, (near, x))
        yield "coarse", count(networks.coarse, (x, features))
        yield "denoiser", count(networks.denoiser, (x, x.clone(), levels, features))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=RESULTS / "inductor_bytes.json")
    options = parser.parse_args()
    versions = {"petrt": petrt.__version__, "torch": str(torch.__version__)}
    variants: dict[str, Any] = {}
    result = {
        "method": "kernels generated by TorchInductor for compute capability 9.0 on tensors without memory; "
        "each kernel reads each input once and writes each output once (GraphLowering.count_bytes)",
        "versions": {**versions, "triton": triton.__version__},
        "precision": "bf16",
        **{key: getattr(options, key) for key in SIZES},
        "variants": variants,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        subject = make_subject(options.preset, options.size, 8, options.steps, folder)
        bundle, sizes = load_bundle(folder), (options.slices, options.size)
    with pretended_gpu():
        for variant in options.variants:
            found: dict[str, Any] = {}
            if variant == "unfolded":
                networks = unfolded(subject.model, *sizes)
            else:
                norm = F.group_norm if variant == "A" else group_norm_by_channel
                networks = folded(bundle, norm, variant == "C", *sizes)
            for name, counted in networks:
                found[name] = counted
                print(f"{variant:8} {name:8} {counted['bytes'] / 1e9:7.2f} GB", flush=True)
            calls = {name: options.steps if name == "denoiser" else 1 for name in found}
            whole = {key: sum(n * found[name][key] for name, n in calls.items()) for key in SUMMED}
            print(f"{variant:8} volume   {whole['bytes'] / 1e9:7.1f} GB", flush=True)
            variants[variant] = {"about": VARIANTS[variant], "networks": found, "volume": whole}
    write_json(options.out, result)


if __name__ == "__main__":
    main()
