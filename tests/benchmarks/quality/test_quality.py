"""The quality benchmark end to end, with the tiny networks and small subjects."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmarks.quality import classical as quality_classical
from benchmarks.quality import run as quality
from benchmarks.quality import sections as quality_sections
from benchmarks.quality.cases import TEMPLATE, QualityCase, View, head_box, simulated
from benchmarks.quality.model import Settings, ams, reconstruct
from benchmarks.quality.scores import hot_lesions, regions, score
from benchmarks.quality.store import Measured, Store
from petrt.data.simulate import write_dataset
from petrt.data.simulate.phantom import GREY, LESION, WHITE
from petrt.model.bundle import load_bundle
from petrt.nets.checkpoint import save_checkpoint
from tests.models import tiny_model, tiny_spec

SHAPE = (40, 40, 12)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subjects")
    write_dataset(folder, [900, 901], 2023, (20, 100), shape=SHAPE)
    return folder


@pytest.fixture
def run(subjects, tiny_bundle, tmp_path, monkeypatch):
    """Runs sections as the command line does; returns quality.json's content."""
    monkeypatch.setattr(quality_sections, "REALISATIONS", 2)
    # A stand-in that smooths: the real one is optional and takes a minute.
    library = types.SimpleNamespace(bm4d=lambda image, sigma: image * (1 - min(sigma, 0.5)))
    monkeypatch.setitem(sys.modules, "bm4d", library)
    monkeypatch.setattr(quality_classical, "version", lambda name: "0")

    def main(*sections: str, doses: str = "100") -> dict:
        arguments = [
            *sections,
            "--subjects",
            "2",
            "--subjects-dir",
            subjects,
            "--doses",
            *doses.split(),
            "--model",
            tiny_bundle,
            "--plain",
            tiny_bundle,
            "--samples",
            "2",
            "--threads",
            "1",
            "--work",
            tmp_path / "work",
            "--out",
            tmp_path,
        ]
        monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, arguments)])
        quality.main()
        return json.loads((tmp_path / "quality.json").read_text())

    return main


@pytest.mark.slow
def test_filters_model_and_calibration_in_one_table(run, tmp_path):
    found = run("classical", "bm4d", "model", "calibration")
    sections = found["sections"]
    assert set(sections) == {"classical", "bm4d", "model", "calibration"}
    assert sections["model"]["subjects"] == ["sub-0900", "sub-0901"]
    filters, ours = (sections[name]["values"]["1/100"] for name in ("classical", "model"))
    assert set(filters) == {"low-dose", "best Gaussian", "non-local means"}
    assert set(ours) == {"plain U-Net (row b)", "coarse", "one sample", "AMS-2"}
    for key in (
        "standard.psnr",
        "paper.ssim",
        "inference.nmse",
        "truth.psnr",
        "sd",
        "activity_ratio",
        "grey_bias",
        "white_bias",
        "lesion_peak_bias",
    ):
        assert len(ours["AMS-2"][key]) == 2
    # A filter whose strength is chosen on the reference is never worse than none.
    psnr = {name: numbers["standard.psnr"] for name, numbers in filters.items()}
    assert np.all(np.array(psnr["best Gaussian"]) >= psnr["low-dose"])
    coverage = sections["calibration"]["doses"]["1/100"]["coverage"]["samples' std"]
    shares = [coverage[level]["mean"] for level in ("0.5", "0.8", "0.9", "0.95")]
    assert shares == sorted(shares)
    bars = {bar["what"]: bar for bar in found["bars"]}
    assert bars["AMS over low-dose"]["met"] is False  # random weights
    assert bars["AMS over BM4D"]["subjects"] == 2
    for name in ("quality.md", "quality.png", "quality_std.png"):
        assert 0 < (tmp_path / name).stat().st_size < 400_000


@pytest.mark.slow
def test_a_section_run_again_measures_nothing_and_changes_nothing(run, monkeypatch):
    first = run("classical", doses="100 20")
    assert set(first["sections"]["classical"]["values"]) == {"1/100", "1/20"}
    monkeypatch.setattr(quality_classical, "measure", None)  # calling it would fail
    assert run("classical", doses="100 20")["sections"] == first["sections"]


@pytest.mark.slow
def test_rows_from_a_bundle_and_from_a_run(run, tiny_bundle, tmp_path, monkeypatch):
    rows = tmp_path / "rows"
    shutil.copytree(tiny_bundle, rows / "e")
    config = {"steps": 3}
    checkpoint = rows / "c" / "checkpoints" / "step-00000003"
    checkpoint.parent.mkdir(parents=True)
    save_checkpoint(checkpoint, tiny_model(), tiny_spec(), step=3, config=config)
    found = run("rows", "--rows", str(rows), "--head", "--every", "1")
    record = found["sections"]["rows"]
    assert set(record["rows"]) == {"c", "e"}
    c, e = (record["rows"][name]["values"]["1/100"] for name in "ce")
    assert set(c) == {"coarse", "one sample", "AMS-2"}
    # The same weights: the export of the checkpoint is the bundle.
    assert c["AMS-2"]["standard.psnr"] == pytest.approx(e["AMS-2"]["standard.psnr"], abs=1e-3)
    whats = {each["what"] for each in found["differences"]}
    assert "row c - row b" in whats
    assert "row d - row c" not in whats
    save_checkpoint(checkpoint, tiny_model(), tiny_spec(), step=2, config=config)
    with pytest.raises(SystemExit, match="row c was trained for 2 of 3 steps"):
        run("rows", "--rows", str(rows))


def test_real_anatomy(run, subjects, tmp_path, monkeypatch, capsys):
    template = nibabel.load(subjects / "sub-0901_rec-truth_pet.nii.gz")
    data = (template.get_fdata() / 2e4).astype(np.float32)
    nibabel.Nifti1Image(data, template.affine).to_filename(tmp_path / TEMPLATE)
    monkeypatch.setenv("PETRT_DATA", str(tmp_path))
    found = run("real-classical", "real-bm4d", "real-model")
    values = found["sections"]["real-classical"]["values"]["1/100"]
    low = values["low-dose"]
    assert found["sections"]["real-classical"]["subjects"] == ["noise-0", "noise-1"]
    assert low["standard.psnr"][0] != low["standard.psnr"][1]
    assert low["activity_ratio"] == pytest.approx([1, 1], abs=0.01)
    assert "grey_bias" not in low  # no labels
    on = {each["on"] for each in found["differences"]}
    assert on == {"real-model"}
    assert "Real brain" in (tmp_path / "quality.md").read_text()
    (tmp_path / TEMPLATE).unlink()
    assert run("real-model")["sections"] == found["sections"]
    assert "real-model is left out: no brain_fdg_template.nii.gz" in capsys.readouterr().out


def test_bm4d_is_optional(run, monkeypatch):
    def absent(name: str) -> str:
        raise quality_classical.PackageNotFoundError(name)

    monkeypatch.setattr(quality_classical, "version", absent)
    assert set(run("classical")["sections"]) == {"classical"}
    with pytest.raises(SystemExit, match="pip install bm4d"):
        run("bm4d")


def test_calibration_needs_the_model_to_be_measured(run):
    with pytest.raises(SystemExit, match="has not measured sub-0900_1to100"):
        run("calibration")


@pytest.fixture(scope="module")
def case(subjects) -> QualityCase:
    return simulated(subjects)(900, 100)


def test_subjects_are_read_with_their_grid_or_named_as_missing(case):
    assert case.name == "sub-0900_1to100"
    assert case.low.shape == SHAPE
    assert case.voxel_mm == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="lacks sub-0777"):
        simulated(Path("/nonexistent"))(777, 100)


def test_slices_alone_are_those_of_the_whole_volume(case, tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    whole = reconstruct(bundle, case, Settings(2, 0, 1, {case.dose: View()}), samples=2)
    some = reconstruct(bundle, case, Settings(2, 0, 1, {case.dose: View(every=4)}), samples=2)
    for part in ("image", "std", "coarse"):
        every = getattr(whole, part)[:, :, ::4]
        np.testing.assert_allclose(getattr(some, part), every, rtol=1e-5, atol=1e-4 * every.max())


def test_the_heads_box_holds_all_that_is_active(case):
    full = np.zeros((64, 60, 40), np.float32)
    full[20:37, 30:45, 5:9] = 100.0
    box = head_box(full)
    assert full[box].sum() == full.sum()
    assert [s.stop - s.start for s in box[:2]] == [40, 32]  # 17 + 2 * 8 and 15 + 2 * 8, to 8
    assert (box[2].start, box[2].stop) == (0, 17)
    cut = View(head=True, every=2).cut(case)
    assert cut.low.shape == cut.full.shape == cut.labels.shape
    assert cut.low.shape[2] == -(-head_box(case.full)[2].stop // 2)


def lesions() -> QualityCase:
    """Grey (10) and white (4) halves with a hot (20) and a cold (1) lesion."""
    truth = np.full((24, 24, 24), 10.0, np.float32)
    labels = np.full(truth.shape, GREY, np.uint8)
    truth[12:], labels[12:] = 4.0, WHITE
    for at, value in ((slice(2, 8), 20.0), (slice(14, 20), 1.0)):
        truth[at, 2:8, 2:8], labels[at, 2:8, 2:8] = value, LESION
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    return QualityCase("sub-0001", 100, truth, truth, truth, labels, affine)


def test_biases_by_hand():
    made = lesions()
    found = regions(made.full * np.float32(1.1), made.full, made, lesions=True)
    assert {key: round(value, 3) for key, value in found.items()} == {
        "grey_bias": 10.0,
        "white_bias": 10.0,
        "lesion_peak_bias": 10.0,
    }
    image = made.full.copy()
    image[made.labels == WHITE] *= 0.9
    image[2:8, 2:8, 2:8] = 18.0
    found = regions(image, made.full, made, lesions=True)
    assert found["grey_bias"] == pytest.approx(0)
    assert found["white_bias"] == pytest.approx(-10)
    assert found["lesion_peak_bias"] == pytest.approx(-10, abs=1)
    assert "lesion_peak_bias" not in regions(image, made.full, made, lesions=False)


def test_only_hot_lesions_have_a_peak():
    hot = hot_lesions(lesions())
    assert np.count_nonzero(hot) == 6**3
    assert hot[4, 4, 4] > 0
    assert hot[16, 4, 4] == 0


def test_the_reference_itself_is_perfect(case):
    numbers = score(case.full, case)
    assert numbers["standard.ssim"] == pytest.approx(1)
    assert numbers["standard.nmse"] == 0
    assert numbers["activity_ratio"] == 1
    assert numbers["grey_bias"] == 0


def test_other_settings_have_other_results(tmp_path):
    first, second = (Store(tmp_path, "model", {"samples": n}) for n in (4, 8))
    first.put("case", Measured({"m": {"standard.psnr": 1.0}}, {"seconds": 1}, {"a": np.arange(3)}))
    assert second.get("case") is None
    again = Store(tmp_path, "model", {"samples": 4}).get("case")
    assert again is not None
    assert again.methods == {"m": {"standard.psnr": 1.0}}
    np.testing.assert_array_equal(again.arrays["a"], [0, 1, 2])


def test_the_mean_of_samples_is_named_by_its_number():
    assert ams(8) == "AMS-8"
