"""Parts of a reconstruction on a GPU, each by CUDA events: the loop, its kernels, the machine's peaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.latency.timing import on_stream, torch_clock
from petrt.bench.timing import Run, interleaved
from petrt.diffusion.dose import settle
from petrt.inference.forward import noise_reach, wire
from petrt.inference.reconstructor import Reconstructor


def nothing() -> None:
    """Stands in for a network: what remains is the loop."""


class BoundLoop:
    """A device loop with the networks of ``reconstructor`` wired to it, for one batch of a volume."""

    def __init__(self, reconstructor: Reconstructor, slices: int, samples: int, size: int) -> None:
        from petrt._cuda import DeviceArray, ReverseLoop

        engine, bundle = reconstructor.engine, reconstructor.bundle
        self.stream = engine.stream
        self.capturable = engine.capturable
        self.total = samples
        model, table = bundle.model, reconstructor.table

        def loop() -> Any:
            return ReverseLoop(
                table.coefs,
                model.clip,
                bundle.noise_bias(table.levels),
                slices,
                samples,
                size,
                size,
                model.sigma_r,
                self.stream,
                model.noise_sigma_z,
            )

        def allocate(shape: tuple[int, ...], dtype: str = "float32") -> Any:
            return DeviceArray(shape, dtype, self.stream.device)

        self.loop, self.empty = loop(), loop()
        image = (slices, 1, size, size)
        images = {"x": allocate(image), "nas": allocate((slices, 5, size, size))}
        images |= {"spectrum": allocate(image), "x_cp": self.loop.coarse}
        images |= {"dose": allocate((slices,))}
        forwards = wire(engine, model.network, images, self.loop, allocate, engine.bind)
        assert forwards.denoise is not None
        self.denoise, self._per_slice = forwards.denoise, forwards.per_slice
        dose = settle(None, model)
        if dose is not None:
            images["dose"].upload(np.full(slices, dose, np.float32), self.stream)
            self.stream.synchronize()
        ids = np.arange(slices, dtype=np.int64) + noise_reach(model)
        self.loop.set_run(0, ids)
        self.empty.set_run(0, ids)

    def prologue(self) -> None:
        for run in self._per_slice:
            run()

    def plain(self) -> None:
        """The batch by plain launches."""
        self.loop.run(self.prologue, self.denoise, self.total)

    def own_kernels(self) -> None:
        """The loop's kernels alone, without networks."""
        self.empty.run(None, nothing, self.total)

    def candidates(self) -> dict[str, Run]:
        """Plain launches and, where the engine can be recorded, the graph; with and without networks."""
        runs: dict[str, Run] = {"plain": self.plain, "plain_empty": self.own_kernels}
        runs["plain"]()
        self.stream.synchronize()
        self.empty.capture(None, nothing, self.total)
        runs["graph_empty"] = lambda: self.empty.replay(self.total)
        if self.capturable:
            self.loop.capture(self.prologue, self.denoise, self.total)
            runs["graph"] = lambda: self.loop.replay(self.total)
        return runs


def loop_seconds(
    reconstructor: Reconstructor, slices: int, samples: int, size: int, repeats: int
) -> dict[str, Any]:
    """Seconds of one batch: whole and with empty networks, plain and as a graph, and the shares."""
    bound = BoundLoop(reconstructor, slices, samples, size)
    times = interleaved(bound.candidates(), repeats, clock=on_stream(bound.stream))
    result: dict[str, Any] = {name: each.record() for name, each in times.items()}
    way = "graph" if "graph" in times else "plain"
    whole, empty = times[way].median, times[f"{way}_empty"].median
    result |= {"batch": [slices, samples], "networks_s": whole - empty, "loop_share": empty / whole}
    if way == "graph":
        result["plain_over_graph"] = round(times["plain"].median / whole, 4)
    return result


def copy_bandwidth(device: str, size: int, repeats: int = 20) -> float:
    """Bytes a second, read and written, of a copy of ``size`` bytes within the device's memory."""
    import torch

    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    runs: dict[str, Run] = {"copy": lambda: target.copy_(source)}
    times = interleaved(runs, repeats, warm_up=3, clock=torch_clock(device))
    return 2 * source.numel() / times["copy"].median


def matmul_peak(device: str, precision: str, size: int, repeats: int = 20) -> float:
    """Operations a second (2 x MACs) of a square matrix product; fp32 without TF32."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        runs: dict[str, Run] = {"matmul": lambda: a @ b}
        times = interleaved(runs, repeats, warm_up=3, clock=torch_clock(device))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    return 2 * size**3 / times["matmul"].median


def kernels(size: int, images: int, repeats: int, bandwidth: float) -> list[dict[str, Any]]:
    """Each kernel alone on arrays beyond the cache: the bytes it cannot avoid, over its time."""
    from petrt._cuda import Stream

    stream = Stream()
    cases = kernel_cases(stream, size, images)
    runs = {name: run for name, (run, _) in cases.items()}
    times = interleaved(runs, repeats, warm_up=3, clock=on_stream(stream))
    rows = []
    for name, (_, moved) in cases.items():
        rate = moved / times[name].median
        rows.append(
            {
                "kernel": name,
                "bytes": moved,
                **times[name].record(),
                "GB_per_s": round(rate / 1e9, 1),
                "of_copy_bandwidth": round(rate / bandwidth, 3),
            }
        )
    return rows


def kernel_cases(stream: Any, size: int, images: int) -> dict[str, tuple[Callable[[], None], int]]:
    """name -> (enqueue it, bytes it reads and writes at least)."""
    from petrt import _cuda

    def array(*shape: int, dtype: str = "float32") -> Any:
        return _cuda.DeviceArray(shape, dtype)

    plane, samples = size * size, 8
    slices = max(1, images // samples)
    images = slices * samples
    one = math.prod((images, plane)) * 4  # bytes of one float32 per voxel
    image = (images, 1, size, size)
    r, eps, x0, noise = (array(*image) for _ in range(4))
    planes, x, nas = array(images, size, size), array(*image), array(images, 5, size, size)
    half = array(images, 1, size, size // 2 + 1, dtype="complex128")
    few = [array(slices, 1, size, size) for _ in range(4)]
    coefs = np.array([1.1, 0.5, 0.3, 0.4, 0.2, 0.1])  # all terms, so that nothing can be skipped
    flat = array(images * plane)
    return {
        "stack_slices": (
            lambda: _cuda.stack_slices(planes, 0, 0, images, x, nas, stream),
            one * (1 + 1 + 5),
        ),
        "log_spectrum": (lambda: _cuda.log_spectrum(half, x, stream), half.nbytes + one),
        "normals": (lambda: _cuda.normals(0, 0, 0, 0, flat, stream), one),
        "reverse_step": (
            lambda: _cuda.reverse_step(r, eps, x0, noise, coefs, 1.0, stream),
            one * 6,  # r and x0 read and written, eps and noise read
        ),
        "average": (
            lambda: _cuda.average(r, *few, samples, samples, 1.0, stream),
            one + slices * plane * 4 * (1 + 2 + 2 + 1),
        ),
    }
