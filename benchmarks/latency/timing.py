"""Times on a GPU's own clocks; those of a CPU are petrt.bench.timing's."""

from __future__ import annotations

from typing import Any

from petrt.bench.timing import Clock, Run, wall


def on_stream(stream: Any) -> Clock:
    """Seconds between two CUDA events around what a run enqueues on a petrt._cuda.Stream."""
    from petrt._cuda import Timer

    timer = Timer(stream.device)

    def clock(run: Run) -> float:
        timer.start(stream)
        run()
        timer.stop(stream)
        return timer.milliseconds() / 1000

    return clock


def on_torch(run: Run) -> float:
    """Seconds between two CUDA events around what a run enqueues on PyTorch's current stream."""
    import torch

    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1000


def torch_clock(device: str) -> Clock:
    """CUDA events for a GPU; wall time for PyTorch on a CPU, which is done when it returns."""
    return wall if device == "cpu" else on_torch
