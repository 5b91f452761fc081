"""What the pipeline asks of a device. A CPU runs batches side by side, a GPU one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.errors import OutOfDeviceMemory
from petrt.imaging.transform import unseen, unseen_std
from petrt.model.spec import TransformSpec


class Results(NamedTuple):
    """What a run gives, each [Z, H, W], over the scale: the mean of the samples (AMS), their standard
    deviation (ddof 1; 0 for one sample) and the coarse prediction x_cp."""

    mean: Array
    std: Array
    coarse: Array


def linear(results: Results, transform: TransformSpec) -> Results:
    """What a run gives of the scaled volume itself, where the networks saw a ``transform`` of it.

    The mean is taken of what the networks see; its std is brought back to first order.
    """
    mean, coarse = unseen(results.mean, transform), unseen(results.coarse, transform)
    return Results(mean, unseen_std(results.std, mean, transform), coarse)


@dataclass
class Tally:
    """What one call tells of itself: ``seconds`` by part, where the device tells them, and the ``record`` of
    how it ran. A call has its own, because several threads may use one device."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One volume to reconstruct.

    ``volume`` [Z, H, W]: scaled, on the network grid. ``samples``: of each slice; 1 without a denoiser.
    ``first_id``: noise id of slice 0. ``noise`` [steps + 1, samples, Z, 1, H, W] replaces the drawn
    noise. ``dose``: the fraction of the full dose, for a model that takes it. ``active`` [Z]: slices
    that are no background; others are 0 in the results. ``wanted`` [Z]: active slices that must be
    reconstructed; a batch that holds none of them is left out. ``tally``: the device adds to it.
    ``drawn`` [samples, Z, H, W]: where the samples themselves go, where somebody wants them.
    """

    volume: Array
    samples: int
    seed: int
    first_id: int
    noise: Array | None
    dose: float | None
    active: NDArray[np.bool_]
    wanted: NDArray[np.bool_]
    tally: Tally = field(default_factory=Tally)
    drawn: Array | None = None

    def ids_of(self, slices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Noise ids of ``slices``."""
        return self.first_id + slices

    def noise_of(self, slices: NDArray[np.int64]) -> Array | None:
        """The given noise of ``slices``: [steps + 1, slices, samples, 1, H, W]; None where it is drawn."""
        return None if self.noise is None else self.noise[:, :, slices].swapaxes(1, 2)


@dataclass(frozen=True)
class Running:
    """A job whose buffers are allocated.

    ``batches``: (first slice, number of slices). ``in_flight``: how many batches may be enqueued before
    the first of them is waited for. ``enqueue``: starts the batch (first, number) and returns a function
    that waits until the batch stands in the results.
    """

    batches: Sequence[tuple[int, int]]
    in_flight: int
    enqueue: Callable[[int, int, Results], Callable[[], Any]]


class Device(Protocol):
    """Where batches run. ``turn``: held during a run, by devices that serve one volume at a time."""

    turn: AbstractContextManager[Any]

    def running(self, job: Job) -> AbstractContextManager[Running]:
        """Allocate the buffers of a job. When the context is left, no batch is in flight any more, and the
        job's tally holds how it ran.

        Raises OutOfDeviceMemory where memory does not suffice, DeviceError where the device fails.
        """
        ...

    def shrink(self, job: Job, error: OutOfDeviceMemory) -> None:
        """Make batches smaller after ``error``. Raises DeviceError where they are as small as can be."""
        ...

    @property
    def side_by_side(self) -> int:
        """Slices that are computed at once where there are enough of them."""
        ...

    def memory_for(self, network_shape: tuple[int, int, int], samples: int) -> int | None:
        """Bytes of the process, by estimate, while it runs a volume; None where the device cannot tell."""
        ...

    def times(self, seconds: Mapping[str, float], total: float) -> dict[str, float]:
        """A tally's ``seconds`` by part, as far as the device tells, and the ``total``."""
        ...
