"""Noise, reverse steps and sample statistics in C++.

All arrays are C-contiguous, aligned and of exactly the given dtype (float32 unless stated). Nothing is
converted or copied; an array that does not fit raises ValueError, which gives the expected and actual
value. Every function releases the GIL, and no result depends on `threads`.
"""

from collections.abc import Callable, Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

__version__: str

def stack_slices(volume: Float32, first: int, out: Float32, threads: int = 1) -> None:
    """Copy slices first .. first+B-1 of volume [Z, H, W] with their neighbours to out [B, 5, H, W].

    Channels are z-2, z-1, z, z+1, z+2; the centre slice replaces a missing neighbour.
    """

def log_spectrum(half: NDArray[np.complex128], out: Float32, threads: int = 1) -> None:
    """Log magnitude spectrum of each slice, scaled to [0, 1], from the half that rfft2 gives.

    half: complex128 [B, 1, H, W // 2 + 1], unshifted. out [B, 1, H, W]: 20 ln|F + 1e-8|, min-max scaled,
    with the zero frequency at [H // 2, W // 2]. A flat spectrum gives zeros.
    """

def smooth_axis(
    volume: Float32, weights: NDArray[np.float64], out: Float32, threads: int = 1
) -> None:
    """Filter volume [outer, n, inner] along its middle axis into out, another array of its shape.

    weights [radius + 1], float64: for the centre, then for voxels 1, 2 ... radius away on both sides.
    A line's end voxels continue it beyond its ends. Sums are in float64, from the outermost voxels
    inwards, and rounded once: the bits equal scipy.ndimage.correlate1d, mode "nearest".
    """

class ReverseLoop:
    """The reverse loop around a given network, on buffers whose addresses never change.

    Images are slice-major: index = slice * samples + sample. The result does not depend on the order
    of slices or on how slices and samples are split over loops.
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
        sigma_z: float = 0.0,
    ) -> None:
        """coefs [steps, 6] float64 (see reverse_step), film [steps, C]: the noise-bias table.

        sigma_z: width of the noise along z, in slices (see slice_weights).
        """

    @property
    def r(self) -> Float32:
        """The buffer of the residuals [slices * samples, 1, H, W], in units of sigma_r."""

    @property
    def eps(self) -> Float32:
        """The buffer to which enqueue writes the predicted noise [slices * samples, 1, H, W]."""

    @property
    def film_row(self) -> Float32:
        """The noise bias of the current step [1, C]."""

    @property
    def count(self) -> int:
        """The number of samples accumulated for each slice."""

    def run(
        self,
        enqueue: Callable[[], object],
        seed: SupportsIndex,
        slice_ids: NDArray[np.int64],
        first_sample: int = 0,
        noise: Float32 | None = None,
    ) -> None:
        """Draw r, then per step: film_row <- film[i-1], enqueue(), reverse step with noise i.

        enqueue reads r and film_row and writes eps, with the GIL held; an exception of it ends the run
        and is raised here. slice_ids [slices] are the noise ids of the slices, which with
        their 2 K neighbours (see slice_weights) lie in [0, 2^32), and
        first_sample is the number of the loop's sample 0 among a slice's samples. noise
        [steps+1, slices, samples, 1, H, W] replaces the drawn noise: entry 0 starts, entry i is added in
        step i (unread if s = 0). Raises RuntimeError if another thread or an outer call uses the loop.
        """

    def accumulate(self, coarse: Float32, sigma_r: float) -> None:
        """Add max(coarse + sigma_r r, 0) of every sample to mean and m2, in order; NaN stays NaN.

        The samples of a slice share coarse [slices, 1, H, W].
        """

    def samples(self, coarse: Float32, sigma_r: float, out: Float32) -> None:
        """Write max(coarse + sigma_r r, 0) of the last run's samples to out [slices * samples, 1, H, W].

        coarse [slices, 1, H, W], as of accumulate, which adds the same values.
        """

    def reset(self) -> None:
        """Discard the accumulated samples; buffers keep their addresses."""

    def finish(self, mean: Float32, std: Float32 | None = None) -> None:
        """Write mean and sample standard deviation (ddof 1) to arrays [slices, 1, H, W]."""

def slice_weights(sigma_z: float) -> list[float]:
    """The weights w_0 .. w_K with which noise streams are combined along z; K = ceil(3 sigma_z).

    The noise of slice z is the sum over k = -K .. K of w_|k| times the stream of id z + k. w_k is
    proportional to exp(-k^2 / (2 sigma_z^2)), and the 2 K + 1 squares sum to 1, so the noise stays N(0, 1).
    sigma_z in [0, 3] slices; 0 gives [1.0].
    """

# The operations inside ReverseLoop, one by one, only for the tests:

def normals(
    seed: SupportsIndex,
    slice: int,
    sample: int,
    step: int,
    out: Float32,
    threads: int = 1,
    sigma_z: float = 0.0,
) -> None:
    """Write N(0, 1) noise of one image to out [n], a pure function of the numbers and the voxel.

    Philox4x32-10 with key = seed (64 bits), counter = (voxel // 4, step, sample, slice), then
    Box-Muller, then the sum over slices of slice_weights. slice, sample and step lie in [0, 2^32).
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

    Terms with c = 0 or s = 0 are not read (noise may then be None). If x0 is NaN or infinite before the
    clamp, x0 and r become NaN, so that an overflow of the network is not hidden.
    """

def native_kernels() -> str:
    """The kernels that this CPU uses: "avx512", "avx2" or "generic"."""

def native_packed(
    inputs: int, outputs: int, kernel: int, winograd: bool, kernels: str | None = None
) -> int:
    """Number of floats of a convolution's weights packed for the kernels."""

def native_pack(
    weights: Float32, winograd: bool, packed: Float32, kernels: str | None = None
) -> None:
    """Pack weights [outputs, inputs, kernel, kernel] into ``packed``; kernel is 1 or 3.

    With ``winograd`` each 3x3 kernel becomes 36 numbers (F(4x4, 3x3)), in float64, rounded once.
    """

class NativeProgram:
    """The kernel calls of one network at one size, which ``run`` executes in order.

    Tensors are float32 arrays [images, height, width, channels] with adjacent channels and otherwise any
    strides. They are kept alive, read and written in place. ``kernels``: a name as in ``native_kernels``,
    by default the best. Only one call of ``run`` at a time. The same input gives the same bits.
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

        x is first normalised, x * scale + shift with ``norm`` = (scale, shift), each [images, channels],
        followed by SiLU with ``silu``, or doubled in height and width with ``upsample``. An addend with
        fewer images than y is added to the same number of consecutive images each.
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
        """Compute scale and shift [images, channels] of a GroupNorm of x."""
    def attention(self, qkv: Float32, y: Float32, scale: float) -> None:
        """y = softmax(scale q k^T) v over positions; q, k, v are the thirds of qkv's channels."""
    def dose_row(
        self, dose: Float32, scale: float, weight: Float32, bias: Float32, row: Float32
    ) -> None:
        """row [images, channels] = ln(dose) * scale * weight + bias."""
    def copy(self, x: Float32, y: Float32) -> None: ...
    def sum(self, x: Float32, addend: Float32, y: Float32) -> None: ...
    def run(self, threads: int = 1) -> None:
        """Run all steps in order, each divided among ``threads``; the result does not depend on them."""
