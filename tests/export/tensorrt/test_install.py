"""From a request to an installed engine: once, whole, verified, and with the reason for every build."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petrt.cli.app import run
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.store.folder import (
    cache_root,
    installed,
    load_graphs,
    load_timing_cache,
    private_root,
)
from petrt.engines.store.record import Flags
from petrt.errors import DeviceError
from petrt.export.tensorrt import install as module
from petrt.export.tensorrt.install import build_engine, look_up
from petrt.export.tensorrt.plan import SerializedEngine
from petrt.export.tensorrt.profile import Profile
from petrt.export.tensorrt.request import Request
from petrt.inference.verify_engine import verify
from petrt.model.bundle import GRAPHS, Bundle
from tests.engines.store.records import H100, VERIFIED
from tests.engines.tensorrt.fake_tensorrt import make_module
from tests.export.tensorrt.progress import silent
from tests.locks import held

ROOT = Path(__file__).resolve().parents[3]


class Builder:
    """Plays ``build_plan``; notes what it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.fail: BaseException | None = None

    def __call__(
        self, trt: Any, model: bytes, profile: Profile, **options: Any
    ) -> SerializedEngine:
        self.calls.append(options | {"profile": profile, "model": model})
        if self.fail is not None and len(self.calls) % 3 == 0:
            raise self.fail
        options["progress"](50, 100)
        count = len(self.calls)
        return SerializedEngine(b"plan %d " % count * 10, b"timings %d" % count, 0.5, ())


@pytest.fixture
def builder(tmp_path, monkeypatch) -> Builder:
    """A private engine folder, and a builder that takes no time; ONNX Runtime plays the candidate."""
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    builder = Builder()
    monkeypatch.setattr(module, "build_plan", builder)
    monkeypatch.setattr(module, "need_cuda_module", lambda: None)
    monkeypatch.setattr(module, "_candidate", lambda r, *_: OnnxRuntimeEngine(r.bundle))
    monkeypatch.setattr(module, "start", lambda bundle, entry, **k: OnnxRuntimeEngine(bundle))
    monkeypatch.setattr(
        module, "verify", lambda *a, gpu, **k: VERIFIED.model_copy(update={"gpu": gpu})
    )
    return builder


@pytest.fixture
def true_verification(builder, monkeypatch) -> None:
    monkeypatch.setattr(module, "verify", verify)


@pytest.fixture
def request_here(tiny: Bundle) -> Request:
    """An engine for a GPU that is here."""
    return Request(
        bundle=tiny,
        engine="tensorrt",
        trt=make_module(),
        gpu=H100,
        index=0,
        targets=(),
        precision="fp32",
        profile=Profile((1, 2, 4), (1, 1, 2), (16, 32, 64), (16, 32, 64)),
        flags=Flags(workspace_bytes=1 << 20),
    )


def elsewhere(request: Request, **changes: Any) -> Request:
    """The same for a GPU that is not here."""
    changes = {"engine": "tensorrt-rtx", "gpu": None, "index": None, "targets": ((8, 9),)} | changes
    return replace(request, **changes)


@pytest.mark.usefixtures("true_verification")
def test_three_plans_are_built_verified_and_installed(builder, request_here, tiny, caplog):
    with caplog.at_level(logging.INFO, "petrt"):
        entry = build_engine(request_here, bar=silent)
    assert installed() == ([entry], [])
    assert set(load_graphs(entry, tiny)) == set(GRAPHS)
    record = entry.record
    assert (record.engine, record.precision) == ("tensorrt", "fp32")
    assert (record.gpu, record.targets) == (H100, ())
    assert record.profile == request_here.profile_record
    assert record.built_seconds == 1.5
    assert record.verified.psnr_db is None  # the candidate is the reference itself
    assert "32x32" in record.verified.volume
    assert record.verified_on(H100)
    assert "building tiny, TensorRT 11.4.0, fp32, for NVIDIA H100: no Tensor" in caplog.text
    asked = builder.calls
    assert [call["timing_cache"] for call in asked] == [b"", b"timings 1", b"timings 2"]
    assert [call["model"] for call in asked] == [tiny.onnx(graph) for graph in GRAPHS]
    assert {call["workspace_bytes"] for call in asked} == {1 << 20}
    assert {call["device"] for call in asked} == {0}
    assert load_timing_cache(entry) == b"timings 3"


def test_what_fits_is_kept(builder, request_here, caplog):
    entry = build_engine(request_here, bar=silent)
    with caplog.at_level(logging.INFO, "petrt"):
        assert build_engine(request_here, bar=silent) == entry
    assert len(builder.calls) == 3
    assert "is installed already" in caplog.text


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("driver", "for NVIDIA H100: driver 570.1 -> 580.2"),
        ("coarse.plan", "the installed one is broken"),
        ("engine.json", "the installed one is broken"),
        ("force", "as asked (--force)"),
    ],
)
def test_the_reason_for_a_new_build_is_told(builder, request_here, caplog, why, told):
    first = build_engine(request_here, bar=silent)
    if why == "driver":
        gpu = H100.model_copy(update={"driver": "580.2"})
        request_here = replace(request_here, gpu=gpu)
    elif why != "force":
        path = first.folder / why
        path.write_bytes(path.read_bytes()[:-3])
        assert "broken" in look_up(request_here)[1]
    with caplog.at_level(logging.INFO, "petrt"):
        second = build_engine(request_here, force=why == "force", bar=silent)
    assert told in caplog.text
    assert installed() == ([second], [])
    assert second.folder != first.folder
    if why == "force":
        assert builder.calls[3]["timing_cache"] == b"timings 3"


def test_who_does_not_wait_for_another_build_builds_nothing(builder, request_here):
    private_root(create=True)
    with (
        held(cache_root() / f".{request_here.key[:12]}.lock"),
        pytest.raises(DeviceError, match=r"another process is building this engine.*--no-wait"),
    ):
        build_engine(request_here, wait=False, bar=silent)
    assert builder.calls == []
    assert build_engine(request_here, wait=False, bar=silent)


@pytest.mark.parametrize(("options", "wait"), [([], True), (["--no-wait"], False)])
def test_the_command_waits_unless_told_otherwise(monkeypatch, request_here, options, wait):
    seen: dict[str, Any] = {}

    def stop(_: Request, **given: Any) -> None:
        seen.update(given)
        raise DeviceError("enough")

    monkeypatch.setattr(module, "build_engine", stop)
    monkeypatch.setattr("petrt.export.tensorrt.request.make_request", lambda *_, **__: request_here)
    assert run(["build-engine", "demo", *options]) == 4
    assert seen["wait"] is wait


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), DeviceError("TensorRT gave up")])
@pytest.mark.parametrize("stage", ["build", "verify"])
@pytest.mark.parametrize("before", [False, True])
def test_a_failure_leaves_nothing_and_an_old_engine_untouched(
    builder, request_here, tiny, monkeypatch, failure, stage, before
):
    old = [build_engine(request_here, bar=silent)] if before else []
    if stage == "build":
        builder.fail = failure
    else:
        monkeypatch.setattr(module, "verify", _raiser(failure))
    with pytest.raises(type(failure)):
        build_engine(request_here, force=True, bar=silent)
    assert installed() == (old, [])
    root = cache_root()
    assert {p for p in root.iterdir() if p.is_dir()} == {entry.folder for entry in old}
    for entry in old:
        assert load_graphs(entry, tiny)
    builder.fail = None
    monkeypatch.setattr(module, "verify", lambda *a, **k: VERIFIED)
    assert build_engine(request_here, force=True, bar=silent)  # and the lock is free again


def _raiser(error: BaseException) -> Any:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    return fail


@pytest.mark.usefixtures("true_verification")
def test_wrong_images_are_not_installed(builder, request_here, tiny, monkeypatch):
    class Shifted(OnnxRuntimeEngine):
        def bind(self, graph, inputs, outputs):
            run = super().bind(graph, inputs, outputs)

            def shifted() -> None:
                run()
                if graph == "denoiser":
                    outputs["eps"] += 0.5

            return shifted

    monkeypatch.setattr(module, "_candidate", lambda request, *_: Shifted(request.bundle))
    with pytest.raises(DeviceError, match=r"wrong images .* PSNR .* \(at least 60 dB\)"):
        build_engine(request_here, bar=silent)
    assert installed() == ([], [])


def test_an_engine_for_another_machine_is_installed_unverified(builder, request_here):
    entry = build_engine(elsewhere(request_here), bar=silent)
    assert entry.record.verified is None
    assert entry.record.targets == ((8, 9),)
    assert [call["targets"] for call in builder.calls] == [((8, 9),)] * 3
    assert {call["device"] for call in builder.calls} == {None}


def test_an_unverified_engine_that_fits_is_verified_instead_of_built(builder, request_here):
    build_engine(elsewhere(request_here, targets=((8, 6), (9, 0))), bar=silent)
    here = elsewhere(request_here, gpu=H100, index=0, targets=((9, 0),))
    entry = build_engine(here, bar=silent)
    assert len(builder.calls) == 3
    assert entry.record.verified_on(H100)
    assert installed()[0] == [entry]


def test_16_bit_networks_are_converted_first(builder, request_here, tiny):
    build_engine(elsewhere(request_here, precision="bf16"), bar=silent)
    models = [call["model"] for call in builder.calls]
    assert all(model != tiny.onnx(graph) for model, graph in zip(models, GRAPHS, strict=True))


def test_petrt_without_its_cuda_part_is_told_before_any_work(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "petrt._cuda", None)
    with pytest.raises(DeviceError, match=r"CUDA module is (missing|broken).*; .*pip install"):
        module.need_cuda_module()


TWO = """
import sys, time
from pathlib import Path
from petrt.export.tensorrt import install
from petrt.export.tensorrt.plan import SerializedEngine
from petrt.export.tensorrt.request import Request
from petrt.export.tensorrt.profile import Profile
from petrt.model.bundle import load_bundle
from petrt.engines.store.record import Flags, Verified
from tests.export.tensorrt.progress import silent
from tests.engines.tensorrt.fake_tensorrt import make_module

def slowly(trt, model, profile, **options):
    with Path(sys.argv[2]).open("a") as log:
        log.write("built\\n")
    time.sleep(0.3)
    return SerializedEngine(b"plan", b"timings", 0.3, ())

install.build_plan = slowly
request = Request(
    bundle=load_bundle(sys.argv[1]), engine="tensorrt-rtx", trt=make_module(rtx=True), gpu=None,
    index=None, targets=((8, 9),), precision="fp32",
    profile=Profile((1, 2, 4), (1, 1, 2), (16, 32, 64), (16, 32, 64)), flags=Flags(),
)
print(install.build_engine(request, bar=silent).folder.name)
"""


def test_of_two_processes_one_builds(tiny_bundle: Path, tmp_path: Path):
    environment = os.environ | {"PETRT_CACHE": str(tmp_path / "cache")}
    log = tmp_path / "log"
    command = [sys.executable, "-c", TWO, str(tiny_bundle), str(log)]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    names = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert names[0] == names[1]
    assert log.read_text() == "built\n" * 3
