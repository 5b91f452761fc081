"""The GPU half of petrt: device memory, streams, the operations and the reverse loop as CUDA kernels.

The module exists if the package was built with nvcc. It imports without a driver; then every call that
needs one raises CudaError. Calls do not wait for the GPU unless documented: operations and copies are
enqueued on the given stream, and their arrays must live until they are done.

A device array is any object with ``__dlpack__`` or ``__cuda_array_interface__`` (CuPy, PyTorch,
DeviceArray), C-contiguous, of exactly the stated dtype and on the stream's device. Others raise ValueError
with the expected and actual value. The given stream first waits for the array's own stream, if the array
states it. A graph capture refuses that wait, so make the streams the same there
(``cupy.cuda.ExternalStream(stream.handle)``). A DeviceArray states no stream; order its uses yourself.
"""

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

DeviceArrayLike = Any

__version__: str
architectures: tuple[str, ...]
"""Compute capabilities with machine code, as ("80", "120"); newer ones use PTX of the last."""

class CudaError(RuntimeError):
    """A call of the CUDA runtime failed: "cudaMalloc of 123 bytes: cudaErrorName: description"."""

class OutOfMemory(CudaError):
    """There is not enough memory on the device (or to pin); smaller requests may still succeed."""

def device_count() -> int:
    """The number of CUDA devices. Raises CudaError without a driver or a device."""

def pci_bus_id(device: int = 0) -> str:
    """The PCI bus id of a device, such as "0000:3B:00.0" (hexadecimal); creates no context."""

def memory(device: int = 0) -> tuple[int, int]:
    """Free and total bytes of a device."""

class Stream:
    """A stream on a device, without implicit synchronisation with other streams."""

    def __init__(self, device: int = 0) -> None: ...
    @property
    def device(self) -> int: ...
    @property
    def handle(self) -> int:
        """The cudaStream_t, for other libraries."""

    def synchronize(self) -> None:
        """Wait on the host until all enqueued work is done. Raises errors of that work."""

    def wait(self, other: Stream | int) -> None:
        """Let work enqueued from now on start after the work now enqueued on `other` (or its handle)."""

class Timer:
    """Measures the time between two points of a stream on the GPU."""

    def __init__(self, device: int = 0) -> None: ...
    def start(self, stream: Stream) -> None: ...
    def stop(self, stream: Stream) -> None: ...
    def milliseconds(self) -> float:
        """Time from the last start to the last stop; waits for the stop. Raises ValueError without both."""

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

        The host array must live, unchanged, until the copy is done. Copies of pinned arrays overlap work.
        """

    def download(self, host: NDArray[Any], stream: Stream) -> None:
        """Copy to a host array (see upload), which may be read after the stream is synchronised."""

    def copy_from(self, source: DeviceArray, stream: Stream) -> None:
        """Copy from an array of the same shape, dtype and device."""

def pinned(shape: Sequence[int], dtype: str = "float32") -> NDArray[Any]:
    """A zeroed NumPy array in page-locked memory (bfloat16: uint16), whose copies overlap other work."""

def stack_slices(
    planes: DeviceArrayLike,
    first_plane: int,
    first: int,
    depth: int,
    x: DeviceArrayLike,
    nas: DeviceArrayLike,
    stream: Stream,
) -> None:
    """Copy slices first .. first+B-1 of a volume of `depth` slices to x [B, 1, H, W] and, with their
    neighbours z-2 .. z+2, to nas [B, 5, H, W]. The centre slice replaces a neighbour outside the volume.

    If B exceeds `depth`, first is 0 and the rest of the batch repeats the last slice. planes [P, H, W]
    are slices first_plane .. first_plane+P-1, and must hold every slice that is read.
    """

def log_spectrum(half: DeviceArrayLike, out: DeviceArrayLike, stream: Stream) -> None:
    """Log magnitude spectrum scaled to [0, 1] per slice (petrt.diffusion.guides.spectrum) from a real FFT.

    half: complex128 [B, 1, H, W//2+1], as rfft2 gives it; out: float32 [B, 1, H, W], zero frequency
    at [H//2, W//2].
    """

def normals(
    seed: SupportsIndex,
    slice: int,
    sample: int,
    step: int,
    out: DeviceArrayLike,
    stream: Stream,
    sigma_z: float = 0.0,
) -> None:
    """Write N(0, 1) noise of one image to out [n], as petrt._core.normals within a few ulp."""

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
    """Add max(coarse + sigma_r r, 0) of the first `used` samples of each slice to mean and m2, in order.

    r [slices * samples, ...] is slice-major; coarse, mean, m2, std are [slices, ...]. count: number of
    samples added before; if it is 0, mean and m2 are not read. std, if given, gets the sample standard
    deviation (ddof 1; 0 for a single sample).
    """

class ReverseLoop:
    """The reverse loop around given networks on a GPU, in buffers whose addresses never change.

    For the same noise and eps the result equals petrt._core.ReverseLoop bit for bit; drawn noise differs
    from the CPU's by ulps of log, sin and cos. Images are slice-major: index = slice * samples + sample.
    Everything is enqueued on `stream`, which the networks must use too.
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
        sigma_z: float = 0.0,
        kept: int = 0,
    ) -> None:
        """coefs [steps, 6] (petrt.diffusion.noise_schedule), film [steps, C]: the noise-bias table; both
        on the host. sigma_z: width of the noise along z, in slices (petrt._core.slice_weights). kept: the
        total of its runs, whose samples stay in ``drawn``; 0 keeps none."""

    @property
    def r(self) -> DeviceArray:
        """The residuals in units of sigma_r [slices * samples, 1, H, W]."""

    @property
    def eps(self) -> DeviceArray:
        """The buffer to which enqueue writes the predicted noise [slices * samples, 1, H, W]."""

    @property
    def film_row(self) -> DeviceArray:
        """The noise bias of the current step [1, C]."""

    @property
    def coarse(self) -> DeviceArray:
        """The buffer to which prologue writes the coarse prediction [slices, 1, H, W]; zero at first."""

    @property
    def mean(self) -> DeviceArray:
        """The mean of the samples [slices, 1, H, W]."""

    @property
    def std(self) -> DeviceArray:
        """Their sample standard deviation (ddof 1) [slices, 1, H, W]; 0 for a single sample."""

    @property
    def drawn(self) -> DeviceArray | None:
        """The samples of the last run [slices, kept, H, W]; None if kept is 0."""

    def set_run(
        self, seed: SupportsIndex, slice_ids: NDArray[np.int64], first_sample: int = 0
    ) -> None:
        """Set the noise keys of runs and replays from now on (petrt._core.ReverseLoop.run).

        Runs that are already enqueued keep their keys.
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

        A chunk draws r and sets film_row <- film[0]. For each step it calls enqueue(), then does the step
        with its noise and the next film row. At its end its samples are added to the mean. Chunk k draws
        samples first_sample + k * samples ..; surplus samples of the last chunk are not added. prologue
        and enqueue enqueue work on `stream` and must not wait for it; prologue None keeps coarse. Their
        exceptions are raised here, and the loop stays usable.

        noise [chunks, steps+1, slices, samples, 1, H, W] replaces the drawn noise; without it set_run must
        be called first. caller: handle of a stream that this work waits for, and that waits for it.
        Raises RuntimeError if another thread or an outer call uses the loop.
        """

    def capture(
        self, prologue: Callable[[], object] | None, enqueue: Callable[[], object], total: int
    ) -> None:
        """Record the work of run(prologue, enqueue, total) as a graph, which replay launches.

        Nothing runs during the recording. The graph holds the addresses of all buffers that the callbacks
        use, so keep them. Call run once before, so that engines have chosen their algorithms. Raises
        CudaError with the reason if the GPU refuses, and exceptions of the callbacks unchanged. The
        stream and the loop stay usable.
        """

    def captured(self, total: int) -> bool:
        """Whether there is a graph for `total` samples."""

    def replay(self, total: int, caller: int | None = None) -> None:
        """Launch the graph for `total`, with the seed and slices of the last set_run. caller: see run."""
