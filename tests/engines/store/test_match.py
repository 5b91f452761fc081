"""Which installed engine fits, and what is said where none does."""

from __future__ import annotations

import pytest

from petrt.engines.store.match import find
from petrt.engines.store.record import Flags
from tests.engines.store.records import H100, PROFILE, RTX4090, VERIFIED, put, wanted

pytestmark = pytest.mark.usefixtures("private_cache")


def test_nothing_installed_is_said():
    assert find(wanted()) == (None, "no TensorRT engine is installed")
    put(engine="tensorrt-rtx")
    assert find(wanted()) == (None, "no TensorRT engine is installed")


def test_the_same_is_found_again():
    entry = put()
    assert find(wanted()) == (entry, "installed")
    assert find(wanted(precision="bf16", profile=PROFILE, flags=Flags()))[0] == entry


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gpu": H100.model_copy(update={"driver": "580.2"})}, "driver 570.1 -> 580.2"),
        ({"sha256": "b" * 64}, "model changed"),
        ({"engine_version": "11.5.0"}, "TensorRT 11.4.0 -> 11.5.0"),
        ({"petrt": "0.2.0"}, "petrt 0.1.0 -> 0.2.0"),
        ({"precision": "fp16"}, "precision bf16 -> fp16"),
        ({"gpu": RTX4090}, "GPU NVIDIA H100 -> NVIDIA GeForce RTX 4090"),
        (
            {"profile": PROFILE.model_copy(update={"slices": (1, 8, 32)})},
            "profile: slices 1,8,16 -> 1,8,32",
        ),
        ({"flags": Flags(workspace_bytes=1)}, "other build flags"),
        ({"model": "other"}, "no TensorRT engine is installed"),
    ],
)
def test_what_does_not_fit_is_named(change, reason):
    put()
    assert find(wanted(**change)) == (None, reason)


def test_of_several_the_reason_is_that_of_the_closest():
    put(model={"name": "tiny", "sha256": "c" * 64})
    put(engine_version="11.3.0")
    put(gpu=RTX4090)
    assert find(wanted()) == (None, "TensorRT 11.3.0 -> 11.4.0")


@pytest.mark.parametrize(
    ("level", "gpu", "fits"),
    [
        ("none", {"name": "NVIDIA H200"}, False),
        ("same-compute-capability", {"name": "NVIDIA H200"}, True),
        ("same-compute-capability", {"compute_capability": (8, 0)}, False),
        ("ampere-plus", {"name": "NVIDIA A100", "compute_capability": (8, 0)}, True),
        ("ampere-plus", {"name": "NVIDIA T4", "compute_capability": (7, 5)}, False),
    ],
)
def test_a_compatible_engine_fits_other_gpus(level, gpu, fits):
    put(flags=Flags(hardware_compatibility=level))
    assert (find(wanted(gpu=H100.model_copy(update=gpu)))[0] is not None) is fits


def test_an_rtx_engine_fits_the_gpus_it_was_built_for_with_any_driver():
    entry = put(engine="tensorrt-rtx", targets=((8, 6), (8, 9)))
    ask = {"engine": "tensorrt-rtx", "gpu": RTX4090}
    assert find(wanted(**ask))[0] == entry
    newer = RTX4090.model_copy(update={"driver": "999.9"})
    assert find(wanted(**ask | {"gpu": newer}))[0] == entry
    rtx50 = RTX4090.model_copy(update={"compute_capability": (12, 0)})
    reason = "built for 8.6, 8.9, this GPU is 12.0"
    assert find(wanted(**ask | {"gpu": rtx50})) == (None, reason)


def test_an_rtx_engine_for_other_machines_fits_only_the_same_targets():
    entry = put(engine="tensorrt-rtx", targets=((8, 6), (8, 9)))
    ask = {"engine": "tensorrt-rtx", "gpu": None}
    assert find(wanted(**ask, targets=((8, 9), (8, 6))))[0] == entry
    assert find(wanted(**ask, targets=((8, 9),))) == (None, "targets 8.6, 8.9 -> 8.9")


def test_verified_engines_come_first_then_the_fast_ones():
    half = put(precision="fp16", verified=VERIFIED)
    put(precision="bf16")
    assert find(wanted())[0] == half
    put(precision="fp32", verified=VERIFIED)
    assert find(wanted())[0] == half
    best = put(precision="bf16", verified=VERIFIED)
    assert find(wanted())[0] == best


def test_a_broken_engine_is_the_reason_and_hides_no_other(private_cache):
    entry = put()
    other = put(precision="fp32")
    (entry.folder / "engine.json").write_text("{")
    assert find(wanted(precision="bf16"))[0] is None
    assert find(wanted())[0] == other
    (other.folder / "engine.json").write_text("{")
    assert find(wanted()) == (None, "the installed one is broken: engine.json is not JSON")
