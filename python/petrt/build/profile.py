"""Sizes that a plan accepts: TensorRT tunes for one of a range and refuses what lies outside."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import onnx

from petrt.errors import InputError, UsageError
from petrt.spec import ModelSpec

# Smallest, usual (what the plan is tuned for) and largest.
Range = tuple[int, int, int]
Shape = tuple[int, ...]

# TensorRT counts the elements of a tensor in an int32.
MOST_ELEMENTS = 2**31 - 1
USUAL_MATRIX = (128, 128)


@dataclass(frozen=True)
class Profile:
    """(smallest, usual, largest) of each dynamic dimension. ``images``, the denoiser's batch, is
    slices x samples. Raises UsageError for ranges that are none."""

    slices: Range
    samples: Range
    height: Range
    width: Range

    def __post_init__(self) -> None:
        for name, (low, usual, high) in asdict(self).items():
            if not 1 <= low <= usual <= high:
                raise UsageError(
                    f"profile: {name} from {low} to {high}, usually {usual}",
                    "give smallest <= usual <= largest, all at least 1",
                )

    @property
    def images(self) -> Range:
        low, usual, high = (a * b for a, b in zip(self.slices, self.samples, strict=True))
        return low, usual, high

    def shapes(self, model: onnx.ModelProto) -> dict[str, tuple[Shape, Shape, Shape]]:
        """(smallest, usual, largest) shape of each input of ``model``, from its named dimensions.

        Raises UsageError for a size the networks cannot halve or a tensor TensorRT cannot index.
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
                f"profile: {base} {size} is not a multiple of {granule}",
                "the networks halve height and width once a level",
            )
        return int(size // granule)


def default_profile(model: ModelSpec) -> Profile:
    """Sizes around the matrix the model was trained on: from half to one and a half of it."""
    granule = 2**model.network.scales

    def around(size: int) -> Range:
        low, usual, high = (granule * math.ceil(size * f / granule) for f in (0.5, 1.0, 1.5))
        return low, usual, high

    # x runs along height.
    height, width = (around(size) for size in model.domain.matrix or USUAL_MATRIX)
    samples = (1, 1, 4) if model.network.denoiser is not None else (1, 1, 1)
    return Profile(slices=(1, 8, 16), samples=samples, height=height, width=width)


def _dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _check_largest(model: onnx.ModelProto, inputs: dict[str, Shape]) -> None:
    """Refuse a profile whose largest tensor has more elements than TensorRT can count."""
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
            f"profile: a tensor of {largest:.3g} elements at the largest size; "
            f"TensorRT allows {MOST_ELEMENTS:.3g}",
            "fewer slices or samples at once, or smaller images",
        )


def _elements(value: onnx.ValueInfoProto) -> int:
    return math.prod(dim if isinstance(dim, int) else 1 for dim in _dimensions(value))
