"""The sizes that a plan accepts: a fixed size by default, or a range that TensorRT tunes for one size.

Ranges are expensive. A range of slices doubles the memory of the denoiser's activations and takes 1.5 times
the build time or more. With ranges of slices, samples, height and width together, TensorRT-RTX fails to
build the coarse network (``benchmarks/results/tensorrt_rtx_builds.json``). Other sizes are refused.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import onnx

from petrt.engines.store.record import range_text
from petrt.errors import InputError, UsageError
from petrt.model.spec import ModelSpec

# Smallest, usual (for which the plan is tuned) and largest size.
Range = tuple[int, int, int]
Shape = tuple[int, ...]

# TensorRT counts the elements of a tensor in an int32.
MOST_ELEMENTS = 2**31 - 1
USUAL_MATRIX = (128, 128)
# Slices in one call. By estimate, these are enough that arithmetic and not kernel launches take the time.
# They are few enough that the activations fit a small GPU (1 GB at paper size) and that padding the last
# batch wastes little. --slices 128 suits a large GPU. Samples take further calls, which read the weights
# again; these are small beside the activations.
SLICES = 16
# Dimension -> the option of petrt build-engine that sets it.
OPTIONS = {
    "slices": "--slices",
    "samples": "--samples",
    "height": "--size: height",
    "width": "--size: width",
}


@dataclass(frozen=True)
class Profile:
    """(smallest, usual, largest) of each dynamic dimension. ``images``, the denoiser's batch size, is
    slices x samples. Raises UsageError for an invalid range."""

    slices: Range
    samples: Range
    height: Range
    width: Range

    def __post_init__(self) -> None:
        for name, (low, usual, high) in asdict(self).items():
            if not 1 <= low <= usual <= high:
                raise UsageError(
                    f"{OPTIONS[name]} is {range_text((low, usual, high))}",
                    "give one number, or smallest,usual,largest that rise from 1 on: 16 or 1,8,32",
                )

    @property
    def images(self) -> Range:
        low, usual, high = (a * b for a, b in zip(self.slices, self.samples, strict=True))
        return low, usual, high

    def shapes(self, model: onnx.ModelProto) -> dict[str, tuple[Shape, Shape, Shape]]:
        """(smallest, usual, largest) shape of each input of ``model``, from its named dimensions.

        Raises UsageError for a size that the networks cannot halve and a tensor too large for TensorRT.
        """
        declared = {value.name: _dimensions(value) for value in model.graph.input}
        shapes: dict[str, tuple[Shape, Shape, Shape]] = {}
        for name, dims in declared.items():
            low, usual, high = (tuple(self._size(dim, i) for dim in dims) for i in range(3))
            shapes[name] = (low, usual, high)
        _check_largest(model, {name: shape[2] for name, shape in shapes.items()})
        return shapes

    def _size(self, dim: int | str, which: int) -> int:
        if isinstance(dim, int):
            return dim
        base, _, over = dim.partition("/")
        if base not in ("slices", "images", "height", "width"):
            raise InputError(f"no profile for the dimension {dim}", "export the model again")
        size, granule = getattr(self, base)[which], int(over or 1)
        if size % granule:
            raise UsageError(
                f"{OPTIONS.get(base, base)} {size} is not a multiple of {granule}",
                "the networks halve height and width once per level",
            )
        return int(size // granule)


def fixed(size: int) -> Range:
    """The range that holds only this size."""
    return size, size, size


def default_profile(model: ModelSpec) -> Profile:
    """Fixed sizes: the matrix that the model was trained on, ``SLICES`` slices, one sample."""
    granule = 2**model.network.scales
    # x is the height. A volume of this matrix is padded to the next multiple.
    height, width = (
        granule * math.ceil(size / granule) for size in model.domain.matrix or USUAL_MATRIX
    )
    return Profile(fixed(SLICES), fixed(1), fixed(height), fixed(width))


def _dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _check_largest(model: onnx.ModelProto, inputs: dict[str, Shape]) -> None:
    """Raise UsageError if the largest tensor has more elements than TensorRT can count."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in sized.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, inputs[value.name], strict=True):
            dim.dim_value = size
    del sized.graph.output[:]
    inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    largest = max(map(_elements, [*inferred.input, *inferred.value_info]))
    if largest > MOST_ELEMENTS:
        raise UsageError(
            f"a tensor would have {largest:.3g} elements at the largest sizes, TensorRT allows "
            f"{MOST_ELEMENTS:.3g}",
            "fewer --slices or --samples, or a smaller --size",
        )


def _elements(value: onnx.ValueInfoProto) -> int:
    return math.prod(dim if isinstance(dim, int) else 1 for dim in _dimensions(value))
