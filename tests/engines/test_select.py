"""Which engine runs, on which device, and the reason in words; for machines that are told to it."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import types
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from petrt.cli.options import EngineName
from petrt.engines import candidates
from petrt.engines.candidates import Missing, Ready, on_gpu
from petrt.engines.select import ENGINES, choose, select_engine
from petrt.engines.torch import cuda as torch_cuda
from petrt.errors import DeviceError, InputError, UsageError
from petrt.hardware import gpus, machine
from petrt.hardware.gpus import Gpu
from petrt.hardware.packages import Package
from petrt.model.bundle import Bundle
from tests.engines.conftest import H100
from tests.models import Reconstructor

T4 = Gpu(0, "Tesla T4", (7, 5), 16 << 30)
TORCH = Package("torch", "torch", "2.13.0", cuda="13.0")
RUNTIME = Package("onnxruntime", "onnxruntime", "1.32.0", cuda="")

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture
def engines(computer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An H100 and what each engine answers there: None for absent, else (version, precision) or an
    error that opening raises."""
    computer(H100, onnxruntime=RUNTIME)
    answers: dict[str, Any] = {}

    def asked(
        bundle: Bundle, gpu: Gpu, name: str, precision: str | None, verify: Any = None
    ) -> Ready | Missing:
        answer = answers.get(name)
        if answer is None:
            return Missing(name, f"{name} is absent", f"pip install {name}")

        def make() -> Any:
            if isinstance(answer, Exception):
                raise answer
            return types.SimpleNamespace(name=name, device=f"cuda:{gpu.index}")

        version, kind = ("1", "bf16") if isinstance(answer, Exception) else answer
        return Ready(name, version, precision or kind, "", make)

    monkeypatch.setattr(candidates, "on_gpu", asked)
    return answers


def test_without_a_driver_the_cpu_runs_it_and_says_why(computer, tiny: Bundle, caplog):
    computer(onnxruntime=RUNTIME)
    with caplog.at_level(logging.INFO, "petrt"):
        engine = select_engine(tiny)
    assert (engine.name, engine.device, engine.precision) == ("native", "cpu", "fp32")
    assert caplog.messages == [f"engine: native {engine.version}, fp32 on the CPU (no GPU found)"]


def test_without_nvidia_ml_py_a_machine_with_a_card_is_told_the_extra(computer, tiny, monkeypatch):
    computer()
    monkeypatch.setattr(gpus, "why_none", lambda: f"{gpus.NO_NVML}: pip install 'petrt[cuda]'")
    assert choose(tiny).reason.endswith("on the CPU (no GPU found)")
    monkeypatch.setattr(machine, "_card", lambda: True)
    with pytest.raises(DeviceError, match=r"nvidia-ml-py, .* pip install 'petrt\[cuda\]'"):
        choose(tiny, device="cuda")


def test_without_onnxruntime_the_cpu_has_its_own_engine(computer, tiny: Bundle):
    computer()
    assert choose(tiny, device="cpu").engine.name == "native"
    with pytest.raises(DeviceError, match=r"^ONNX Runtime is not .* 'petrt\[onnxruntime\]'$"):
        choose(tiny, "onnxruntime", device="cpu")


@pytest.mark.parametrize("engine", ["auto", "torch", "onnxruntime"])
def test_cuda_fails_without_a_driver(computer, tiny: Bundle, engine):
    computer(onnxruntime=RUNTIME, torch=TORCH)
    with pytest.raises(
        DeviceError, match=r"cannot use cuda: no GPU found; see petrt doctor; device='cpu' does"
    ):
        choose(tiny, engine, device="cuda")


def test_a_gpu_that_is_not_there_is_told_apart_from_no_gpu(computer, tiny: Bundle):
    computer(H100)
    with pytest.raises(DeviceError, match="no cuda:7; this machine has cuda:0; use --device"):
        choose(tiny, device="cuda:7")


def test_a_petrt_without_its_cuda_part_says_how_to_get_it(computer, tiny: Bundle):
    computer(H100, architectures=None, onnxruntime=RUNTIME)
    with pytest.raises(DeviceError, match=r"CUDA module is missing: .*; .*pip install"):
        choose(tiny, device="cuda")
    assert "CUDA module is missing" in choose(tiny).reason


def test_a_gpu_that_petrt_was_not_built_for(computer, tiny: Bundle):
    computer(T4, onnxruntime=RUNTIME)
    with pytest.raises(DeviceError, match=r"capability 7\.5, petrt is built for 80"):
        choose(tiny, device="cuda")


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_tensorrt_needs_a_gpu(computer, tiny: Bundle, engine):
    computer(onnxruntime=RUNTIME)
    with pytest.raises(UsageError, match="runs on a GPU only"):
        choose(tiny, engine, device="cpu")
    with pytest.raises(DeviceError, match="needs a GPU: no GPU found"):
        choose(tiny, engine)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "abacus"}, "choose from auto, native, onnxruntime, openvino, torch, tensorrt"),
        ({"device": "tpu"}, "choose auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:"}, "device is "),
        ({"device": "cuda:-1"}, "device is "),
        ({"precision": "int8"}, "choose from fp32, fp16, bf16"),
    ],
)
def test_unknown_options(tiny: Bundle, options, says):
    with pytest.raises(UsageError, match=says):
        choose(tiny, **options)


def test_order_on_a_gpu_and_the_preferred_one_that_is_absent(engines, tiny: Bundle):
    engines["onnxruntime"] = ("1.32", "fp32")
    choice = choose(tiny)
    assert (choice.engine.name, choice.engine.device) == ("onnxruntime", "cuda:0")
    assert choice.reason == (
        "onnxruntime 1.32, fp32 on NVIDIA H100: tensorrt is absent (pip install tensorrt)"
    )
    engines["torch"] = ("2.13", "bf16")
    assert choose(tiny).reason.startswith("torch 2.13, bf16 on NVIDIA H100: tensorrt is absent")
    engines["tensorrt-rtx"] = ("1.7", "bf16")
    assert choose(tiny).reason == "tensorrt-rtx 1.7, bf16 on NVIDIA H100"
    engines["tensorrt"] = ("11.4", "bf16")
    assert choose(tiny, device="cuda:0").reason == "tensorrt 11.4, bf16 on NVIDIA H100"
    assert choose(tiny, "torch").reason == "torch 2.13, bf16 on NVIDIA H100"
    assert choose(tiny, "torch", precision="fp16").reason == "torch 2.13, fp16 on NVIDIA H100"


def test_auto_goes_past_an_engine_that_fails_and_warns(engines, tiny: Bundle, caplog):
    engines["tensorrt"] = DeviceError("tensorrt.plan was altered", "petrt build-engine demo")
    engines["torch"] = ("2.13", "bf16")
    choice = choose(tiny)
    assert choice.engine.name == "torch"
    assert "tensorrt.plan was altered (petrt build-engine demo)" in choice.reason
    assert caplog.messages == [
        "tensorrt cannot be used: tensorrt.plan was altered; petrt build-engine demo"
    ]
    with pytest.raises(DeviceError, match="was altered; petrt build-engine"):
        choose(tiny, "tensorrt")


def test_a_broken_bundle_is_no_reason_to_try_another_engine(engines, tiny: Bundle):
    engines["tensorrt"] = InputError("denoiser.onnx: an input is missing")
    engines["torch"] = ("2.13", "bf16")
    with pytest.raises(InputError):
        choose(tiny)


def test_a_gpu_without_an_engine(engines, tiny: Bundle):
    """``auto`` takes the CPU and names the first command; ``cuda`` fails with all reasons."""
    choice = choose(tiny)
    assert choice.engine.device == "cpu"
    assert choice.reason.endswith("on the CPU: tensorrt is absent (pip install tensorrt)")
    with pytest.raises(DeviceError, match=r"no engine can run on .* is absent; .*torch"):
        choose(tiny, device="cuda")
    with pytest.raises(DeviceError, match=r"^torch is absent; pip install torch$"):
        choose(tiny, "torch", device="cuda")


@pytest.mark.parametrize("name", candidates.ON_CPU)
def test_a_candidate_has_the_version_of_its_engine(tiny: Bundle, name):
    found = candidates.on_cpu(tiny, name, "fp32")
    assert isinstance(found, Ready)
    assert found.version == found.open().version


@pytest.mark.parametrize("name", ["native", "openvino"])
def test_engines_that_run_on_a_cpu_only(computer, tiny: Bundle, name):
    with pytest.raises(UsageError, match="runs on a CPU only; device='cpu' uses it"):
        choose(tiny, name, "cuda")
    assert choose(tiny, name).engine.device == "cpu"


@pytest.mark.parametrize(
    ("name", "installed", "reason", "command"),
    [
        ("torch", None, "PyTorch is not installed", "pip install 'petrt[torch]'"),
        ("torch", replace(TORCH, cuda=""), "without CUDA", "--index-url"),
        ("torch", replace(TORCH, broken="no version.py"), "no version.py", "force"),
        ("onnxruntime", RUNTIME, "without CUDA", "&& pip install 'petrt[onnxruntime-gpu]'"),
        ("onnxruntime", None, "ONNX Runtime is not", "pip install 'petrt[onnxruntime-gpu]'"),
        ("tensorrt", None, "TensorRT is not installed", "pip install 'petrt[tensorrt]'"),
        ("tensorrt-rtx", None, "TensorRT-RTX is not", "pip install 'petrt[tensorrt-rtx]'"),
    ],
)
def test_absent_packages_are_told_with_the_command(
    computer, tiny: Bundle, name, installed, reason, command
):
    computer(H100, **({name: installed} if installed else {}))
    found = on_gpu(tiny, H100, name, None)
    assert isinstance(found, Missing)
    assert reason in found.reason
    assert command in found.hint
    with pytest.raises(DeviceError, match=reason):
        choose(tiny, name, "cuda")


def test_torch_on_a_gpu_says_how_it_runs(computer, tiny: Bundle, monkeypatch):
    computer(H100, torch=TORCH)
    monkeypatch.setattr(torch_cuda, "unusable", lambda index: None)
    monkeypatch.setattr(torch_cuda, "eager_reason", lambda: None)
    assert str(on_gpu(tiny, H100, "torch", None)) == "torch 2.13.0, bf16, compiled"
    monkeypatch.setattr(torch_cuda, "eager_reason", lambda: "no C compiler is found")
    assert str(on_gpu(tiny, H100, "torch", "fp32")).endswith("not compiled: no C compiler is found")
    monkeypatch.setattr(torch_cuda, "unusable", lambda index: "PyTorch sees no cuda:0")
    assert isinstance(on_gpu(tiny, H100, "torch", None), Missing)


def test_onnx_runtime_on_a_gpu_has_no_bf16(computer, tiny: Bundle):
    computer(H100, onnxruntime=Package("onnxruntime", "onnxruntime-gpu", "1.32.0", cuda="yes"))
    assert str(on_gpu(tiny, H100, "onnxruntime", None)) == "onnxruntime 1.32.0, fp32"
    assert "does not run bf16 on a GPU" in str(on_gpu(tiny, H100, "onnxruntime", "bf16"))


def test_precision_on_a_cpu_leads_to_torch(computer, tiny: Bundle):
    computer(onnxruntime=RUNTIME, torch=TORCH)
    engine = choose(tiny, device="cpu", precision="bf16").engine
    assert (engine.name, engine.precision) == ("torch", "bf16")
    with pytest.raises(DeviceError, match=r"does not run bf16 on the CPU; .*--engine torch"):
        choose(tiny, "onnxruntime", "cpu", "bf16")
    computer(onnxruntime=RUNTIME)
    with pytest.raises(DeviceError, match="PyTorch is not installed; pip install"):
        choose(tiny, "torch", "cpu")


def test_the_record_of_a_run_tells_engine_and_reason(tiny: Bundle):
    volume = np.random.default_rng(0).random((16, 16, 2)).astype(np.float32)
    result = Reconstructor(tiny, engine="torch", device="cpu", precision="fp16", steps=1)(volume)
    engine = result.stats["engine"]
    assert (engine["name"], engine["precision"]) == ("torch", "fp16")
    assert engine["reason"].startswith("torch ")
    assert engine["reason"].endswith("fp16 on the CPU")


def test_the_help_of_commands_names_every_engine():
    help_text = EngineName.__metadata__[0].help
    assert set(re.findall(r"[a-z-]{4,}", help_text)) == set(ENGINES)


def test_choosing_imports_no_engine_package():
    code = (
        "import sys, petrt.engines.select\n"
        "print([n for n in ('torch', 'onnxruntime', 'openvino', 'tensorrt', 'cupy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
