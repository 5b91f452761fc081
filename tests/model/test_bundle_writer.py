"""A bundle with another model.json: same files, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from petrt.errors import UsageError
from petrt.files import atomic
from petrt.model.bundle import MANIFEST, load_bundle
from petrt.model.bundle_writer import (
    check_bundle_output,
    check_in_place,
    replace_model,
    write_bundle,
)
from petrt.model.spec import CalibrationSpec, ModelSpec, SamplerSpec
from tests.model.test_bundle import zipped

FITTED = CalibrationSpec(factor=3.25, level=0.9, sampler=SamplerSpec(), samples=8, subjects=2)


def content(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {file.name: file.read_bytes() for file in path.iterdir()}


def calibrated(model: ModelSpec) -> ModelSpec:
    return model.model_copy(update={"calibration": FITTED})


@pytest.fixture(params=["folder", "archive"])
def source(request, tiny_bundle, tmp_path) -> Path:
    if request.param == "archive":
        return zipped(tiny_bundle, tmp_path / "model.zip")
    return Path(shutil.copytree(tiny_bundle, tmp_path / "model"))


@pytest.mark.parametrize("name", ["new", "new.zip", "deep/er/new"])
def test_new_bundle_differs_in_its_manifest_alone(source, tmp_path, name):
    before = content(source)
    old = load_bundle(source)
    new = write_bundle(old, calibrated(old.model), tmp_path / name, note={"calibration": {"n": 2}})
    assert new.model.calibration == FITTED
    assert new.model.model_copy(update={"calibration": None}) == old.model
    assert new.files == old.files
    assert new.manifest.files == old.manifest.files
    assert new.manifest.export == {**old.manifest.export, "calibration": {"n": 2}}
    assert new.identity != old.identity
    assert (tmp_path / name).is_file() == name.endswith(".zip")
    assert content(source) == before


def test_in_place_touches_nothing_but_the_manifest(source):
    before, old = content(source), load_bundle(source)
    replace_model(old, calibrated(old.model), check_in_place(source))
    new = load_bundle(source)
    assert new.model.calibration == FITTED
    assert new.files == old.files
    after = content(source)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == ({source.name} if source.is_file() else {MANIFEST})
    replace_model(new, old.model, source)
    assert load_bundle(source).identity == old.identity


@pytest.mark.parametrize("in_place", [True, False])
def test_an_interrupt_leaves_the_old_bundle_and_nothing_new(
    source, tmp_path, monkeypatch, in_place
):
    before, old = content(source), load_bundle(source)
    there = sorted(tmp_path.iterdir())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_publish", interrupted)
    monkeypatch.setattr(Path, "rename", interrupted)
    write, target = (replace_model, source) if in_place else (write_bundle, tmp_path / "new")
    with pytest.raises(KeyboardInterrupt):
        write(old, calibrated(old.model), target)
    assert content(source) == before
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.parametrize("name", ["new", "new.zip"])
def test_an_existing_output_is_kept_unless_told(tiny_bundle, tmp_path, name):
    old, out = load_bundle(tiny_bundle), tmp_path / name
    write_bundle(old, old.model, out)
    before = content(out)
    for refuse in (check_bundle_output, lambda path: write_bundle(old, old.model, path)):
        with pytest.raises(UsageError, match="exists"):
            refuse(out)
    assert content(out) == before
    check_bundle_output(out, overwrite=True)
    assert write_bundle(old, calibrated(old.model), out, overwrite=True).model.calibration


def test_overwriting_spares_what_is_no_bundle(tiny_bundle, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("1")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="thesis exists"):
            check_bundle_output(tmp_path / "thesis", overwrite=overwrite)


def test_equal_archives_are_equal_bytes(tiny_bundle, tmp_path):
    old = load_bundle(tiny_bundle)
    for name in ("a.zip", "b.zip"):
        write_bundle(old, calibrated(old.model), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_shipped_model_is_not_changed_in_place():
    with pytest.raises(UsageError, match="write a new bundle"):
        check_in_place("demo")
