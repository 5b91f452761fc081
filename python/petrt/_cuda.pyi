"""The GPU half of petrt: device memory, streams, the operations and the reverse loop as CUDA kernels.

Present where the package was built with nvcc; imports without a driver, and then every call that
needs one raises CudaError. Nothing here waits for the GPU unless it says so: operations and copies
are enqueued on the stream given, and their arrays must live until that stream has passed them.

A device array is anything with ``__dlpack__`` or ``__cuda_array_interface__`` (CuPy, PyTorch,
DeviceArray), C-contiguous, of exactly the dtype stated and on the stream's device; else ValueError
with what was expected and what came. The stream it was last used on, where the array tells, is waited
for on the device, which a capture refuses unless it is the same stream: make it the current one there
(``cupy.cuda.ExternalStream(stream.handle)``). A DeviceArray tells none: order its uses by streams.
"""

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

DeviceArrayLike = Any

__version__: str
architectures: tuple[str, ...]
"""Compute capabilities there is machine code for, as in ("80", "120"); PTX of the last serves later ones."""

class CudaError(RuntimeError):
    """A call of the CUDA runtime failed: "cudaMalloc of 123 bytes: cudaErrorName: description"."""

class OutOfMemory(CudaError):
    """There is not enough memory on the device (or to pin); smaller requests may still succeed."""

def device_count() -> int:
    """Number of CUDA devices; CudaError without a driver or without a device."""

def pci_bus_id(device: int = 0) -> str:
    """Where a device is built in, such as "0000:3B:00.0" (hexadecimal); makes no context."""

def memory(device: int = 0) -> tuple[int, int]:
    """Free and total bytes of a device."""

class Stream:
    """An order of work of its own on a device; it waits for no other unless told to."""

    def __init__(self, device: int = 0) -> None: ...
    @property
    def device(self) -> int: ...
    @property
    def handle(self) -> int:
        """The cudaStream_t, as other libraries take it."""

    def synchronize(self) -> None:
        """Wait on the host until all work enqueued here is done; errors of that work come out here."""

    def wait(self, other: Stream | int) -> None:
        """Work enqueued here from now on starts after what `other` (or its handle) holds by now."""

class Timer:
    """The time between two points of a stream, taken by the GPU."""

    def __init__(self, device: int = 0) -> None: ...
    def start(self, stream: Stream) -> None: ...
    def stop(self, stream: Stream) -> None: ...
    def milliseconds(self) -> float:
        """From the last start to the last stop; waits for the stop. ValueError if either is missing."""

class DeviceArray:
    """A C-contiguous array in device memory at a fixed address, zeroed at the start."""

    def __init__(self, shape: Sequence[int], dtype: str = "float32", device: int = 0) -> None:
        """dtype: float32, float16, bfloat16, float64, complex128 or uint8."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def ptr(self) -> int: ...
    @property
    def device(self) -> int: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3, without a stream; bfloat16 shows as "<u2"."""

    def upload(self, host: NDArray[Any], stream: Stream) -> None:
        """Copy from a C-contiguous host array of the same shape and dtype (bfloat16: uint16).

        The host array must live, unchanged, until the stream has passed; pinned ones overlap.
        """

    def download(self, host: NDArray[Any], stream: Stream) -> None:
        """Copy into a host array (see upload), to be read once the stream was synchronised."""

    def copy_from(self, source: DeviceArray, stream: Stream) -> None:
        """Copy from an array of the same shape, dtype and device."""

def pinned(shape: Sequence[int], dtype: str = "float32") -> NDArray[Any]:
    """A zeroed NumPy array in page-locked memory (bfloat16: uint16): its copies overlap other work."""

def stack_slices(
    planes: DeviceArrayLike,
    first_plane: int,
    first: int,
    depth: int,
    x: DeviceArrayLike,
    nas: DeviceArrayLike,
    stream: Stream,
) -> None:
    """Slices first .. first+B-1 of a volume of `depth` slices into x [B, 1, H, W] and, with their
    neighbours z-2 .. z+2, into nas [B, 5, H, W]; a neighbour outside the volume is the centre slice.

    Where B is more than the volume has, first is 0 and the rest of the batch repeats the last slice.
    planes [P, H, W] are slices first_plane .. first_plane+P-1, and must hold every slice read.
    """

def log_spectrum(half: DeviceArrayLike, out: DeviceArrayLike, stream: Stream) -> None:
    """Log magnitude spectrum scaled to [0, 1] per slice (petrt.diffusion.guides.spectrum) from a real FFT.

    half: complex128 [B, 1, H, W//2+1], as rfft2 gives it; out: float32 [B, 1, H, W], zero frequency
    at [H//2, W//2].
    """

def normals(
    seed: SupportsIndex, slice: int, sample: int, step: int, out: DeviceArrayLike, stream: Stream
) -> None:
    """N(0, 1) noise of one image into out [n], as petrt._core.normals draws it (within a few ulp)."""

def reverse_step(
    r: DeviceArrayLike,
    eps: DeviceArrayLike,
    x0_previous: DeviceArrayLike,
    noise: DeviceArrayLike | None,
    coefs: NDArray[np.float64],
    clip: float,
    stream: Stream,
) -> None:
    """One reverse step in place on r and x0_previous, as petrt._core.reverse_step; arrays of one shape."""

def average(
    r: DeviceArrayLike,
    coarse: DeviceArrayLike,
    mean: DeviceArrayLike,
    m2: DeviceArrayLike,
    std: DeviceArrayLike | None,
    count: int,
    used: int,
    sigma_r: float,
    stream: Stream,
) -> None:
    """max(coarse + sigma_r r, 0) of the first `used` samples of each slice enters mean and m2, in order.

    r [slices * samples, ...], slice-major; coarse, mean, m2, std [slices, ...]. count = samples
    already in; at 0, mean and m2 are not read. std, when given, gets the sample standard deviation
    (ddof 1; 0 for a single sample).
    """

class ReverseLoop:
    """The reverse loop over injected networks on a GPU, in buffers whose addresses never change.

    The same values as petrt._core.ReverseLoop, bit for bit, for the same noise and eps; drawn noise
    differs from the CPU's by ulps of log, sin and cos. Images are slice-major: index = slice *
    samples + sample. Everything is enqueued on `stream`, which the networks must use too.
    """

    def __init__(
        self,
        coefs: NDArray[np.float64],
        clip: float,
        film: NDArray[np.float32],
        slices: int,
        samples: int,
        height: int,
        width: int,
        sigma_r: float,
        stream: Stream,
    ) -> None:
        """coefs [steps, 6] (petrt.diffusion.noise_schedule), film [steps, C]: the noise-bias table; both
        on the host."""

    @property
    def r(self) -> DeviceArray:
        """The residuals in units of sigma_r [slices * samples, 1, H, W]."""

    @property
    def eps(self) -> DeviceArray:
        """Where enqueue writes the predicted noise [slices * samples, 1, H, W]."""

    @property
    def film_row(self) -> DeviceArray:
        """The noise bias of the current step [1, C]."""

    @property
    def coarse(self) -> DeviceArray:
        """Where prologue writes the coarse prediction [slices, 1, H, W]; zero until then."""

    @property
    def mean(self) -> DeviceArray:
        """The mean of the samples [slices, 1, H, W]."""

    @property
    def std(self) -> DeviceArray:
        """Their sample standard deviation (ddof 1) [slices, 1, H, W]; 0 for a single sample."""

    def set_run(
        self, seed: SupportsIndex, slice_ids: NDArray[np.int64], first_sample: int = 0
    ) -> None:
        """What the noise of the runs and replays from now on is drawn by (petrt._core.ReverseLoop.run).

        Enqueued: runs already enqueued keep theirs.
        """

    def run(
        self,
        prologue: Callable[[], object] | None,
        enqueue: Callable[[], object],
        total: int,
        noise: DeviceArrayLike | None = None,
        caller: int | None = None,
    ) -> None:
        """Enqueue everything: prologue(), then `total` samples of each slice in chunks of `samples`.

        A chunk: draw r, film_row <- film[0]; per step enqueue(), then the step, its noise and the next
        film row; last, its samples enter the mean. Chunk k draws samples first_sample + k * samples
        ..; what the last one has too many is drawn and left out of the mean. prologue and enqueue
        enqueue work on `stream` and may not wait for it; prologue None leaves coarse as it is. What
        they raise is raised here and leaves the loop usable.

        noise [chunks, steps+1, slices, samples, 1, H, W] replaces the drawn noise (else set_run must
        come first). caller: handle of a stream that this work waits for, and that waits for it.
        RuntimeError when the loop is in use, by another thread or from within a callback.
        """

    def capture(
        self,
        prologue: Callable[[], object] | None,
        enqueue: Callable[[], object],
        total: int,
    ) -> None:
        """Record what run(prologue, enqueue, total) enqueues into a graph, which replay launches.

        Nothing runs meanwhile. Every buffer that the callbacks hand to the GPU is baked in: keep them.
        Run once before, so that engines have settled. Refused by the GPU: CudaError with the reason;
        what the callbacks raise is raised as it is. Either way the stream and the loop stay usable.
        """

    def captured(self, total: int) -> bool:
        """Whether there is a graph for `total` samples."""

    def replay(self, total: int, caller: int | None = None) -> None:
        """Launch the graph for `total`, with the seed and slices of the last set_run. caller: see run."""
