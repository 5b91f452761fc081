"""What becomes of the user's lists on a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from petrt.bench import plan
from petrt.bench.plan import Settings, make_plan
from petrt.engines.candidates import Missing, Ready
from petrt.errors import DeviceError, UsageError
from petrt.model.bundle import load_bundle

SETTINGS = Settings(size=(32, 32), device="cpu")


@pytest.fixture
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture
def machine(monkeypatch):
    """Two engines are here, in float32; one of them also in bf16; the third is not installed."""

    def here(bundle, gpu, names, precision):
        for name in names:
            if name == "torch":
                yield Missing(name, "PyTorch is not installed", "pip install 'petrt[torch]'")
            elif precision in (None, "fp32") or name == "openvino":
                yield Ready(name, "1", precision or "fp32", "", lambda: None)
            else:
                yield Missing(name, f"{name} does not run {precision}", "--precision fp32")

    monkeypatch.setattr(plan, "ON_CPU", ("onnxruntime", "openvino", "torch"))
    monkeypatch.setattr(plan, "candidates", here)


def test_candidates_are_every_combination(machine, bundle):
    settings = replace(
        SETTINGS, engines=("onnxruntime",), batches=(None, (1, 4)), samples=(1, 8), steps=(2, None)
    )
    found = make_plan(bundle, settings).candidates
    steps = bundle.model.sampler.steps
    assert len(found) == 8
    assert {(c.batch, c.samples, c.steps) for c in found} == {
        (b, s, n) for b in (None, (1, 4)) for s in (1, 8) for n in (2, steps)
    }
    assert len({c.name for c in found}) == 8
    assert found[0].options["skip_background"] is False


def test_absent_engines_are_listed_with_the_way_to_get_them(machine, bundle):
    found = make_plan(bundle, SETTINGS)
    assert [c.engine for c in found.candidates] == ["onnxruntime", "openvino"]
    assert found.absent == [
        Missing("torch", "PyTorch is not installed", "pip install 'petrt[torch]'")
    ]


def test_a_precision_runs_where_it_can_and_twice_the_same_is_once(machine, bundle):
    found = make_plan(bundle, replace(SETTINGS, precisions=(None, "fp32", "bf16")))
    assert [(c.engine, c.precision) for c in found.candidates] == [
        ("onnxruntime", "fp32"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
    ]
    reasons = [missing.reason for missing in found.absent]
    assert reasons == ["PyTorch is not installed", "onnxruntime does not run bf16"]


def test_a_gpu_engine_on_a_cpu_is_absent(machine, bundle):
    found = make_plan(bundle, replace(SETTINGS, engines=("tensorrt", "openvino")))
    assert [c.engine for c in found.candidates] == ["openvino"]
    assert [m.name for m in found.absent] == ["tensorrt"]
    assert "does not run on a CPU" in found.absent[0].reason


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"engines": ("nonsense",)}, "engine has no 'nonsense'"),
        ({"precisions": ("fp8",)}, "precision has no"),
        ({"sections": ("nothing",)}, "sections has no"),
        ({"device": "tpu"}, "device is "),
        ({"size": (33, 32)}, "size 33x32 does not fit"),
    ],
)
def test_what_cannot_be_meant_is_refused(bundle, change, text):
    with pytest.raises(UsageError, match=text):
        make_plan(bundle, replace(SETTINGS, **change))


def test_a_gpu_that_is_not_there_is_refused_and_auto_goes_on(bundle, monkeypatch):
    missing = Missing("cuda:0", "no NVIDIA driver", "see petrt doctor")
    monkeypatch.setattr(plan, "find_gpu", lambda index: missing)
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        make_plan(bundle, replace(SETTINGS, device="cuda"))
    assert make_plan(bundle, replace(SETTINGS, device="auto")).device == "cpu"
