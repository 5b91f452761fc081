"""Checkpoints: exact round trip, and a refusal for everything that is not one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from petrt.errors import InputError, UsageError
from petrt.model.spec import DomainSpec, ModelSpec
from petrt.nets import PRESETS, Model, load_checkpoint, load_state, save_checkpoint

SPEC = ModelSpec(
    name="tiny", network=PRESETS["tiny"], domain=DomainSpec(voxel_mm=(2.0, 2.0, 2.0)), sigma_r=0.05
)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model(SPEC.network)


@pytest.fixture
def checkpoint(tmp_path: Path, model: Model) -> Path:
    path = tmp_path / "runs" / "best"
    save_checkpoint(path, model, SPEC, state={"moment": torch.arange(3.0)}, step=7)
    return path


def test_round_trip(checkpoint: Path, model: Model) -> None:
    loaded, spec, info = load_checkpoint(checkpoint)
    assert spec == SPEC
    assert info == {"step": 7}
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())
    for (name, a), (other, b) in zip(
        model.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)
    assert torch.equal(load_state(checkpoint)["moment"], torch.arange(3.0))


@pytest.mark.parametrize("name", ["checkpoint.json", "model.safetensors", "training.safetensors"])
def test_any_altered_byte_is_noticed(checkpoint: Path, name: str) -> None:
    whole = (checkpoint / name).read_bytes()
    for place in np.random.default_rng(0).integers(len(whole), size=5):
        damaged = bytearray(whole)
        damaged[place] ^= 0x04
        (checkpoint / name).write_bytes(damaged)
        with pytest.raises(InputError):
            (load_checkpoint(checkpoint), load_state(checkpoint))


def test_saving_again_replaces_and_leaves_nothing_behind(checkpoint: Path, model: Model) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(0.5)
    save_checkpoint(checkpoint, model, SPEC, step=8)
    loaded, _, info = load_checkpoint(checkpoint)
    assert info["step"] == 8
    assert next(loaded.parameters()).unique().tolist() == [0.5]
    assert [p.name for p in checkpoint.parent.iterdir()] == ["best"]
    with pytest.raises(InputError, match="holds no training"):
        load_state(checkpoint)


def test_a_failed_save_keeps_the_old_checkpoint(checkpoint: Path, model: Model) -> None:
    with pytest.raises(TypeError):
        save_checkpoint(checkpoint, model, SPEC, step=object())
    assert load_checkpoint(checkpoint)[2]["step"] == 7
    assert [p.name for p in checkpoint.parent.iterdir()] == ["best"]


def test_never_replaces_another_directory(tmp_path: Path, model: Model) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    with pytest.raises(UsageError, match="thesis exists"):
        save_checkpoint(tmp_path / "thesis", model, SPEC)
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"


def test_saving_refuses_bad_models(tmp_path: Path, model: Model) -> None:
    with pytest.raises(InputError, match=r"torch\.float64, expected"):
        save_checkpoint(tmp_path / "c", Model(SPEC.network).double(), SPEC)
    with pytest.raises(InputError, match="not built from this specification"):
        save_checkpoint(tmp_path / "c", Model(PRESETS["mini"]), SPEC)
    with torch.no_grad():
        next(model.parameters())[0] = float("nan")
    with pytest.raises(InputError, match="is not finite"):
        save_checkpoint(tmp_path / "c", model, SPEC)
    assert not (tmp_path / "c").exists()


def edit_header(path: Path, **changes: object) -> None:
    """Change the header and record its new hash, as a wrong writer would."""
    header = json.loads((path / "checkpoint.json").read_text()) | changes
    header.pop("sha256")
    content = json.dumps(header, sort_keys=True).encode()
    header["sha256"] = hashlib.sha256(content).hexdigest()
    (path / "checkpoint.json").write_text(json.dumps(header))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the weights and record their new hash, as a wrong writer would."""
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    edit_header(path, files={"model.safetensors": digest})


def drop_tensor(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["coarse.head.conv.bias"]


def transpose_tensor(tensors: dict[str, torch.Tensor]) -> None:
    name = "denoiser.noise_mlp.1.weight"
    tensors[name] = tensors[name].T.contiguous()


def halve_tensor(tensors: dict[str, torch.Tensor]) -> None:
    tensors["coarse.head.conv.bias"] = tensors["coarse.head.conv.bias"].half()


def poison_tensor(tensors: dict[str, torch.Tensor]) -> None:
    tensors["coarse.head.conv.bias"][0] = float("inf")


def not_safetensors(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"\x80\x04pickle")
    digest = hashlib.sha256(b"\x80\x04pickle").hexdigest()
    edit_header(path, files={"model.safetensors": digest})


def spec_with(**changes: object) -> dict[str, object]:
    return SPEC.model_dump(mode="json") | changes


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "checkpoint.json").unlink(), "is not a checkpoint"),
        (lambda p: (p / "checkpoint.json").write_text("{"), "cannot be read"),
        (lambda p: (p / "checkpoint.json").write_text("[]"), "is not a petrt-checkpoint"),
        (lambda p: (p / "model.safetensors").unlink(), "cannot be read"),
        (not_safetensors, "is not a safetensors file"),
        (lambda p: edit_header(p, format="zip"), "is not a petrt-checkpoint"),
        (lambda p: edit_header(p, version=3), "version 3; this release reads up to 2"),
        (lambda p: edit_header(p, files=None), "lacks spec, files or info"),
        (lambda p: edit_header(p, files={}), r"holds no model\.safetensors"),
        (lambda p: edit_header(p, spec=spec_with(clip=-1)), r"spec\.clip"),
        (lambda p: edit_header(p, spec=spec_with(network=None)), r"spec\.network"),
        (lambda p: edit_weights(p, drop_tensor), r"first coarse\.head\.conv\.bias"),
        (lambda p: edit_weights(p, transpose_tensor), r"is \(4, 16\) .*expected \(16, 4\)"),
        (lambda p: edit_weights(p, halve_tensor), r"torch\.float16, expected"),
        (lambda p: edit_weights(p, poison_tensor), "is not finite"),
    ],
)
def test_refusals(checkpoint: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(checkpoint)
    with pytest.raises(InputError, match=message):
        load_checkpoint(checkpoint)
