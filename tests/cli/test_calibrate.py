"""``petrt calibrate`` as a user runs it: a fit, a model that knows it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from petrt.cli.app import run
from petrt.data.dataset import Dataset, open_dataset
from petrt.evaluation.uncertainty.voxels import predicted_std
from petrt.model.bundle import MANIFEST, load_bundle
from petrt.model.spec import NetworkSpec
from tests.helpers import contents
from tests.models import Reconstructor
from tests.train.prepared import write

SETTING = ["--samples", "3", "--preset", "fast"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    write(folder, 3, noise=0.5)
    (folder / "train.txt").write_text("sub-0000\n")
    (folder / "validation.txt").write_text("sub-0001\nsub-0002\n")
    return open_dataset(folder)


@pytest.fixture
def model(tiny_bundle, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "model"))


@pytest.fixture
def calibrate(model, data, capsys):
    """Run the command; returns exit code, stdout and the lines of stderr."""

    def call(*arguments: object, setting: list[str] = SETTING, at: object = model):
        extra = ["--data", str(data.folder), "--threads", "1", *setting]
        code = run(["calibrate", str(at), *extra, *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out, output.err.splitlines()

    return call


def test_voxels_and_regions_are_fitted_stored_and_used(calibrate, model, data, tmp_path, capsys):
    before = contents(model)
    code, out, lines = calibrate(
        "-o", tmp_path / "new", "--json", tmp_path / "fit.json", "--plot", tmp_path / "fit.png"
    )
    assert code == 0, lines
    assert contents(model) == before
    old, new = load_bundle(model), load_bundle(tmp_path / "new")
    assert new.manifest.files == old.manifest.files
    fitted = new.model.uncertainty
    assert (fitted.level, fitted.subjects, fitted.doses) == (0.9, 2, (0.01, 0.05))
    assert len(fitted.fits) == 1
    assert (fitted.fits[0].sampler.kind, fitted.fits[0].samples) == ("mean", 3)
    # What is printed, what is written and what the model keeps are the same.
    record = json.loads((tmp_path / "fit.json").read_text())
    assert record["presets"]["fast"]["fit"] == fitted.fits[0].model_dump(mode="json")
    assert record["data"] == {
        "split": "validation",
        "subjects": ["sub-0001", "sub-0002"],
        "doses": [20, 100],
        "slab": None,
    }
    kept = new.manifest.export["uncertainty"]
    assert kept == {key: record[key] for key in ("label", "data", "seed", "level")}
    judged = record["presets"]["fast"]["doses"]
    covered = [judged[dose]["voxels"]["coverage"]["0.9"] for dose in ("1/20", "1/100")]
    assert np.mean(covered) == pytest.approx(0.9, abs=1e-3)
    assert record["label"] == "not for diagnostic use"
    for share in covered:
        assert f"{100 * share:.1f} %" in out
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")
    assert run(["inspect", str(tmp_path / "new")]) == 0
    assert "calibrated at 90 %" in " ".join(capsys.readouterr().out.split())


def test_the_map_covers_as_the_fit_says(calibrate, model, data, tmp_path):
    numbers = tmp_path / "fit.json"
    assert calibrate("--in-place", "--dose", "1/100", "--json", str(numbers))[0] == 0
    bundle = load_bundle(model)
    judged = json.loads(numbers.read_text())["presets"]["fast"]["doses"]["1/100"]
    reconstructor = Reconstructor(bundle, samples=3, threads=1, preset="fast")
    shares = []
    for name in ("sub-0001", "sub-0002"):
        pair = data.pair(name, 100)
        full = np.asarray(pair.full, np.float32) * pair.gain
        mean, std, _ = reconstructor.on_grid(np.asarray(pair.low), dose=0.01)
        map_ = predicted_std(bundle.model.uncertainty.fits[0].map, std, mean, 0.01)
        shares.append(np.mean((np.abs(mean - full) <= 1.64485 * map_)[full > 0.05 * full.max()]))
    assert np.mean(shares) == pytest.approx(judged["voxels"]["coverage"]["0.9"], abs=1e-3)


def test_all_presets_are_fitted_in_one_run(calibrate, model):
    assert calibrate("--in-place", setting=["--samples", "3", "--dose", "1/100"])[0] == 0
    fits = load_bundle(model).model.uncertainty.fits
    assert {(fit.sampler.kind, fit.sampler.steps) for fit in fits} == {("ddpm", 10), ("mean", 1)}


def test_check_judges_the_stored_fit_on_other_subjects(calibrate, model, tmp_path):
    assert calibrate("--in-place")[0] == 0
    kept = load_bundle(model).model.uncertainty.fits[0]
    before = contents(model)
    code, out, lines = calibrate(
        "--check", "--split", "train", "--json", tmp_path / "test.json", setting=[]
    )
    assert code == 0, lines
    assert contents(model) == before
    record = json.loads((tmp_path / "test.json").read_text())
    assert record["data"]["subjects"] == ["sub-0000"]
    assert record["presets"]["fast"]["fit"] == kept.model_dump(mode="json")
    assert "90 %" in out
    code, _, lines = calibrate("--check", setting=["--samples", "4"])
    assert code == 2
    assert "--samples" in lines[-1]


def test_a_calibrated_model_is_fitted_anew_from_its_plain_std(calibrate, model):
    assert calibrate("--in-place")[0] == 0
    first = load_bundle(model)
    assert calibrate("--in-place")[0] == 0
    assert load_bundle(model).identity == first.identity
    assert calibrate("--in-place", "--level", 0.5)[0] == 0
    assert load_bundle(model).model.uncertainty.level == 0.5


def test_fewer_subjects_and_slices(calibrate, tmp_path):
    arguments = ["--subjects", 1, "--slab", 8, "--json", tmp_path / "fit.json"]
    code, _, lines = calibrate("-o", tmp_path / "new.zip", *arguments)
    assert code == 0, lines
    assert load_bundle(tmp_path / "new.zip").model.uncertainty.subjects == 1
    assert json.loads((tmp_path / "fit.json").read_text())["data"]["slab"] == 8


@pytest.mark.parametrize(
    ("arguments", "setting", "code", "message"),
    [
        ([], SETTING, 2, "where the result goes"),
        (["-o", "{new}", "--in-place"], SETTING, 2, "where the result goes"),
        (
            ["-o", "{new}", "--split", "exam"],
            SETTING,
            2,
            "'--split': 'exam' is not one of 'train', 'validation'",
        ),
        (["-o", "{new}", "--samples", "1"], SETTING, 2, "at least two samples"),
        (["-o", "{new}", "--level", "1"], SETTING, 2, "--level"),
        (["-o", "{new}", "--dose", "1"], SETTING, 2, "no reduced dose"),
        (["-o", "{new}"], ["--preset", "quick"], 2, "'--preset': 'quick' is not one of"),
        (["-o", "{new}", "--dose", "1/50"], SETTING, 3, "sub-0001 has no 1/50 dose"),
        (["-o", "{new}", "--split", "test"], SETTING, 3, "no subjects"),
        (["-o", "{model}"], SETTING, 2, "model exists"),
        (["-o", "{new}", "--json", "{model}"], SETTING, 2, "the output is a folder"),
        (
            ["-o", "{new}", "--json", "{model}/model.json", "--overwrite"],
            SETTING,
            2,
            "also an input",
        ),
        (["--check"], [], 3, "has no calibration"),
    ],
)
def test_refusals_come_first_and_leave_nothing(
    calibrate, model, tmp_path, arguments, setting, code, message
):
    before = contents(model)
    paths = {"new": tmp_path / "new", "model": model}
    got, _, lines = calibrate(*(a.format(**paths) for a in arguments), setting=setting)
    assert got == code
    assert message in lines[-1]
    assert len(lines) == 1, lines
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert contents(model) == before


def change(model: Path, **values: object) -> None:
    manifest = json.loads((model / MANIFEST).read_text())
    manifest["model"] |= values
    (model / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"domain": {"voxel_mm": [2.0, 2.0, 3.0]}}, "voxels are 2 mm along z, the model's 3 mm"),
        ({"scale": {"kind": "maximum"}}, "scaled by 'smoothed-hottest'"),
    ],
)
def test_data_on_another_grid_or_scale_is_refused(calibrate, model, tmp_path, values, message):
    change(model, **values)
    code, _, lines = calibrate("-o", tmp_path / "new")
    assert (code, len(lines)) == (3, 1)
    assert message in lines[0]


def test_a_model_without_a_denoiser_is_refused(calibrate, model, tmp_path):
    network = NetworkSpec.model_validate(load_bundle(model).model.network.model_dump())
    change(model, network=network.model_copy(update={"denoiser": None}).model_dump(mode="json"))
    code, _, lines = calibrate("-o", tmp_path / "new")
    assert (code, len(lines)) == (3, 1)
    assert "no denoiser" in lines[0]


def test_a_shipped_model_is_not_changed_in_place(calibrate):
    code, _, lines = calibrate("--in-place", at="demo")
    assert (code, len(lines)) == (2, 1)
    assert "is not a folder or .zip" in lines[0]


def test_volumes_that_have_changed_are_refused_once_at_the_start(calibrate, data, tmp_path):
    other = Path(shutil.copytree(data.folder, tmp_path / "data"))
    path = other / "volumes" / "sub-0002_full.npy"
    path.write_bytes(path.read_bytes()[:-64] + bytes(64))
    target = ["-o", tmp_path / "new", "--data", str(other)]
    code, _, said = calibrate(*target)
    assert (code, said) == (
        3,
        [
            "petrt: error: sub-0002, full: its content has changed; "
            "write it again with petrt prepare"
        ],
    )
    assert not (tmp_path / "new").exists()
    assert calibrate(*target, "--subjects", "1")[0] == 0  # the other subject is whole
    code, _, said = calibrate("-o", tmp_path / "newer", "--data", str(other), "--no-verify")
    assert code == 0, said
