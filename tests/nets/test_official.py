"""The authors' checkpoints: converted bit for bit, or refused without running anything."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from petrt.errors import InputError, UsageError
from petrt.model.spec import GuidanceSpec, NetworkSpec, SamplerSpec, ScheduleSpec, UNetSpec
from petrt.nets import Model, load_checkpoint, save_checkpoint
from petrt.nets.official import import_official
from tests.export.conftest import model_spec, scrambled
from tests.nets.official_files import SMALL, STEMS, State, write_official

# Sizes that the defaults don't have, and attention beside the middle.
OTHER = NetworkSpec(
    coarse=UNetSpec(base=64, multipliers=(1, 1, 2, 2), blocks=1, attention_levels=(3,)),
    denoiser=UNetSpec(base=32, multipliers=(1, 2, 2, 1), blocks=2, attention_levels=(1, 2)),
    guidance=GuidanceSpec(stem=16, widths=(16, 24)),
)


@pytest.fixture(scope="module")
def original() -> Model:
    return scrambled(SMALL)


@pytest.fixture(scope="module")
def pristine(original: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    write_official(original, folder / "I500000_E100")
    return folder


@pytest.fixture
def prefix(pristine: Path, tmp_path: Path) -> Path:
    """Eight good files of one's own to damage."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in pristine.iterdir():
        os.symlink(path, folder / path.name)
    return folder / "I500000_E100"


def file_of(prefix: Path, stem: str) -> Path:
    return Path(f"{prefix}_{stem}_gen.pth")


def replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # the link, not the file that other tests share
    path.write_bytes(content)


def rewrite(path: Path, change: Callable[[State], object]) -> None:
    """Save the file anew with ``change`` applied to its state dict, or with what it returns."""
    state = torch.load(path, weights_only=True)
    changed = change(state)
    path.unlink()
    torch.save(state if changed is None else changed, path)


def assert_same_weights(model: Model, other: Model) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@torch.no_grad()
def outputs(model: Model) -> list[Tensor]:
    torch.manual_seed(1)
    x, r, spectrum, nas = (torch.randn(1, channels, 16, 16) for channels in (1, 1, 1, 5))
    features = model.guidance(nas, spectrum)
    x_cp = model.coarse(x, features)
    eps = model.denoiser(x, r, torch.tensor([0.3]), features)
    return [x_cp, eps, *(feature for at_scale in features for feature in at_scale)]


def test_the_imported_networks_are_the_original(prefix, original, tmp_path):
    assert import_official(str(prefix), tmp_path / "new" / "checkpoint") == (
        tmp_path / "new" / "checkpoint"
    )
    model, spec, info = load_checkpoint(tmp_path / "new" / "checkpoint")
    assert spec.network == SMALL
    assert_same_weights(model, original)
    for ours, theirs in zip(outputs(model), outputs(original), strict=True):
        assert torch.equal(ours, theirs)
    assert spec.name == "official"
    assert "not for diagnostic use" in spec.label
    assert info["source"]["files"].keys() == {f"I500000_E100_{stem}_gen.pth" for stem in STEMS}


def test_the_specification_is_the_authors_inference(prefix: Path, tmp_path: Path) -> None:
    spec = load_checkpoint(import_official(str(prefix), tmp_path / "c", name="han-2023"))[1]
    assert (spec.name, spec.scale.kind, spec.sigma_r, spec.clip) == ("han-2023", "maximum", 1, 1)
    assert (spec.domain.voxel_mm, spec.domain.matrix) == ((1.65, 1.65, 1.65), (128, 128))
    assert (spec.schedule, spec.sampler) == (
        ScheduleSpec(kind="linear-beta", beta_start=1e-6, beta_end=0.5, timesteps=10),
        SamplerSpec(kind="ddpm", steps=10),
    )


def test_sizes_are_read_off_the_tensors(tmp_path: Path) -> None:
    original = scrambled(OTHER)
    write_official(original, tmp_path / "in" / "run")
    model, spec, _ = load_checkpoint(import_official(str(tmp_path / "in" / "run"), tmp_path / "c"))
    assert spec.network == OTHER
    assert_same_weights(model, original)


def test_files_saved_from_inside_data_parallel(prefix, original, tmp_path):
    for stem in STEMS:
        rewrite(file_of(prefix, stem), lambda s: {f"module.{key}": v for key, v in s.items()})
    model, _, _ = load_checkpoint(import_official(str(prefix), tmp_path / "c"))
    assert_same_weights(model, original)


def test_an_existing_output_is_kept_unless_told(prefix: Path, tmp_path: Path) -> None:
    out, thesis = tmp_path / "checkpoint", tmp_path / "thesis"
    save_checkpoint(out, Model(SMALL), model_spec(SMALL))
    thesis.mkdir()
    (thesis / "chapter").write_text("years of work")
    (tmp_path / "file").write_text("")
    for path, options, says in (
        (out, {}, "exists"),
        (thesis, {"overwrite": True}, "exists"),
        (tmp_path / "file" / "c", {}, "cannot write"),
        (tmp_path / "c", {"name": "my model"}, "is not a model name"),
    ):
        with pytest.raises(UsageError, match=says):
            import_official(str(prefix), path, **options)
    assert (thesis / "chapter").read_text() == "years of work"
    assert load_checkpoint(out)[1].name == "tiny"
    import_official(str(prefix), out, overwrite=True)
    assert load_checkpoint(out)[1].name == "official"


class Payload:
    """Runs a shell command when unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def zipped(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def legacy(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def bare(content: object) -> bytes:
    return pickle.dumps(content, protocol=2)


NAMED = r"contains Python code or objects \(\S+\); nothing was run"
UNNAMED = (
    "not a PyTorch file of plain tensors; nothing in it was run"  # opcodes that torch never writes
)


@pytest.mark.parametrize(
    ("write", "reason"), [(zipped, NAMED), (legacy, NAMED), (bare, NAMED), (pickle.dumps, UNNAMED)]
)
@pytest.mark.parametrize("stem", ["PreNet", "guide_spectrum_3"])
def test_code_in_a_file_never_runs(prefix, tmp_path, write, reason, stem):
    side_effect = tmp_path / "side-effect"
    payload = Payload(f"touch '{side_effect}'")
    pickle.loads(pickle.dumps(payload))
    assert side_effect.exists()  # the payload works
    side_effect.unlink()
    state = torch.load(file_of(prefix, stem), weights_only=True)
    replace(file_of(prefix, stem), write({**state, "conv.weight": payload}))
    with pytest.raises(InputError, match=rf"{stem}_gen.pth .*{reason}") as caught:
        import_official(str(prefix), tmp_path / "c")
    assert "weights_only" not in str(caught.value)  # torch's own advice is to switch the guard off
    assert not side_effect.exists()
    assert not (tmp_path / "c").exists()


def truncate(path: Path) -> None:
    content = path.read_bytes()
    replace(path, content[: len(content) // 2])


def truncate_legacy(path: Path) -> None:
    content = legacy(torch.load(path, weights_only=True))
    replace(path, content[: len(content) // 2])


def tear_out_a_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:64] = bytes(64)
    replace(path, bytes(content))


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGED = "is damaged, or not a PyTorch file of plain tensors"
NO_STATE = "is not a state dict of tensors"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, DAMAGED),
        (truncate_legacy, DAMAGED),
        (tear_out_a_page, DAMAGED),
        (lambda p: replace(p, b""), DAMAGED),
        (lambda p: replace(p, np.random.default_rng(0).bytes(5000)), DAMAGED),
        (lambda p: replace(p, b"<!DOCTYPE html><html>Sign in</html>"), DAMAGED),
        (make_a_folder, "cannot be read"),
        (lambda p: replace(p, zipped(torch.ones(3))), NO_STATE),
        (lambda p: replace(p, zipped([torch.ones(3)])), NO_STATE),
        (lambda p: replace(p, zipped({"epoch": 3, "optimizer": {"state": {}}})), NO_STATE),
        (lambda p: replace(p, zipped({1: torch.ones(3)})), NO_STATE),
        (lambda p: replace(p, zipped({"downs.0.weight": torch.ones(3).to_sparse()})), NO_STATE),
        (lambda p: replace(p, zipped({"w": torch.ones(3, device="meta")})), NO_STATE),
        (lambda p: replace(p, zipped({"w": torch.ones(1).expand(1 << 40)})), NO_STATE),
        (lambda p: replace(p, zipped({})), "no tensor"),
    ],
)
@pytest.mark.parametrize("stem", ["DenoiseNet", "guide_3D_2"])
def test_files_that_are_no_state_dict(prefix, tmp_path, stem, damage, message):
    damage(file_of(prefix, stem))
    with pytest.raises(InputError, match=rf"^I500000_E100_{stem}_gen.pth:? {message}") as caught:
        import_official(str(prefix), tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("stem", STEMS)
def test_every_file_is_needed(prefix: Path, tmp_path: Path, stem: str) -> None:
    file_of(prefix, stem).unlink()
    with pytest.raises(InputError, match=f"{stem}_gen.pth does not exist; .*files of I500000_E100"):
        import_official(str(prefix), tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_wrong_prefix_is_told_the_right_ones(prefix: Path, tmp_path: Path) -> None:
    shutil.copy(file_of(prefix, "PreNet"), tmp_path / "in" / "I20000_E4_PreNet_gen.pth")
    with pytest.raises(InputError, match="files of I20000_E4, I500000_E100"):
        import_official(f"{prefix}_", tmp_path / "c")
    with pytest.raises(InputError, match=r"^r_PreNet_gen\.pth does not exist; give the folder"):
        import_official(str(tmp_path / "nowhere" / "r"), tmp_path / "c")


def drop(key: str) -> Callable[[State], None]:
    return lambda state: state.__delitem__(key)


def add(key: str) -> Callable[[State], None]:
    return lambda state: state.update({key: torch.zeros(1)})


def shorten(key: str) -> Callable[[State], None]:
    return lambda state: state.update({key: state[key][:-1].clone()})


def cast(key: str, dtype: torch.dtype) -> Callable[[State], None]:
    return lambda state: state.update({key: state[key].to(dtype)})


def poison(key: str, value: float) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[key][-1] = value

    return change


def without_last_level(state: State) -> None:
    for key in [key for key in state if key.startswith(("downs.6", "downs.7"))]:
        del state[key]


def wider_second_level(state: State) -> None:
    state["downs.3.res_block.block1.block.3.weight"] = torch.zeros(72, 32, 3, 3)


def of_base(width: int) -> Callable[[State], None]:
    """Every convolution that fixes the layout, for another base width."""

    def change(state: State) -> None:
        state["downs.0.weight"] = torch.zeros(width, 1, 3, 3)
        for level, index in enumerate((1, 3, 5, 7)):
            key = f"downs.{index}.res_block.block1.block.3.weight"
            state[key] = torch.zeros(width * (level + 1), 1, 3, 3)

    return change


def narrow_stem(state: State) -> None:
    state["block.0.weight"] = torch.zeros(12, 5, 3, 3)


def flat_stem(state: State) -> None:
    state["block.0.weight"] = torch.zeros(8)


def huge(state: State) -> None:
    state["downs.0.weight"] = torch.zeros(1 << 40, 0, 3, 3)


NORM, MLP = "block.4.res_block.block2.block.0.weight", "denoise_fn.noise_level_mlp.1.weight"
FIRST, QKV = "downs.3.res_block.block1.block.3.weight", "denoise_fn.mid.0.attn.qkv.weight"
HEAD = "final_conv.block.3.bias"
D, G1, G2, G3 = "DenoiseNet", "guide_3D_1", "guide_3D_2", "guide_3D_3"
MISFITS: list[tuple[str, Callable[[State], None], str]] = [
    ("PreNet", drop("ups.7.res_block.res_conv.bias"), r"no tensor ups\.7\.res_block"),
    ("PreNet", drop(FIRST), f"no tensor {FIRST}"),
    (D, drop(MLP), f"no tensor {MLP}"),
    ("guide_spectrum_3", drop(NORM), f"no tensor {NORM}"),
    ("PreNet", add("noise_level_mlp.1.weight"), r"unknown tensor noise_level_mlp"),
    ("PreNet", add("head.conv.bias"), r"unknown tensor head\.conv\.bias"),  # our own name
    (D, add("logvar"), "unknown tensor logvar"),
    ("PreNet", add("betas"), "unknown tensor betas"),
    (G1, add("downs.1.conv.bias"), r"unknown tensor downs\.1\.conv\.bias"),
    (G3, shorten("conv.bias"), r"conv\.bias is \(4,\), expected \(5,\)"),
    (D, shorten(QKV), r"qkv\.weight is \(383, 128, 1, 1\), expected \(384, 128, 1, 1\)"),
    ("PreNet", poison(HEAD, float("nan")), f"{HEAD} is not finite"),
    (G2, poison("block.0.weight", float("inf")), r"block\.0\.weight is not finite"),
    ("PreNet", cast("downs.0.bias", torch.float16), r"downs\.0\.bias is torch\.float16"),
    ("PreNet", without_last_level, "its levels have widths"),
    ("PreNet", wider_second_level, r"widths \[\[32\], \[72\], \[96\], \[128\]\]"),
    ("PreNet", of_base(48), "norm_groups 32 does not divide base 48"),
    (G1, narrow_stem, "norm_groups 8 does not divide"),
    ("PreNet", huge, "not a convolution's"),
    (G1, flat_stem, r"block\.0\.weight is \(8,\)"),
]


@pytest.mark.parametrize(("stem", "change", "message"), MISFITS)
def test_files_that_do_not_fit(prefix, tmp_path, stem, change, message):
    rewrite(file_of(prefix, stem), change)
    with pytest.raises(InputError, match=message) as caught:
        import_official(str(prefix), tmp_path / "c")
    assert str(caught.value).startswith(f"I500000_E100_{stem}_gen.pth: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]
