"""Real plans, built by TensorRT for RTX on the CPU; every refusal is one line and leaves nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from petrt.errors import UsageError
from petrt.export.tensorrt.plan import build_plan
from petrt.export.tensorrt.profile import Profile, default_profile
from petrt.model.bundle import GRAPHS, Bundle, load_bundle
from petrt.model.half_precision import Precision
from tests.export.tensorrt import rtx

Call = Callable[..., Any]

pytestmark = rtx.needs_rtx

# Of the tiny bundle: one size, as by default, which is what compiles fastest.
SMALL = {"slices": (2,) * 3, "samples": (1,) * 3, "height": (32,) * 3, "width": (32,) * 3}
MAGIC = b"vtrt"


@pytest.fixture(scope="session")
def coarse(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of one small network."""
    path = tmp_path_factory.mktemp("model") / "coarse.onnx"
    path.write_bytes(tiny.files["coarse.onnx"])
    return str(path)


def check_plans(
    bundle: Bundle, precision: Precision, profile: Any, in_rtx: Call, path: Path
) -> None:
    models, out = {}, path / "plans"
    out.mkdir()
    for graph in GRAPHS:
        file = path / f"{graph}.onnx"
        file.write_bytes(bundle.onnx(graph, precision))
        models[graph] = str(file)
    report = in_rtx("build", models=models, profile=profile, out=str(out))
    assert report.keys() == {"guidance", "coarse", "denoiser"}
    for graph, each in report.items():
        plan, model = (out / f"{graph}.plan").read_bytes(), onnx.load(models[graph])
        assert plan.startswith(MAGIC)
        for value in (*model.graph.input, *model.graph.output):
            assert value.name.encode() in plan
        assert len(plan) > sum(len(tensor.raw_data) for tensor in model.graph.initializer)
        assert each["percent"] == sorted(each["percent"])
        assert each["percent"][-1] == 100
        assert len(set(each["percent"])) > 10
        assert each["timing_cache"] > 0
        assert each["warnings"] == []


@pytest.mark.parametrize(  # fp16: of the demo model
    "precision", [pytest.param("fp32", marks=pytest.mark.slow), "bf16"]
)
def test_plans_of_the_three_networks(tiny, precision, in_rtx, tmp_path):
    check_plans(tiny, precision, SMALL, in_rtx, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_plans_of_networks_that_take_the_dose(dose_bundle, precision, in_rtx, tmp_path):
    check_plans(load_bundle(dose_bundle), precision, SMALL, in_rtx, tmp_path)


@pytest.mark.slow
def test_plans_of_the_demo_model(in_rtx: Call, tmp_path: Path) -> None:
    """With float16 weights in the bundle, in the sizes that are the default."""
    bundle = load_bundle("demo")
    check_plans(bundle, "fp16", asdict(default_profile(bundle.model)), in_rtx, tmp_path)


def reshape(sizes: list[int]) -> bytes:
    """A model whose sizes fit no profile of ours."""
    model = onnx.load_model_from_string(one_node("Reshape"))
    model.graph.name, model.graph.node[0].name = "unguarded", "Reshape_0"
    model.graph.node[0].input.append("sizes")
    model.graph.initializer.append(numpy_helper.from_array(np.array(sizes), "sizes"))
    del model.graph.output[0].type.tensor_type.shape.dim[3]
    return model.SerializeToString()


def one_node(kind: str, **attributes: Any) -> bytes:
    dims = ["slices", 1, "height", "width"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("x", "x_cp")]
    node = helper.make_node(kind, ["x"], ["x_cp"], name="odd", **attributes)
    graph = helper.make_graph([node], "foreign", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.fixture(scope="session")
def trivial(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of a model that builds in no time."""
    path = tmp_path_factory.mktemp("model") / "trivial.onnx"
    path.write_bytes(one_node("Sigmoid"))
    return str(path)


REFUSALS = {
    "truncated": ("InputError", "the network is not an ONNX model"),
    "empty": ("InputError", "the network is an empty ONNX model"),
    "unsupported": ("DeviceError", "cannot read foreign: MaxRoiPool odd: unsupported node"),
    "unknown": ("DeviceError", "cannot read foreign: Fnord odd: invalid node"),
    "incomplete": ("DeviceError", "cannot read coarse: "),
    "odd size": ("DeviceError", "cannot build unguarded: .*Reshape_0: .*no integer solution"),
    "workspace": ("DeviceError", "cannot build coarse: .*workspace limit"),
    "target": ("UsageError", "has no target 9.0"),
}


@pytest.fixture(scope="session")
def refusals(coarse: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process answers to each of REFUSALS in turn, leaving no file."""
    folder, scratch = tmp_path_factory.mktemp("refused"), tmp_path_factory.mktemp("scratch")
    good = Path(coarse).read_bytes()
    incomplete = onnx.load_model_from_string(good)
    del incomplete.graph.node[3]
    models = {
        "truncated": good[: len(good) // 2],
        "empty": b"",
        "unsupported": one_node("MaxRoiPool", pooled_shape=[2, 2]),
        "unknown": one_node("Fnord"),
        "incomplete": incomplete.SerializeToString(),
        "odd size": reshape([0, 7, -1]),
        "workspace": good,
        "target": good,
    }
    cases: dict[str, dict[str, Any]] = {}
    for name, data in models.items():
        (folder / f"{name}.onnx").write_bytes(data)
        cases[name] = {"model": str(folder / f"{name}.onnx")}
    cases["workspace"]["workspace_bytes"] = 1
    cases["target"]["targets"] = [(9, 0)]
    answers: dict[str, Any] = rtx.call(scratch, "refuse", cases=cases, profile=SMALL)
    assert not list(scratch.rglob("*"))
    return answers


@pytest.mark.parametrize("case", list(REFUSALS))
def test_refusals_are_one_line(case: str, refusals: dict[str, Any]) -> None:
    answer, (kind, message) = refusals[case], REFUSALS[case]
    assert answer["kind"] == kind, answer
    assert re.search(message, answer["message"]), answer["message"]
    assert "\n" not in answer["message"]
    assert "/_src/" not in answer["message"]
    assert len(answer["message"]) < 400
    assert answer["hint"] or kind == "InputError"


@pytest.mark.parametrize(
    ("by", "error"),
    [("signal", "KeyboardInterrupt: "), ("callback", "RuntimeError: the terminal is gone")],
)
def test_a_build_can_be_cancelled(by, error, coarse, trivial, in_rtx):
    """By Ctrl-C or by an error of the progress callback; the process can build afterwards."""
    answer = in_rtx("cancel", model=coarse, profile=SMALL, by=by, then=trivial)
    assert answer["caught"] == error
    assert answer["threads"] == []
    assert answer["next"] > 0
    if by == "callback":
        assert answer["steps"] == 1


@pytest.mark.parametrize("targets", [[(8, 6)], [(12, 0), (8, 6), (8, 9), (8, 6)]])
def test_configuration_of_an_rtx_plan(targets: list[Any], trivial: str, in_rtx: Call) -> None:
    found = in_rtx("configure", model=trivial, profile=SMALL, rtx=True, targets=targets)
    assert found["targets"] == [f"SM{major}{minor}" for major, minor in sorted(set(targets))]
    assert found["user_allocation"]  # what a CUDA graph needs
    assert not found["tf32"]  # what parity in float32 needs
    assert found["plan"] > 0


def test_configuration_of_tensorrt(trivial: str, in_rtx: Call) -> None:
    options = {"tf32": True, "timing_cache": "not one", "workspace_bytes": 1 << 30}
    options["hardware_compatibility"] = "ampere-plus"
    found = in_rtx("configure", model=trivial, profile=SMALL, rtx=False, **options)
    assert found["workspace"] == 1 << 30
    assert found["compatibility"] == ["AMPERE_PLUS"]
    assert found["tf32"]
    assert "timing cache" in " ".join(found["warnings"])
    assert found["plan"] > 0


def test_tensorrt_itself_builds_for_no_other_gpu(coarse: str) -> None:
    from tests.engines.tensorrt.fake_tensorrt import make_module

    data, sizes = Path(coarse).read_bytes(), Profile(**SMALL)
    with pytest.raises(UsageError, match="builds for the GPU of this machine only"):
        build_plan(make_module(), data, sizes, targets=[(8, 6)])
