"""Profiles: the sizes of a plan, from the manifest to the shapes of each input."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petrt.errors import InputError, UsageError
from petrt.export.tensorrt.profile import Profile, default_profile
from petrt.model.bundle import load_bundle
from petrt.model.spec import DomainSpec, ModelSpec
from petrt.nets.presets import PRESETS

FIXED: dict[str, Any] = dict.fromkeys(("slices", "samples", "height", "width"), (4, 4, 4))


def graph(bundle: Path, name: str) -> onnx.ModelProto:
    return onnx.load_model_from_string(load_bundle(bundle).files[f"{name}.onnx"])


def test_shapes_follow_the_named_dimensions(tiny_bundle: Path) -> None:
    profile = Profile((1, 2, 3), (1, 4, 5), (8, 16, 24), (12, 16, 32))
    shapes = profile.shapes(graph(tiny_bundle, "denoiser"))
    assert shapes["r"] == ((1, 1, 8, 12), (8, 1, 16, 16), (15, 1, 24, 32))
    assert shapes["x_half"] == ((1, 4, 8, 12), (2, 4, 16, 16), (3, 4, 24, 32))
    assert len(set(shapes["film"])) == 1
    halved = [shape for name, shape in shapes.items() if name.endswith(".g1")]
    assert {tuple(size[2:] for size in shape) for shape in halved} == {
        ((4, 6), (8, 8), (12, 16)),
        ((2, 3), (4, 4), (6, 8)),
    }


def test_a_dose_is_as_long_as_the_slices(dose_bundle: Path) -> None:
    profile = Profile((1, 2, 3), (1, 4, 5), (8, 16, 24), (12, 16, 32))
    assert profile.shapes(graph(dose_bundle, "guidance"))["dose"] == ((1,), (2,), (3,))


ranges = st.tuples(*[st.integers(-1, 6)] * 3)


@given(ranges, ranges)
def test_ranges_rise_from_one(slices: Any, samples: Any) -> None:
    good = all(1 <= low <= usual <= high for low, usual, high in (slices, samples))
    changed = FIXED | {"slices": slices, "samples": samples}
    if not good:
        with pytest.raises(UsageError, match=r"--s(lices|amples) is .*; give one number"):
            Profile(**changed)
        return
    images = Profile(**changed).images
    assert images == tuple(a * b for a, b in zip(slices, samples, strict=True))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"height": (30, 30, 30)}, r"--size: height 30 is not a multiple of [24]"),
        ({"width": (4, 8, 9)}, r"--size: width 9 is not a multiple of [24]"),
        ({"slices": (1, 1, 9000), "width": (4, 4, 80000)}, "TensorRT allows 2.15e[+]09"),
    ],
)
def test_sizes_that_no_plan_can_have(sizes: Any, message: str, tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match=message):
        Profile(**(FIXED | sizes)).shapes(graph(tiny_bundle, "coarse"))


def test_an_unknown_dimension_is_refused(tiny_bundle: Path) -> None:
    model = graph(tiny_bundle, "coarse")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(InputError, match="no profile for the dimension batch"):
        Profile(**FIXED).shapes(model)


@pytest.mark.parametrize("matrix", [None, (128, 128), (96, 200), (31, 33)])
@pytest.mark.parametrize("preset", ["tiny", "paper", "a", "b"])
def test_the_default_profile_is_one_size_of_each(preset, matrix):
    network = PRESETS[preset]
    domain = DomainSpec(voxel_mm=(2.0, 2.0, 2.0), matrix=matrix)
    profile = default_profile(ModelSpec(name="m", network=network, domain=domain))
    assert all(low == usual == high for low, usual, high in asdict(profile).values())
    for size, trained in zip((profile.height, profile.width), matrix or (128, 128), strict=True):
        # A volume of the trained matrix is padded to the next multiple.
        assert size[0] == trained + -trained % 2**network.scales
    assert (profile.slices[0], profile.images[0]) == (16, 16)
