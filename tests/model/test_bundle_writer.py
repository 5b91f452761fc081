"""A bundle with another model.json: same files, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from petrt.cli.app import run
from petrt.errors import InputError, UsageError
from petrt.export import export_model
from petrt.files import atomic
from petrt.model.bundle import MANIFEST, Bundle, load_bundle
from petrt.model.bundle_writer import (
    check_bundle_output,
    check_in_place,
    replace_model,
    upgraded,
    write_bundle,
)
from petrt.model.spec import CalibrationSpec, ModelSpec, SamplerSpec
from tests.export.conftest import NETWORKS, model_spec, scrambled
from tests.helpers import contents
from tests.model.rewritten import zipped
from tests.models import Reconstructor, noisy_blob

FITTED = CalibrationSpec(factor=3.25, level=0.9, sampler=SamplerSpec(), samples=8, subjects=2)


def calibrated(model: ModelSpec) -> ModelSpec:
    return model.model_copy(update={"calibration": FITTED})


@pytest.fixture(params=["folder", "archive"])
def source(request, tiny_bundle, tmp_path) -> Path:
    if request.param == "archive":
        return zipped(tiny_bundle, tmp_path / "model.zip")
    return Path(shutil.copytree(tiny_bundle, tmp_path / "model"))


@pytest.mark.parametrize("name", ["new", "new.zip", "deep/er/new"])
def test_new_bundle_differs_in_its_manifest_alone(source, tmp_path, name):
    before = contents(source)
    old = load_bundle(source)
    new = write_bundle(old, calibrated(old.model), tmp_path / name, note={"calibration": {"n": 2}})
    assert new.model.calibration == FITTED
    assert new.model.model_copy(update={"calibration": None}) == old.model
    assert new.files == old.files
    assert new.manifest.files == old.manifest.files
    assert new.manifest.export == {**old.manifest.export, "calibration": {"n": 2}}
    assert new.identity != old.identity
    assert (tmp_path / name).is_file() == name.endswith(".zip")
    assert contents(source) == before


def test_in_place_touches_nothing_but_the_manifest(source):
    before, old = contents(source), load_bundle(source)
    replace_model(old, calibrated(old.model), check_in_place(source))
    new = load_bundle(source)
    assert new.model.calibration == FITTED
    assert new.files == old.files
    after = contents(source)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == ({source.name} if source.is_file() else {MANIFEST})
    replace_model(new, old.model, source)
    assert load_bundle(source).identity == old.identity


@pytest.mark.parametrize("in_place", [True, False])
def test_an_interrupt_leaves_the_old_bundle_and_nothing_new(
    source, tmp_path, monkeypatch, in_place
):
    before, old = contents(source), load_bundle(source)
    there = sorted(tmp_path.iterdir())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_publish", interrupted)
    monkeypatch.setattr(Path, "rename", interrupted)
    write, target = (replace_model, source) if in_place else (write_bundle, tmp_path / "new")
    with pytest.raises(KeyboardInterrupt):
        write(old, calibrated(old.model), target)
    assert contents(source) == before
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.parametrize("name", ["new", "new.zip"])
def test_an_existing_output_is_kept_unless_told(tiny_bundle, tmp_path, name):
    old, out = load_bundle(tiny_bundle), tmp_path / name
    write_bundle(old, old.model, out)
    before = contents(out)
    for refuse in (check_bundle_output, lambda path: write_bundle(old, old.model, path)):
        with pytest.raises(UsageError, match="exists"):
            refuse(out)
    assert contents(out) == before
    check_bundle_output(out, overwrite=True)
    assert write_bundle(old, calibrated(old.model), out, overwrite=True).model.calibration


def test_equal_archives_are_equal_bytes(tiny_bundle, tmp_path):
    old = load_bundle(tiny_bundle)
    for name in ("a.zip", "b.zip"):
        write_bundle(old, calibrated(old.model), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def first_version(bundle: Bundle) -> Bundle:
    """``bundle`` as it would have been exported before there were steps."""
    steps = {f"{graph}.{suffix}" for graph in bundle.graphs for suffix in ("json", "safetensors")}
    kept = {name: data for name, data in bundle.files.items() if name not in steps}
    files = {name: bundle.manifest.files[name] for name in kept}
    manifest = bundle.manifest.model_copy(update={"version": 1, "files": files})
    return Bundle(manifest, kept, "old", bundle.source)


VOLUME = noisy_blob((16, 24, 5))


def images(bundle: Bundle, engine: str) -> np.ndarray:
    result = Reconstructor(bundle, samples=2, steps=2, engine=engine, device="cpu")(VOLUME)
    return np.stack([result.image, result.std, result.coarse])


@pytest.mark.parametrize("precision", ["fp32", "fp16-weights"])
def test_both_versions_compute_the_same_bits(tmp_path, precision):
    spec = model_spec(NETWORKS["dose"])
    export_model(scrambled(spec.network), spec, tmp_path / "new", precision=precision)
    new = load_bundle(tmp_path / "new")
    old = write_bundle(first_version(new), new.model, tmp_path / "old")
    assert (old.manifest.version, new.manifest.version) == (1, 2)
    again = write_bundle(upgraded(old), old.model, tmp_path / "again")
    assert again.manifest.version == 2
    assert again.manifest.export == old.manifest.export
    for name, data in old.files.items():
        assert again.files[name] == data
    for engine in ("native", "onnxruntime", "torch"):
        expected = images(old, engine)
        np.testing.assert_array_equal(images(new, engine), expected)
        np.testing.assert_array_equal(images(again, engine), expected)


@pytest.mark.filterwarnings("ignore::petrt.errors.DomainWarning")
def test_export_from_a_bundle_of_the_first_version(tmp_path, capsys):
    out, shipped = tmp_path / "new", load_bundle("demo")
    first = write_bundle(first_version(shipped), shipped.model, tmp_path / "first")
    assert run(["export", "--from", str(tmp_path / "first"), "-o", str(out)]) == 0
    new = load_bundle(out)
    assert new.model == first.model
    assert new.files.keys() - first.files.keys() == {
        f"{graph}.{suffix}" for graph in first.graphs for suffix in ("json", "safetensors")
    }
    np.testing.assert_array_equal(images(new, "native"), images(first, "native"))
    capsys.readouterr()
    for arguments, says in (
        (["--from", str(out), "-o", str(tmp_path / "x")], "of version 2 already"),
        (["--from", str(tmp_path / "first"), "-o", str(out)], "new exists"),
        (["--from", "demo", "-o", str(out), "--precision", "fp16-weights"], "does not change"),
        (["--from", "demo", "run", "-o", str(tmp_path / "x")], "a checkpoint or --from"),
        (["-o", str(tmp_path / "x")], "a checkpoint or --from"),
    ):
        assert run(["export", *arguments]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_onnx_that_petrt_did_not_write_is_not_upgraded(tiny_bundle):
    old = first_version(load_bundle(tiny_bundle))
    changed = old.files["coarse.onnx"].replace(b"Sigmoid", b"Softsig")
    with pytest.raises(InputError, match=r"coarse\.onnx: petrt does not know Softsig"):
        upgraded(Bundle(old.manifest, {**old.files, "coarse.onnx": changed}, "", ""))


CARD = """
population = "Simulated heads"
training = "60 subjects, 9500 steps"
numbers = ["30.65 dB at 1/100 on eight subjects"]
biases = ["white matter +4.7 %"]
"""


def test_a_model_card_is_kept_in_the_bundle_and_shown_first(tmp_path, capsys):
    (tmp_path / "card.toml").write_text(CARD)
    out, again = tmp_path / "new", tmp_path / "again"
    assert (
        run(["export", "--from", "demo", "-o", str(out), "--card", str(tmp_path / "card.toml")])
        == 0
    )
    (tmp_path / "card.toml").write_text(CARD.replace("heads", "bodies"))
    assert (
        run(["export", "--from", str(out), "-o", str(again), "--card", str(tmp_path / "card.toml")])
        == 0
    )
    first, second = load_bundle(out), load_bundle(again)
    assert first.model.card.population == "Simulated heads"
    assert second.model.card.population == "Simulated bodies"
    assert first.files == second.files
    capsys.readouterr()
    assert run(["inspect", str(again)]) == 0
    assert "trained on  Simulated bodies" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "named"),
    [("population = 3", "population"), ("people = ''", "population"), ("=", "TOML")],
)
def test_a_wrong_card_is_named_by_its_key(tmp_path, capsys, text, named):
    (tmp_path / "card.toml").write_text(text)
    out = tmp_path / "new"
    assert (
        run(["export", "--from", "demo", "-o", str(out), "--card", str(tmp_path / "card.toml")])
        == 3
    )
    assert named in capsys.readouterr().err
    assert not out.exists()
