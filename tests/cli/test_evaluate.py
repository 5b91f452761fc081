"""petrt evaluate as a user runs it: table, JSON, exit codes, nothing left behind on failure."""

from __future__ import annotations

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from petrt.cli.app import run
from petrt.evaluation.activity import roi_statistics
from petrt.evaluation.metrics import PROTOCOLS, evaluate
from tests.suv.cases import HOUR
from tests.suv.series_files import AFFINE as SERIES_AFFINE
from tests.suv.series_files import PHILIPS, write

SHAPE = (14, 13, 12)
AFFINE = np.array([[2.0, 0, 0, -14], [0, 2, 0, -13], [0, 0, 3, -18], [0, 0, 0, 1]])


def save(path, data, affine=AFFINE) -> str:
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prediction and reference in Bq/ml, and labels 1 (background) and 2."""
    rng = np.random.default_rng(2)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:12, 2:11, 2:10] = 1
    labels[5:9, 5:8, 4:8] = 2
    reference = np.array([0, 2000, 9000], np.float32)[labels]
    prediction = reference + rng.normal(0, 300, SHAPE).astype(np.float32)
    return prediction, reference, labels


@pytest.fixture
def case(tmp_path):
    """The three volumes as files: a dictionary of paths."""
    names = ("prediction", "reference", "labels")
    return {n: save(tmp_path / f"{n}.nii.gz", v) for n, v in zip(names, volumes(), strict=True)}


def test_table_and_json_hold_the_numbers(case, tmp_path, capsys):
    out = tmp_path / "out.json"
    arguments = [case["prediction"], case["reference"], "--labels", case["labels"]]
    assert run(["evaluate", *arguments, "--background", "1", "--json", str(out)]) == 0
    prediction, reference, labels = volumes()
    expected = evaluate(prediction, reference)
    report = json.loads(out.read_text())
    (frame,) = report["frames"]
    for name, numbers in expected.items():
        assert frame["metrics"][name] == pytest.approx(numbers, rel=1e-12)
    assert frame["scale"] == 9000
    assert frame["activity_ratio"] == pytest.approx(prediction.sum() / reference.sum(), rel=1e-5)
    rows = roi_statistics(prediction, labels, reference=reference, voxel_mm=(2, 2, 3), background=1)
    assert [roi["label"] for roi in frame["rois"]] == [1, 2]
    assert frame["rois"][1]["peak"] == pytest.approx(rows[1].peak)
    assert frame["rois"][1]["contrast_recovery"] == pytest.approx(rows[1].contrast_recovery)
    digest = hashlib.sha256((tmp_path / "prediction.nii.gz").read_bytes()).hexdigest()
    assert report["inputs"]["prediction"] == {"name": "prediction.nii.gz", "sha256": digest}
    assert report["protocols"]["paper"]["mask"] == "reference > 0.05 after scaling"

    printed = capsys.readouterr().out
    for name in expected:
        assert name in printed
        assert f"{expected[name]['psnr']:.2f}" in printed
    assert "scale of paper and inference: 9000" in printed
    assert "activity ratio" in printed
    assert f"{rows[1].mean:.0f}" in printed


def test_protocol_mask_and_scale_are_passed_on(case, tmp_path, capsys):
    out = tmp_path / "out.json"
    prediction, reference, labels = volumes()
    mask = save(tmp_path / "mask.nii", (labels == 2).astype(np.int16))
    common = ["evaluate", case["prediction"], case["reference"], "--json", str(out)]
    assert run([*common, "--protocol", "standard", "--mask", mask]) == 0
    expected = evaluate(prediction, reference, protocols=["standard"], mask=labels == 2)
    assert json.loads(out.read_text())["frames"][0]["metrics"]["standard"] == (
        pytest.approx(expected["standard"])
    )
    assert "inference" not in capsys.readouterr().out
    assert run([*common, "--scale", "20000", "--overwrite"]) == 0
    frame = json.loads(out.read_text())["frames"][0]
    expected = evaluate(prediction, reference, scale=20000)
    assert frame["metrics"]["inference"] == pytest.approx(expected["inference"])
    assert frame["scale"] == 20000


def test_equal_volumes_give_null_not_infinity(case, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert run(["evaluate", case["reference"], case["reference"], "--json", str(out)]) == 0
    metrics = json.loads(out.read_text())["frames"][0]["metrics"]
    assert [numbers["psnr"] for numbers in metrics.values()] == [None] * len(PROTOCOLS)
    assert "inf" in capsys.readouterr().out


def test_storage_order_does_not_matter(case, tmp_path):
    """The same grid stored left-to-right and with other axes first is still the same grid."""
    prediction, _, labels = volumes()
    turned = {}
    for name, data, codes in (("p", prediction, "LAS"), ("l", labels, "PSR")):
        image = nib.Nifti1Image(data, AFFINE)
        turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(codes))
        nib.save(image.as_reoriented(turn), tmp_path / f"{name}.nii")
        turned[name] = str(tmp_path / f"{name}.nii")
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    plain = [case["prediction"], case["reference"], "--labels", case["labels"]]
    assert run(["evaluate", *plain, "--json", str(one)]) == 0
    other = [turned["p"], case["reference"], "--labels", turned["l"]]
    assert run(["evaluate", *other, "--json", str(two)]) == 0
    assert json.loads(two.read_text())["frames"] == json.loads(one.read_text())["frames"]


def test_dynamic_series_frame_by_frame(tmp_path, capsys):
    prediction, reference, labels = volumes()
    series = {
        "p": np.stack([prediction, reference, 2 * reference], -1),
        "r": np.stack([reference] * 3, -1),
    }
    paths = [save(tmp_path / f"{n}.nii.gz", v) for n, v in series.items()]
    out, static = tmp_path / "out.json", save(tmp_path / "labels.nii.gz", labels)
    assert run(["evaluate", *paths, "--labels", static, "--json", str(out)]) == 0
    frames = json.loads(out.read_text())["frames"]
    assert frames[0]["metrics"]["paper"] == pytest.approx(evaluate(prediction, reference)["paper"])
    assert [frame["activity_ratio"] for frame in frames[1:]] == pytest.approx([1.0, 2.0])
    assert frames[2]["rois"][0]["mean_bias_percent"] == pytest.approx(100.0)
    assert "frame 3 of 3" in capsys.readouterr().out


MOVED = AFFINE + np.array([[0, 0, 0, 1.0]] + [[0] * 4] * 3)


@pytest.mark.parametrize(
    ("shape", "affine", "expected"),
    [
        ((*SHAPE[:2], 11), AFFINE, "14x13x11"),
        (SHAPE, MOVED, "from (-13, -13, -18)"),
        (SHAPE, AFFINE @ np.diag([1.01, 1, 1, 1]), "2.02x2x3 mm"),
        ((*SHAPE, 2), AFFINE, "frames: 2"),
    ],
)
def test_other_grids_are_refused(case, tmp_path, capsys, shape, affine, expected):
    other = save(tmp_path / "other.nii.gz", np.ones(shape, np.float32), affine)
    out = tmp_path / "out.json"
    assert run(["evaluate", other, case["reference"], "--json", str(out)]) == 3
    message = capsys.readouterr().err
    assert "other.nii.gz" in message
    assert expected in message
    assert "reference.nii.gz has 14x13x12 voxels of 2x2x3 mm" in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_rounded_headers_are_the_same_grid(case, tmp_path):
    prediction, _, _ = volumes()
    affine = AFFINE + np.array([[0, 0, 0, 1e-4]] + [[0] * 4] * 3)
    assert run(["evaluate", save(tmp_path / "p.nii", prediction, affine), case["reference"]]) == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--protocol", "Paper"], 2, "'--protocol': 'Paper' is not one of"),
        (["--background", "1"], 2, "--background needs --labels"),
        (["--mask", "{labels}", "--protocol", "paper"], 2, "mask"),
        (["--labels", "{labels}", "--background", "9"], 3, "background label 9"),
        (["--labels", "{prediction}"], 3, "whole numbers"),
        (["--scale", "0"], 3, "scale"),
        (["--mask", "absent.nii.gz"], 3, "absent.nii.gz"),
        (["--json", "{reference}"], 2, "reference.nii.gz"),
    ],
)
def test_exit_codes(case, tmp_path, capsys, options, code, message):
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    options = [option.format(**case) for option in options]
    if "--json" not in options:
        options += ["--json", str(tmp_path / "out.json")]
    assert run(["evaluate", case["prediction"], case["reference"], *options]) == code
    streams = capsys.readouterr()
    assert message in streams.err
    assert streams.out == ""
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_existing_json_is_kept(case, tmp_path):
    out = tmp_path / "out.json"
    out.write_text("old")
    arguments = ["evaluate", case["prediction"], case["reference"], "--json", str(out)]
    assert run(arguments) == 2
    assert out.read_text() == "old"
    assert run([*arguments, "--overwrite"]) == 0
    assert json.loads(out.read_text())["frames"]


def test_hostile_names_are_printed_as_they_are(tmp_path, capsys):
    _, reference, _ = volumes()
    path = save(tmp_path / "[red]a[-]\x1b[31m.nii", reference)
    assert run(["evaluate", path, path]) == 0
    printed = capsys.readouterr().out
    assert "[red]a[-]" in printed
    assert "\x1b" not in printed


def test_nine_slices_have_all_numbers_but_one(case, tmp_path, capsys):
    out = tmp_path / "out.json"
    thin = {}
    for name, volume in zip(("prediction", "reference"), volumes()[:2], strict=True):
        thin[name] = save(tmp_path / f"{name}9.nii.gz", volume[..., 2:11])
    assert run(["evaluate", thin["prediction"], thin["reference"], "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "SSIM of standard undefined: an axis is shorter than its window (11 voxels)" in printed
    metrics = json.loads(out.read_text())["frames"][0]["metrics"]
    assert metrics["standard"]["ssim"] is None
    assert None not in (metrics["standard"]["psnr"], metrics["paper"]["ssim"])


def test_hints_name_options_that_there_are(case, tmp_path, capsys):
    holed = volumes()[0]
    holed[3, 4, 5] = np.nan
    pair = [save(tmp_path / "holed.nii.gz", holed), case["reference"]]
    assert run(["evaluate", *pair]) == 3
    assert "--nonfinite zero replaces them by 0" in capsys.readouterr().err
    assert run(["evaluate", *pair, "--nonfinite", "zero"]) == 0
    assert "holed.nii.gz: 1 NaN or infinite voxels replaced by 0" in capsys.readouterr().err
    assert run(["evaluate", *pair, "--nonfinite", "no"]) == 2
    pair[0] = case["prediction"]
    assert run(["evaluate", *pair, "--max-voxels", "2183"]) == 3
    assert "the limit is 2183; --max-voxels 2184 lets it in" in capsys.readouterr().err
    assert run(["evaluate", *pair, "--max-voxels", "2184"]) == 0


def test_suv_of_two_dicom_series(tmp_path, capsys):
    """Both are turned into SUV, also from different units."""
    write(tmp_path / "a", value=1100.0)
    factor = {"Units": "CNTS", "private": [(PHILIPS, 0x09, "0.5")]}
    write(tmp_path / "b", value=2000.0, **factor)
    arguments = ["evaluate", str(tmp_path / "a"), str(tmp_path / "b")]
    assert run(arguments) == 3
    assert (
        "is in Bq/ml, b in counts; --suv bw compares DICOM series in SUV" in capsys.readouterr().err
    )
    out = tmp_path / "out.json"
    labels = save(tmp_path / "labels.nii.gz", np.ones((5, 4, 6), np.uint8), SERIES_AFFINE)
    assert run([*arguments, "--suv", "bw", "--json", str(out), "--labels", labels]) == 0
    assert "a against b, in SUVbw (g/ml)" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["unit"] == "SUVbw (g/ml)"
    (frame,) = report["frames"]
    assert frame["scale"] == pytest.approx(1000 * HOUR, rel=1e-6)
    assert frame["activity_ratio"] == pytest.approx(1.1, rel=1e-5)
    assert frame["rois"][0]["mean"] == pytest.approx(1100 * HOUR, rel=1e-6)


def test_suv_needs_dicom_with_weight_and_dose(case, tmp_path, capsys):
    assert run(["evaluate", case["prediction"], case["reference"], "--suv", "bw"]) == 3
    error = capsys.readouterr().err
    assert "prediction.nii.gz: no SUV: not DICOM, so weight and dose are unknown" in error
    write(tmp_path / "a", PatientWeight=None)
    assert run(["evaluate", *[str(tmp_path / "a")] * 2, "--suv", "lbm"]) == 3
    assert "no SUV: DICOM field PatientWeight is absent or 0" in capsys.readouterr().err
    assert run(["evaluate", *[str(tmp_path / "a")] * 2]) == 0
    assert "a against a, in Bq/ml" in capsys.readouterr().out
    assert run(["evaluate", *[str(tmp_path / "a")] * 2, "--suv", "x"]) == 2


def test_the_unit_of_a_sidecar_is_said(case, tmp_path, capsys):
    (tmp_path / "prediction.json").write_text('{"Units": "Bq/mL"}')
    (tmp_path / "reference.json").write_text('{"Units": "BQML"}')
    assert run(["evaluate", case["prediction"], case["reference"]]) == 0
    assert "in Bq/ml" in capsys.readouterr().out
    (tmp_path / "reference.json").write_text('{"Units": "kBq/mL"}')
    assert run(["evaluate", case["prediction"], case["reference"]]) == 3
