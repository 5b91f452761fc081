"""petrt's own CPU engine: the values of ONNX Runtime, from every graph that the exporter writes."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt.engines.native.engine import NativeEngine
from petrt.engines.native.plan import MemoryPlan, _place, _Room
from petrt.engines.native.steps import FusedConv, Sum, Unsupported, native_steps
from petrt.engines.select import choose
from petrt.export.bundle import export_model
from petrt.model.bundle import Bundle, load_bundle
from petrt.model.half_precision import WIDE_INTERFACE
from petrt.model.network import Network
from petrt.model.steps import Add, AddMap, Concat, Conv, Step
from tests.engines.golden import blob, worst_error
from tests.export.conftest import NETWORKS, model_spec, scrambled
from tests.models import Reconstructor

Arrays = dict[str, np.ndarray]


def swapped(arrays: Arrays, axes: tuple[int, ...]) -> Arrays:
    """Features and maps with their axes moved; images and vectors as they are."""
    inner = {n for n, a in arrays.items() if a.ndim == 4 and n not in WIDE_INTERFACE}
    return {
        n: np.ascontiguousarray(a.transpose(axes)) if n in inner else a for n, a in arrays.items()
    }


def error(bundle: Bundle, engine: NativeEngine, repeat: int = 1) -> float:
    """Against ONNX Runtime."""
    there, back = partial(swapped, axes=(0, 2, 3, 1)), partial(swapped, axes=(0, 3, 1, 2))
    return worst_error(bundle, engine, repeat=repeat, there=there, back=back)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_gives_the_values_of_onnx_runtime(network, tmp_path):
    if network == "four neighbours":
        pytest.skip("the runtime stacks five")
    spec = model_spec(NETWORKS[network])
    export_model(scrambled(spec.network), spec, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert error(bundle, NativeEngine(bundle)) < 1e-5  # measured: up to 3e-6


@pytest.mark.parametrize("kernels", ["generic", None])
def test_the_demo_model_gives_the_values_of_onnx_runtime(kernels):
    bundle = load_bundle("demo")
    engine = NativeEngine(bundle, kernels=kernels)
    assert error(bundle, engine, repeat=2) < 1e-5
    assert engine.version.endswith(kernels or "")


@pytest.mark.filterwarnings("ignore::petrt.errors.DomainWarning")
def test_images_do_not_depend_on_batch_or_threads():
    volume = blob((40, 32, 5))
    bundle = load_bundle("demo")
    engine = NativeEngine(bundle)

    def run(threads: int, batch: tuple[int, int]) -> np.ndarray:
        reconstructor = Reconstructor(
            "demo", samples=4, steps=2, engine=engine, threads=threads, batch=batch
        )
        result = reconstructor(volume)
        return np.stack([result.image, result.std, result.coarse])

    expected = run(1, (1, 4))
    for threads, batch in ((3, (1, 1)), (2, (2, 2)), (1, (5, 4))):
        np.testing.assert_array_equal(run(threads, batch), expected)
    engine = engine.with_threads(3)  # inside a call
    assert engine.threads == 3
    np.testing.assert_array_equal(run(1, (1, 4)), expected)


@pytest.mark.filterwarnings("ignore::petrt.errors.DomainWarning")
def test_images_are_those_of_onnx_runtime_after_the_whole_loop():
    volume = blob((40, 32, 4))
    native, other = (
        Reconstructor("demo", preset="paper", samples=2, engine=name, device="cpu")(volume).image
        for name in ("native", "onnxruntime")
    )
    assert np.abs(native - other).max() < 2e-5 * other.max()  # measured: 3e-6


def test_auto_takes_it_and_says_so_where_it_cannot(tmp_path, caplog):
    assert choose(load_bundle("demo"), device="cpu").engine.name == "native"
    spec = model_spec(NETWORKS["nas"])
    export_model(scrambled(spec.network), spec, tmp_path / "bundle", upsample="transposed")
    bundle = load_bundle(tmp_path / "bundle")
    with pytest.raises(Unsupported, match="does not support ConvTranspose") as refused:
        choose(bundle, "native", "cpu")
    assert refused.value.exit_code == 4
    assert "--engine onnxruntime" in str(refused.value)
    with caplog.at_level(logging.WARNING, "petrt"):
        choice = choose(bundle, device="cpu")
    assert choice.engine.name == "onnxruntime"
    assert "native cannot be used" in caplog.text


IMAGE = ("n", 4, "height", "width")


def network(*steps: Step, **outputs: int) -> Network:
    """Of images x and z with 4 channels; ``outputs``: name -> channels."""
    dims = {name: ("n", channels, "height", "width") for name, channels in outputs.items()}
    shapes = {step.weight: step.out for step in steps if isinstance(step, Conv)}
    weights = {name: np.ones((4, 4, 3, 3), np.float32) for name in shapes}
    return Network("net", {"x": IMAGE, "z": IMAGE}, dims, steps, weights)


def test_an_addition_joins_the_convolution_before_it_only_where_nobody_else_reads_that():
    conv = Conv(out="c", x="x", weight="w")
    (step,) = native_steps(network(conv, Add(out="y", a="c", b="z"), y=4))
    assert isinstance(step, FusedConv)
    assert (step.out, step.addends) == ("y", ("z",))
    first, second = native_steps(network(conv, Add(out="y", a="c", b="c"), y=4))
    assert isinstance(first, FusedConv)
    assert isinstance(second, Sum)
    first, second = native_steps(network(conv, Add(out="y", a="c", b="z"), c=4, y=4))
    assert (first.out, second.out) == ("c", "y")


def test_a_convolution_takes_no_more_than_two_images_along():
    steps = [
        Conv(out="c", x="x", weight="w"),
        Add(out="c1", a="c", b="z"),
        AddMap(out="c2", x="c1", map="x"),
        Add(out="y", a="c2", b="z"),
    ]
    conv, last = native_steps(network(*steps, y=4))
    assert isinstance(conv, FusedConv)
    assert conv.addends == ("z", "x")
    assert isinstance(last, Sum)


def test_doubling_in_front_of_a_1x1_kernel_is_refused():
    conv = Conv(out="y", x="x", weight="w", upsampled=True)
    dims = ("n", 4, "height", "width")
    small = ("n", 4, "height/2", "width/2")
    weights = {"w": np.ones((4, 4, 1, 1), np.float32)}
    with pytest.raises(Unsupported, match="without a 3x3 kernel"):
        native_steps(Network("net", {"x": small}, {"y": dims}, (conv,), weights))


def test_what_is_concatenated_lies_in_place_but_is_copied_where_it_cannot():
    steps = [
        FusedConv("a", Conv(out="a", x="x", weight="w")),
        Concat(out="both", parts=("a", "x", "a")),
        FusedConv("y", Conv(out="y", x="both", weight="v")),
    ]
    x, y = (np.zeros((1, 8, 8, 4), np.float32) for _ in range(2))
    shapes = {"x": (1, 8, 8, 4), "a": (1, 8, 8, 4), "both": (1, 8, 8, 12), "y": (1, 8, 8, 4)}
    plan = MemoryPlan(steps, {"x": x, "y": y}, shapes)
    assert plan.views["both"].shape == (1, 8, 8, 12)
    assert plan.in_place("a", "both")
    assert not plan.in_place("x", "both")
    assert plan.views["a"].ctypes.data == plan.views["both"].ctypes.data


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_tensors_that_live_together_never_overlap(raw):
    rooms = [_Room(floats, min(a, b), max(a, b)) for floats, a, b in raw]
    total = _place(rooms)
    for i, one in enumerate(rooms):
        assert 0 <= one.offset <= total - one.floats
        assert one.offset % 16 == 0
        for other in rooms[:i]:
            if one.first <= other.last and other.first <= one.last:
                apart = one.offset + one.floats <= other.offset
                assert apart or other.offset + other.floats <= one.offset


def test_memory_is_used_again():
    """The block is far smaller than all tensors of the denoiser together."""
    denoiser = load_bundle("demo").network("denoiser")
    steps = native_steps(denoiser)
    sizes = denoiser.sized({"images": 1, "slices": 1, "height": 64, "width": 64})
    every = denoiser.shapes({name: sizes[name] for name in denoiser.inputs})
    shapes = {n: (s[0], s[2], s[3], s[1]) for n, s in every.items() if len(s) == 4}
    bound = {name: np.zeros(shapes[name], np.float32) for name in sizes if name in shapes}
    plan = MemoryPlan(steps, bound, shapes)
    assert plan.memory.size < sum(int(np.prod(shapes[step.out])) for step in steps) / 3
    assert any(isinstance(step, FusedConv) and step.conv.norm for step in steps)
