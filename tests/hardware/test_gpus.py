"""The questions to the driver: the real nvidia-ml-py on libraries that stand in for libnvidia-ml.so.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from petrt.hardware import gpus
from tests.hardware.stub_nvml import TWO_GPUS, compile_nvml

ROOT = Path(__file__).parents[2]
H100 = ["NVIDIA H100 80GB HBM3", [9, 0], 85 * 10**9]
RTX4090 = ["NVIDIA GeForce RTX 4090", [8, 9], 25 * 10**9]

# As where petrt was built without nvcc: CUDA is not asked.
NO_MODULE = "import sys; sys.modules['petrt._cuda'] = None\n"
ASK = """
import json
from petrt.hardware import gpus
found = [[g.index, g.name, g.compute_capability, g.memory_bytes] for g in gpus.list_gpus()]
print(json.dumps([found, gpus.why_none(), gpus.cuda_version(), gpus.driver_version()]))
"""


def python(code: str, folder: Path, visible: str | None = None) -> subprocess.CompletedProcess[str]:
    """A fresh process with ``folder``'s driver."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )


def ask(folder: Path, visible: str | None = None, before: str = NO_MODULE) -> list[Any]:
    """GPUs, reason, CUDA version and driver."""
    answers: list[Any] = json.loads(python(before + ASK, folder, visible).stdout)
    return answers


def test_two_gpus_are_listed_with_their_driver(tmp_path):
    found, reason, cuda, driver = ask(compile_nvml(tmp_path, TWO_GPUS))
    assert found == [[0, *H100], [1, *RTX4090]]
    assert (reason, cuda, driver) == (None, [13, 0], "580.65.06")


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0,1", [H100, RTX4090]),
        ("1,0", [RTX4090, H100]),
        ("1", [RTX4090]),
        (" 1 , 0", [RTX4090, H100]),
        ("1,7,0", [RTX4090]),  # up to the first that is none
        ("0,-1,1", [H100]),
        ("GPU-bbbb-2222", [RTX4090]),
        ("GPU-bb,GPU-a", [RTX4090, H100]),  # any beginning that is one GPU's alone
        ("GPU-", []),
        ("", []),
        ("-1", []),
        ("none", []),
        ("0,0", []),
    ],
)
def test_cuda_visible_devices_by_cudas_rules(tmp_path, visible, names):
    """Where the CUDA module cannot be asked."""
    found, reason, cuda, _ = ask(compile_nvml(tmp_path, TWO_GPUS), visible)
    assert [row[1:] for row in found] == names
    assert [row[0] for row in found] == list(range(len(names)))
    assert cuda == [13, 0]
    assert reason == (None if names else f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU")


def twin(module: Any, more: str = "") -> str:
    """Code that puts the twin of the CUDA module in its place; it has two GPUs, NVML's second first."""
    return (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path; from tests.core.cuda_twin import build\n"
        f"module = sys.modules['petrt._cuda'] = build.load(Path({module.__file__!r}))\n{more}\n"
    )


def test_ordinals_are_those_of_the_cuda_module(tmp_path, cuda_twin):
    """CUDA puts the fastest GPU first unless told otherwise, NVML sorts them by bus."""
    folder = compile_nvml(tmp_path, TWO_GPUS)
    found, reason, *_ = ask(folder, before=twin(cuda_twin))
    assert found == [[0, *RTX4090], [1, *H100]]
    assert reason is None
    # What it shows is what counts: CUDA has read the variable itself.
    assert ask(folder, "0", twin(cuda_twin))[0] == found
    (only,), *_ = ask(folder, before=twin(cuda_twin, "module.set_devices(1)"))
    assert only == [0, *H100]


def test_cuda_itself_shows_no_gpu(tmp_path, cuda_twin):
    hidden = twin(cuda_twin, "module.set_devices(0)")
    folder = compile_nvml(tmp_path, TWO_GPUS)
    assert ask(folder, "5", hidden)[:2] == [[], "CUDA_VISIBLE_DEVICES='5' hides every GPU"]
    assert ask(folder, before=hidden)[:2] == [[], "the NVIDIA driver shows no GPU"]


def test_a_cuda_module_that_does_not_get_to_cuda_is_not_believed(tmp_path, cuda_twin):
    """A driver older than its CUDA: the GPUs are listed, ``machine.cuda_module`` says what is wrong."""
    fails = (
        "def fails(): raise module.CudaError('cudaGetDeviceCount: cudaErrorInsufficientDriver')\n"
    )
    code = twin(cuda_twin, fails + "module.device_count = fails")
    assert ask(compile_nvml(tmp_path, TWO_GPUS), "1", code)[0] == [[0, *RTX4090]]


def test_a_gpu_that_only_cuda_knows_ends_the_list(tmp_path, cuda_twin):
    folder = compile_nvml(tmp_path, "#define COUNT 2\n#define SECOND 15")
    done = python(twin(cuda_twin) + ASK, folder)
    assert json.loads(done.stdout)[:2] == [[], "a GPU is lost to the driver: restart the machine"]
    assert done.stderr.splitlines() == [
        "GPU 1 of the driver's list is left out: a GPU is lost to the driver: restart the machine",
        "cuda:0 (0000:41:00.0) and later ones are left out: NVML does not list it",
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (4, "this user may not use the NVIDIA driver"),
        (9, "its kernel module does not answer"),
        (13, "too old for nvidia-ml-py"),
        (15, "lost to the driver: restart the machine"),
        (18, "of different versions, as after an update: restart the machine"),
        (17, "The operating system has blocked the request."),
        (999, "the NVIDIA driver fails: Unknown Error"),
        (1234, "the NVIDIA driver fails: as told by the stub"),
    ],
)
def test_a_driver_that_cannot_start_says_why_in_one_line(tmp_path, code, reason):
    gpus, why, *rest = ask(compile_nvml(tmp_path, f"#define INIT {code}"))
    assert (gpus, *rest) == ([], None, None)
    assert reason in why
    assert "\n" not in why


def test_a_gpu_that_fails_does_not_hide_the_others(tmp_path):
    folder = compile_nvml(tmp_path, "#define COUNT 2\n#define FIRST 15")
    done = python(NO_MODULE + ASK, folder)
    assert json.loads(done.stdout)[:2] == [[[0, *RTX4090]], None]
    assert "GPU 0 of the driver's list is left out: a GPU is lost" in done.stderr


def test_gpus_of_other_jobs_are_no_news(tmp_path):
    folder = compile_nvml(tmp_path, "#define COUNT 2\n#define SECOND 4")
    done = python(NO_MODULE + ASK, folder)
    assert json.loads(done.stdout)[0] == [[0, *H100]]
    assert done.stderr == ""


def test_a_driver_with_no_gpu(tmp_path):
    found, reason, cuda, driver = ask(compile_nvml(tmp_path, "#define COUNT 0"), "0")
    assert (found, reason) == ([], "the NVIDIA driver shows no GPU")
    assert (cuda, driver) == ([13, 0], "580.65.06")


def test_a_container_without_cuda(tmp_path):
    found, reason, cuda, driver = ask(compile_nvml(tmp_path, "#define CUDA 12"))
    assert (found, cuda, driver) == ([], None, "580.65.06")
    assert reason.startswith("the NVIDIA driver is here without CUDA: in a container, set")


@pytest.mark.parametrize(
    ("visible", "gigabytes"), [(None, 10), ("MIG-1-GPU-aaaa-1111", 20), ("MIG-1", 20), ("0", 10)]
)
def test_of_a_divided_gpu_one_instance_is_seen(tmp_path, visible, gigabytes):
    (row,), *_ = ask(compile_nvml(tmp_path, "#define MIG 2"), visible)
    assert row == [0, "NVIDIA H100 80GB HBM3 MIG 1g.10gb", [9, 0], gigabytes * 10**9]


def test_a_library_without_the_functions(tmp_path):
    answer = ask(compile_nvml(tmp_path, "#define EMPTY"))
    assert answer == [[], "the NVIDIA driver is too old for nvidia-ml-py", None, None]


def test_a_file_that_is_no_library(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    gpus, reason, *rest = ask(tmp_path)
    assert (gpus, *rest) == ([], None, None)
    assert "libnvidia-ml.so.1" in reason


def test_without_nvidia_ml_py_the_reason_is_the_command(tmp_path):
    code = "sys.modules['pynvml'] = None\n"
    answer = ask(compile_nvml(tmp_path, TWO_GPUS), before=NO_MODULE + code)
    reason = "nvidia-ml-py, which lists the GPUs, is not installed: pip install 'petrt[cuda]'"
    assert answer == [[], reason, None, None]


def test_the_file_works_before_petrt_is_built(tmp_path):
    """As benchmarks/gpu/needs.py loads it."""
    folder = compile_nvml(tmp_path, TWO_GPUS)
    path = ROOT / "python" / "petrt" / "hardware" / "gpus.py"
    code = (
        "import importlib.util as u, sys; sys.modules['petrt'] = None\n"
        f"spec = u.spec_from_file_location('gpus', {str(path)!r})\n"
        "gpus = sys.modules['gpus'] = u.module_from_spec(spec); spec.loader.exec_module(gpus)\n"
        "print(gpus.list_gpus()[1].name)"
    )
    assert python(code, folder).stdout.strip() == RTX4090[0]


def test_bus_ids_of_both_kinds_are_the_same_place():
    assert gpus.parse_pci("0000:3B:00.0") == gpus.parse_pci("00000000:3b:00.0") == (0, 0x3B, 0)
    assert gpus.parse_pci("10001:01:1F.0") == (1, 1, 0x1F)
