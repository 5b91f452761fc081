"""Noise, reverse steps and sample statistics in C++.

All arrays are C-contiguous, aligned and of exactly the given dtype (float32 unless stated): nothing
is converted or copied, what does not fit raises ValueError with what was expected and what came.
Every function releases the GIL, and no result depends on `threads`.
"""

from collections.abc import Callable, Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

__version__: str

def stack_slices(volume: Float32, first: int, out: Float32, threads: int = 1) -> None:
    """Slices first .. first+B-1 of volume [Z, H, W] with their neighbours into out [B, 5, H, W].

    Channels are z-2, z-1, z, z+1, z+2; a missing neighbour is the centre slice.
    """

def log_spectrum(half: NDArray[np.complex128], out: Float32, threads: int = 1) -> None:
    """Log magnitude spectrum of each slice, scaled to [0, 1], from the half that rfft2 gives.

    half: complex128 [B, 1, H, W // 2 + 1], unshifted; out [B, 1, H, W]: 20 ln|F + 1e-8|, then min-max,
    with the zero frequency at [H // 2, W // 2]. A slice of a flat spectrum gives zeros.
    """

def smooth_axis(
    volume: Float32, weights: NDArray[np.float64], out: Float32, threads: int = 1
) -> None:
    """volume [outer, n, inner] filtered along its middle axis into out, another array of its shape.

    weights [radius + 1], float64: the centre's, then of voxels 1, 2 ... radius away, on both sides.
    Beyond its ends a line is continued by its last voxels. Sums are in float64, from the outermost
    voxels inwards, and rounded once: the bits of scipy.ndimage.correlate1d, mode "nearest".
    """

class ReverseLoop:
    """The reverse loop over an injected network, on buffers whose addresses never change.

    Images are slice-major: index = slice * samples + sample. Results are bit-equal however slices
    and samples are split over loops, and whatever the order of the slices.
    """

    def __init__(
        self,
        coefs: NDArray[np.float64],
        clip: float,
        film: Float32,
        slices: int,
        samples: int,
        height: int,
        width: int,
        threads: int = 1,
    ) -> None:
        """coefs [steps, 6] float64 (see reverse_step), film [steps, C]: the noise-bias table."""

    @property
    def r(self) -> Float32:
        """The residuals in units of sigma_r [slices * samples, 1, H, W], the buffer itself."""

    @property
    def eps(self) -> Float32:
        """Where enqueue writes the predicted noise [slices * samples, 1, H, W]."""

    @property
    def film_row(self) -> Float32:
        """The noise bias of the current step [1, C]."""

    @property
    def count(self) -> int:
        """Samples accumulated of each slice."""

    def run(
        self,
        enqueue: Callable[[], object],
        seed: SupportsIndex,
        slice_ids: NDArray[np.int64],
        first_sample: int = 0,
        noise: Float32 | None = None,
    ) -> None:
        """Draw r, then per step: film_row <- film[i-1], enqueue(), reverse step with noise i.

        enqueue reads r and film_row and writes eps, with the GIL held; what it raises ends the run
        and is raised here. slice_ids [slices] in [0, 2^32) name the slices and first_sample the
        loop's sample 0 among all samples of a slice. noise [steps+1, slices, samples, 1, H, W]
        replaces the drawn noise: entry 0 starts, entry i follows step i (unread where s = 0).
        RuntimeError when the loop is in use, by another thread or from within enqueue.
        """

    def accumulate(self, coarse: Float32, sigma_r: float) -> None:
        """max(coarse + sigma_r r, 0) of every sample enters mean and m2, in order; NaN stays.

        coarse [slices, 1, H, W] is shared by the samples of a slice.
        """

    def reset(self) -> None:
        """Forget what was accumulated; buffers keep their addresses."""

    def finish(self, mean: Float32, std: Float32 | None = None) -> None:
        """Mean and sample standard deviation (ddof 1) into arrays [slices, 1, H, W]."""

# What ReverseLoop does inside, one by one, for the tests alone:

def normals(
    seed: SupportsIndex, slice: int, sample: int, step: int, out: Float32, threads: int = 1
) -> None:
    """N(0, 1) noise of one image into out [n]: a pure function of the four numbers and the voxel.

    Philox4x32-10 with key = seed (64 bits), counter = (voxel // 4, step, sample, slice), then
    Box-Muller. slice, sample and step lie in [0, 2^32).
    """

def philox4x32_10(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """The four 32-bit words of the generator (Salmon et al. 2011) for counter [4] and key [2]."""

def reverse_step(
    r: Float32,
    eps: Float32,
    x0_previous: Float32,
    noise: Float32 | None,
    coefs: NDArray[np.float64],
    clip: float,
    threads: int = 1,
) -> None:
    """One reverse step in place on r and x0_previous; all arrays of one shape.

    coefs [6] = (x0_r, x0_eps, a, b, c, s), float64, rounded to float32::

        x0 = clamp(x0_r r - x0_eps eps, -clip, clip)
        r <- a r + b x0 + c x0_previous + s z;  x0_previous <- x0

    Terms with c = 0 or s = 0 are not read (noise may then be None). Where x0 before the clamp is
    NaN or infinite, x0 and r become NaN: a network that overflows stays visible.
    """

def native_kernels() -> str:
    """The kernels that networks run on here: "avx512", "avx2" or "generic"."""

def native_packed(
    inputs: int, outputs: int, kernel: int, winograd: bool, kernels: str | None = None
) -> int:
    """Floats of a convolution's weights in the kernels' own order."""

def native_pack(
    weights: Float32, winograd: bool, packed: Float32, kernels: str | None = None
) -> None:
    """weights [outputs, inputs, kernel, kernel] into ``packed``; kernel is 1 or 3.

    With ``winograd`` each 3x3 kernel becomes 36 numbers (F(4x4, 3x3)), in float64, rounded once.
    """

class NativeProgram:
    """What the kernels do for one network at one size; ``run`` does it, in order.

    Tensors are float32 arrays [images, height, width, channels] of any strides whose channels lie side
    by side; they are kept, read and written in place. ``kernels``: as ``native_kernels``, by default the
    best. One call of ``run`` at a time; every run on the same contents gives the same bits.
    """

    def __init__(self, kernels: str | None = None) -> None: ...
    @property
    def scratch_bytes(self) -> int: ...
    def conv(
        self,
        x: Float32,
        y: Float32,
        weights: Float32,
        *,
        kernel: int,
        stride: int,
        winograd: bool,
        bias: Float32 | None = None,
        norm: tuple[Float32, Float32] | None = None,
        silu: bool = False,
        upsample: bool = False,
        row: Float32 | None = None,
        addends: Sequence[Float32] = (),
    ) -> None:
        """y = convolution of x + bias [channels] + row [1 or images, channels] + addends.

        x is first normed, x * scale + shift with ``norm`` = (scale, shift), each [images, channels],
        then through SiLU with ``silu``, or doubled in height and width with ``upsample``. An addend of
        fewer images than y is for as many images in turn.
        """
    def statistics(
        self,
        x: Float32,
        weight: Float32,
        bias: Float32,
        groups: int,
        epsilon: float,
        scale: Float32,
        shift: Float32,
    ) -> None:
        """GroupNorm of x as scale and shift [images, channels]."""
    def attention(self, qkv: Float32, y: Float32, scale: float) -> None:
        """y = softmax(scale q k^T) v over positions; q, k, v are the thirds of qkv's channels."""
    def dose_row(
        self, dose: Float32, scale: float, weight: Float32, bias: Float32, row: Float32
    ) -> None:
        """row [images, channels] = ln(dose) * scale * weight + bias."""
    def copy(self, x: Float32, y: Float32) -> None: ...
    def sum(self, x: Float32, addend: Float32, y: Float32) -> None: ...
    def run(self, threads: int = 1) -> None:
        """Every step in turn, its outputs divided among ``threads``; no result depends on their number."""
