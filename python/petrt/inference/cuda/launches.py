"""One CUDA graph for a batch, or plain launches: the first batches show which is faster."""

from __future__ import annotations

from collections.abc import Callable
from threading import current_thread
from typing import TYPE_CHECKING

from petrt.errors import DeviceError, OutOfDeviceMemory

if TYPE_CHECKING:
    from petrt._cuda import ReverseLoop, Stream

Run = Callable[[], None]


class Launches:
    """Runs a bound batch again and again. Graph and plain launches give the same bits.

    Run 1 is plain: the engine prepares what it still has to. Run 2 is plain and timed. Run 3 records the
    graph. Run 4 is a timed replay. All later runs take the faster way. Each of these runs is one that the
    caller wanted. ``mode`` says what the next run does, ``reason`` says why.

    A thread records only what it has run itself. cuDNN chooses algorithms for each thread on its first
    run, and CUDA forbids that during a recording. So the count starts again when another thread comes
    before the graph is recorded. Any thread may replay the graph.
    """

    def __init__(
        self,
        loop: ReverseLoop,
        prologue: Run,
        enqueue: Run,
        total: int,
        stream: Stream,
        capturable: bool,
    ) -> None:
        from petrt._cuda import Timer

        self._loop, self._prologue, self._enqueue = loop, prologue, enqueue
        self._total, self._stream = total, stream
        self._plain, self._graph = Timer(stream.device), Timer(stream.device)
        self._runs, self._thread = 0, current_thread()
        self.mode = "plain"
        self.reason = "first runs" if capturable else "the engine cannot be recorded"
        self._candidate = capturable

    def __call__(self) -> None:
        """Enqueue one run on the stream."""
        if self._candidate and self._runs < 3 and self._thread is not current_thread():
            self._thread, self._runs = current_thread(), 0
        self._runs += 1
        if self._candidate and self._runs == 3:
            self._record()
        elif self._candidate and self._runs == 5:
            self._decide()
        timer = self._graph if self.mode == "graph" else self._plain
        timed = self._candidate and self._runs in (2, 4)
        if timed:
            timer.start(self._stream)
        if self.mode == "graph":
            self._loop.replay(self._total)
        else:
            self._loop.run(self._prologue, self._enqueue, self._total)
        if timed:
            timer.stop(self._stream)

    def _record(self) -> None:
        from petrt._cuda import CudaError, OutOfMemory

        try:
            self._loop.capture(self._prologue, self._enqueue, self._total)
        except (OutOfMemory, OutOfDeviceMemory):
            raise
        except (CudaError, DeviceError) as error:  # of CUDA itself, or of the engine
            self._candidate, self.reason = False, f"not recorded: {error}"
            return
        self.mode, self.reason = "graph", "being measured"

    def _decide(self) -> None:
        self._candidate = False
        plain, graph = self._plain.milliseconds(), self._graph.milliseconds()
        self.mode = "graph" if graph <= plain else "plain"
        self.reason = f"graph {graph:.1f} ms, plain {plain:.1f} ms a batch"
