"""The doctor's judgement, for machines that are told to it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from petrt.engines import doctor
from petrt.hardware import gpus, machine
from petrt.hardware.gpus import Gpu
from petrt.hardware.packages import Package
from tests.engines.conftest import BUILT, H100
from tests.homeless import without_home

RTX4090 = Gpu(0, "NVIDIA GeForce RTX 4090", (8, 9), 24 << 30)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))


def ask() -> dict:
    """Report of the CPU's choice: these machines have no GPU that an engine could be made on."""
    driver, module = machine.driver(), machine.cuda_module()
    rows = machine.gpu_rows(module)
    place = machine.place(driver, module, rows)
    parts = [*machine.engines(place), machine.cupy(place)]
    by_name = {f"{part.name} {part.device}": part for part in parts}
    fixes = {fix.part: fix for fix in doctor.fixes(place, driver, module, parts)}
    return {"driver": driver, "module": module, "gpus": rows, "parts": by_name, "fixes": fixes}


def test_with_everything_missing_nothing_is_needed_without_a_card(computer):
    computer()
    seen = ask()
    assert seen["parts"].pop("native cpu").state == "ready"  # it is part of petrt
    assert {part.state for part in seen["parts"].values()} == {"missing"}
    assert seen["module"].state == "missing"
    assert seen["driver"].fix is None
    assert not any(fix.needed for fix in seen["fixes"].values())
    assert "PETRT_CUDA=ON" in seen["fixes"]["CUDA module"].command
    assert seen["fixes"]["openvino on cpu"].command == "pip install 'petrt[openvino]'"


def test_a_card_without_a_driver_needs_the_driver_first(computer):
    computer(card=True)
    fixes = list(ask()["fixes"].values())
    assert fixes[0].part == "driver"
    assert "580" in fixes[0].command
    assert [fix.needed for fix in fixes] == sorted((fix.needed for fix in fixes), reverse=True)


def test_each_missing_piece_on_a_gpu_has_its_command(computer):
    computer(H100)
    fixes = ask()["fixes"]
    commands = {part: fix.command for part, fix in fixes.items() if fix.needed}
    for part, name in (("cupy", "cuda"), ("tensorrt", "tensorrt"), ("torch", "torch")):
        assert commands[f"{part} on cuda"] == f"pip install 'petrt[{name}]'"
    # One distribution serves GPU and CPU, so that nothing has to be uninstalled later.
    assert commands["onnxruntime on cuda"] == "pip install 'petrt[onnxruntime-gpu]'"
    assert fixes["onnxruntime on cpu"].command == "pip install 'petrt[onnxruntime-gpu]'"
    assert not fixes["onnxruntime on cpu"].needed
    assert "tensorrt-rtx on cuda" not in commands  # an H100 is none of its GPUs
    computer(RTX4090)
    assert ask()["fixes"]["tensorrt-rtx on cuda"].needed


def test_a_complete_machine_is_ready_and_needs_nothing(computer):
    computer(
        RTX4090,
        onnxruntime=Package("onnxruntime", "onnxruntime-gpu", "1.32", "yes"),
        openvino=Package("openvino", "openvino", "2026.4.1"),
        torch=Package("torch", "torch", "2.9", "13.0"),
        cupy=Package("cupy", "cupy-cuda13x", "14.2", "13"),
        tensorrt=Package("tensorrt", "tensorrt-cu13", "11.4", "13"),
        tensorrt_rtx=Package("tensorrt_rtx", "tensorrt-rtx", "1.7"),
    )
    seen = ask()
    assert {part.state for part in seen["parts"].values()} == {"ready"}
    assert seen["fixes"] == {}
    assert seen["gpus"][0].code == "sm_89"


def test_builds_without_cuda_are_replaced(computer):
    computer(
        H100,
        onnxruntime=Package("onnxruntime", "onnxruntime", "1.32", ""),
        torch=Package("torch", "torch", "2.9.0+cpu", ""),
    )
    parts = ask()["parts"]
    assert parts["torch cpu"].state == parts["onnxruntime cpu"].state == "ready"
    assert parts["torch cuda"].state == parts["onnxruntime cuda"].state == "unusable"
    index = "https://download.pytorch.org/whl/cu130"
    assert parts["torch cuda"].fix == f"pip install --force-reinstall torch --index-url {index}"
    assert parts["onnxruntime cuda"].fix == (
        "pip uninstall -y onnxruntime && pip install 'petrt[onnxruntime-gpu]'"
    )


def test_broken_packages_are_reinstalled_everywhere(computer):
    computer(cupy=Package("cupy", "cupy", None, broken="a folder without a package"))
    seen = ask()
    assert seen["parts"]["cupy cuda"].state == "broken"
    assert seen["parts"]["cupy cuda"].fix == "pip uninstall -y cupy && pip install 'petrt[cuda]'"
    computer(torch=Package("torch", "torch", None, broken="its version.py is missing"))
    fix = ask()["fixes"]["torch on cpu"]
    assert fix.needed
    assert fix.why == "its version.py is missing"
    assert fix.command == "pip uninstall -y torch && pip install 'petrt[torch]'"


def test_two_distributions_of_one_module_both_go_before_one_comes(computer):
    both = ("onnxruntime-gpu", "onnxruntime")
    computer(
        H100, onnxruntime=Package("onnxruntime", both[0], "1.31", None, "they share files", both)
    )
    for device in ("cuda", "cpu"):
        assert ask()["parts"][f"onnxruntime {device}"].fix == (
            "pip uninstall -y onnxruntime-gpu onnxruntime && pip install 'petrt[onnxruntime-gpu]'"
        )


def without_nvml(card):
    return {"reason": f"{gpus.NO_NVML}: pip install 'petrt[cuda]'", "card": card}


def test_without_nvidia_ml_py_a_card_needs_it_and_nothing_else_does(computer):
    computer(**without_nvml(card=True))
    seen = ask()
    command = "pip install 'petrt[cuda]'"
    assert (seen["driver"].problem, seen["driver"].fix) == (gpus.NO_NVML, command)
    first = next(iter(seen["fixes"].values()))
    assert (first.part, first.command, first.needed) == ("GPUs", command, True)
    computer(**without_nvml(card=False))
    seen = ask()
    assert (seen["driver"].problem, seen["driver"].fix) == ("no NVIDIA card seen", None)
    assert not any(fix.needed for fix in seen["fixes"].values())


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("CUDA_VISIBLE_DEVICES='-1' hides every GPU", "unset CUDA_VISIBLE_DEVICES"),
        (f"{gpus.MISMATCH}, as after an update: restart the machine", "restart the machine"),
        ("a GPU is lost to the driver: restart the machine", "restart the machine"),
        ("the NVIDIA driver fails: Unknown Error", machine.DRIVER),
    ],
)
def test_what_to_do_about_a_driver_that_shows_no_gpu(computer, reason, fix):
    computer(reason=reason, card=True)
    assert ask()["driver"].fix == fix
    computer(reason=reason, card=False)
    assert ask()["driver"].fix is None


def test_packages_newer_than_the_driver_are_unusable(computer):
    computer(
        H100,
        cuda=(12, 8),
        torch=Package("torch", "torch", "2.9", "13.0"),
        cupy=Package("cupy", "cupy-cuda12x", "14.2", "12"),
    )
    parts = ask()["parts"]
    assert parts["torch cuda"].detail == "built for CUDA 13.0, the driver supports 12.8"
    assert parts["torch cuda"].fix.endswith("/cu126")
    assert parts["cupy cuda"].state == "ready"
    assert parts["tensorrt cuda"].fix == "pip install tensorrt-cu12"
    computer(H100, cuda=(12, 8), cupy=Package("cupy", "cupy-cuda13x", "14.2", "13"))
    assert ask()["parts"]["cupy cuda"].fix == (
        'pip uninstall -y cupy-cuda13x && pip install "cupy-cuda12x[ctk]"'
    )


def test_a_module_that_the_driver_is_too_old_for(computer):
    torch = Package("torch", "torch", "2.9", "12.6")
    module = computer(H100, cuda=(12, 8), torch=torch)

    def too_old():
        raise RuntimeError("cudaGetDeviceCount: cudaErrorInsufficientDriver: too old")

    module.device_count = too_old
    seen = ask()
    assert seen["module"].state == "unusable"
    assert "driver 580" in seen["module"].fix
    assert "cudaErrorInsufficientDriver" in seen["parts"]["torch cuda"].detail


def test_a_gpu_that_the_module_is_not_built_for(computer):
    computer(RTX4090, architectures=("90",), torch=Package("torch", "torch", "2.9", "13.0"))
    seen = ask()
    assert seen["gpus"][0].code is None
    assert "built for 90, not for this GPU" in seen["parts"]["torch cuda"].detail


@pytest.mark.parametrize(
    ("capability", "code"),
    [
        ((9, 0), "sm_90"),
        ((8, 9), "sm_89"),
        ((8, 7), "sm_86"),
        ((12, 1), "sm_120"),
        ((13, 0), "PTX"),  # newer than all: the driver compiles
        ((10, 0), None),  # PTX of 12.0 is too new, and there is no code of 10.x
        ((7, 5), None),
    ],
)
def test_code_for_a_gpu(capability, code):
    assert machine.code_for(capability, BUILT) == code


def test_broken_module_file_is_no_traceback(computer, monkeypatch):
    computer()

    def broken(name):
        raise ImportError("libfoo.so.1: cannot open shared object file\nmore")

    monkeypatch.setattr(machine.importlib, "import_module", broken)
    module = machine.cuda_module()
    assert module.state == "broken"
    assert module.detail == "libfoo.so.1: cannot open shared object file"


KEYS = (
    *("auto", "cache", "cpu", "cuda_module", "driver", "engines", "fixes", "format", "gpus"),
    *("installed", "libraries", "models", "petrt", "python", "system", "version"),
)
ENGINES = (
    *("native cpu", "onnxruntime cpu", "onnxruntime cuda", "openvino cpu", "torch cpu"),
    *("torch cuda", "tensorrt cuda", "tensorrt-rtx cuda"),
)


def test_report_keeps_its_form():
    report = doctor.examine().as_json()
    assert json.loads(json.dumps(report)) == report
    assert sorted(report) == list(KEYS)
    assert (report["format"], report["version"]) == ("petrt-doctor", 1)
    assert [f"{part['name']} {part['device']}" for part in report["engines"]] == list(ENGINES)
    for part in (*report["engines"], *report["libraries"]):
        assert set(part) == {"name", "device", "state", "version", "detail", "fix"}
        assert part["state"] in ("ready", "unusable", "broken", "missing")
    assert set(report["cuda_module"]) == {"state", "architectures", "detail", "fix"}
    assert set(report["driver"]) == {"version", "cuda", "problem", "card", "fix"}
    assert set(report["auto"]) == {"model", "engine", "device", "precision", "reason", "problem"}
    assert set(report["cache"]) == {"path", "exists", "bytes", "mode", "problem"}
    assert report["models"][0]["name"] == "demo"


def test_auto_is_asked_and_its_failure_is_a_finding(monkeypatch):
    assert doctor.examine().auto.engine == "native" or gpus.list_gpus()

    def fails(*args, **kwargs):
        raise OSError("libcublas.so.13: cannot open shared object file")

    monkeypatch.setattr(doctor.select, "choose", fails)
    auto = doctor.examine().auto
    assert (auto.engine, auto.problem) == (None, "libcublas.so.13: cannot open shared object file")


def test_on_a_gpu_the_choice_is_told_without_opening_an_engine(computer):
    torch = Package("torch", "torch", "2.9", "13.0")
    runtime = Package("onnxruntime", "onnxruntime-gpu", "1.32", "yes")
    computer(H100, torch=torch, onnxruntime=runtime)
    auto = doctor.examine().auto
    assert (auto.engine, auto.device, auto.precision) == ("torch", "cuda:0", "bf16")
    assert "TensorRT is not installed (pip install 'petrt[tensorrt]')" in auto.reason
    computer(H100, onnxruntime=runtime)
    assert doctor.examine().auto.engine == "onnxruntime"


def test_cache_that_others_can_write_to_is_told_with_the_remedy(tmp_path):
    root = tmp_path / "cache" / "engines"
    assert doctor.cache() == doctor.Cache(str(root), False, 0, None, None)
    root.mkdir(parents=True, mode=0o700)
    (root / "some.plan").write_bytes(b"x" * 1000)
    assert doctor.cache() == doctor.Cache(str(root), True, 1000, "700", None)
    root.chmod(0o777)
    assert "chmod 700" in doctor.cache().problem
    assert doctor.installed() == []


def test_a_user_without_a_home_gets_a_report(monkeypatch):
    without_home(monkeypatch)
    report = doctor.examine()
    assert report.cache.path is None
    assert "no home folder" in report.cache.problem
    assert report.installed == []
    assert report.auto.engine == "native"
    json.dumps(report.as_json())


def test_a_damaged_engine_is_listed_as_broken(tmp_path):
    folder = tmp_path / "cache" / "engines" / "demo-tensorrt-bf16-sm90-0123456789ab.01234567"
    folder.parent.mkdir(parents=True, mode=0o700)
    folder.mkdir()
    (folder / "engine.json").write_text("{")
    (row,) = doctor.installed()
    assert (row.state, row.problem) == ("broken", "engine.json is not JSON")


def test_paths_do_not_name_the_user(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jane"))
    monkeypatch.setattr(doctor, "_user", lambda: "jane")
    told = doctor.tidy({"a": ["/home/jane/.cache/x", "/home/janette", "see /scratch/jane/y: bad"]})
    assert told == {"a": ["~/.cache/x", "/home/janette", "see /scratch/<user>/y: bad"]}
    text = json.dumps(doctor.examine().as_json())
    assert os.uname().nodename not in text


def test_nothing_heavy_is_imported():
    import subprocess

    code = (
        "import sys; from petrt.engines.doctor import examine; examine()\n"
        "print({'torch', 'cupy', 'tensorrt'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
