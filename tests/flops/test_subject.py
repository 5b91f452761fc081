"""What can be counted, from what, and what is said where something is missing."""

from __future__ import annotations

import json
import shutil

import pytest

from petrt.errors import DeviceError, InputError, UsageError
from petrt.export import bundle as export_onnx
from petrt.export.size import folded_count
from petrt.flops import subject as module
from petrt.flops.subject import Counted, count_subject
from petrt.nets import PRESETS, save_checkpoint
from petrt.nets.count import count
from tests.export.conftest import NETWORKS, model_spec, scrambled
from tests.models import tiny_model, tiny_spec


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_checkpoint(folder, tiny_model(), tiny_spec())
    return folder


def numbers(counted: Counted):
    return counted.folded, counted.unfolded, counted.size, counted.upsample


def test_preset_checkpoint_and_bundle_of_one_network_are_equal(tiny_bundle, checkpoint):
    preset = count_subject("tiny", 32, 40)
    for subject, kind in ((checkpoint, "checkpoint"), (tiny_bundle, "bundle")):
        counted = count_subject(str(subject), 32, 40)
        assert counted.kind == kind
        assert numbers(counted) == numbers(preset)
        assert counted.source == {"folded": "PyTorch and steps, equal", "unfolded": "PyTorch"}
    assert preset.kind == "preset"
    assert preset.unfolded == count(PRESETS["tiny"], 32, 40)


def test_steps_are_the_papers_or_the_models():
    assert count_subject("a", 16, 32).steps == 100
    assert count_subject("paper", 8, 16).steps == 10
    assert count_subject("demo", 8, 16).steps == 10


@pytest.mark.parametrize("name", ["denoiser", "coarse", "none", "dose", "four neighbours"])
@pytest.mark.parametrize("upsample", ["conv", "transposed"])
def test_bundles_of_every_kind(name, upsample, tmp_path):
    spec = NETWORKS[name]
    export_onnx.export_model(scrambled(spec), model_spec(spec), tmp_path / "b", upsample=upsample)
    counted = count_subject(str(tmp_path / "b"), 16, 16)
    assert counted.upsample == upsample
    assert counted.folded == folded_count(spec, 16, 16, upsample)


def test_what_is_nothing_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"no preset, checkpoint or bundle 'nothing'.*paper.*demo"):
        count_subject("nothing")
    with pytest.raises(InputError, match="holds no checkpoint"):
        count_subject(str(tmp_path))
    (tmp_path / "x.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is not a petrt model"):
        count_subject(str(tmp_path / "x.zip"))


@pytest.mark.parametrize("subject", ["paper", "demo"])
@pytest.mark.parametrize("size", [(100, 128), (128, 4), (0, 8)])
def test_sizes_that_the_networks_cannot_halve(subject, size):
    with pytest.raises(UsageError, match="multiples of 8"):
        count_subject(subject, *size)


def test_the_deepest_level_has_more_than_one_position():
    for subject, size in (("demo", 8), ("tiny", 4)):
        with pytest.raises(UsageError, match=f"the smallest is {size}x{2 * size}"):
            count_subject(subject, size, size)
        assert count_subject(subject, size, 2 * size)


def test_a_bundle_has_its_own_upsampling():
    with pytest.raises(UsageError, match="cannot be changed"):
        count_subject("demo", upsample="conv")


def test_a_preset_on_whose_size_the_counters_disagree_is_an_engine_error(monkeypatch):
    wrong = folded_count(PRESETS["tiny"], 16, 24)
    monkeypatch.setattr("petrt.export.size.folded_count", lambda *args: wrong)
    assert count_subject("tiny", 16, 24)
    with pytest.raises(DeviceError, match=r"PyTorch and steps disagree: .*coarse macs"):
        count_subject("tiny", 16, 16)


def rewritten(tiny_bundle, tmp_path, change):
    folder = tmp_path / "changed"
    shutil.copytree(tiny_bundle, folder)
    manifest = json.loads((folder / "model.json").read_text())
    change(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))
    return str(folder)


def test_graphs_of_other_networks_are_an_input_error(tiny_bundle, tmp_path):
    def other(manifest):
        manifest["model"]["network"]["denoiser"]["blocks"] = 2

    with pytest.raises(
        InputError, match=r"are not those of the networks in its model\.json.*denoiser"
    ):
        count_subject(rewritten(tiny_bundle, tmp_path, other), 16, 16)


def test_noise_bias_weights_of_other_networks_are_an_input_error(monkeypatch):
    monkeypatch.setattr(module, "noise_bias_parameters", lambda bundle: 1)
    with pytest.raises(InputError, match="noise bias 4224 and 1 parameters"):
        count_subject("demo", 16, 16)


def without_torch(monkeypatch):
    monkeypatch.setattr(module.packages, "torch", lambda: None)


def test_without_torch_the_unfolded_count_is_the_recorded_one(monkeypatch, tiny_bundle, tmp_path):
    both = count_subject("demo")
    without_torch(monkeypatch)
    alone = count_subject("demo")
    assert numbers(alone) == numbers(both)
    assert alone.source == {"folded": "steps", "unfolded": "its model.json"}
    other = count_subject("demo", 64, 64)
    assert other.unfolded is None
    assert "recorded for 128x128 only" in other.source["unfolded"]
    unrecorded = rewritten(tiny_bundle, tmp_path, lambda manifest: manifest["export"].pop("size"))
    assert count_subject(unrecorded).unfolded is None


@pytest.mark.parametrize("subject", ["paper", "nothing"])
def test_without_torch_there_are_only_bundles(monkeypatch, subject):
    without_torch(monkeypatch)
    with pytest.raises(UsageError, match=r"needs PyTorch.*petrt\[torch\]"):
        count_subject(subject)
