"""From scans to a data set: what goes in, what is refused and why, what is written of it."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from petrt.cli.app import run
from petrt.data.dataset import open_dataset
from petrt.data.prepare import Options, prepare
from petrt.data.prepare.subject import label_grid
from petrt.data.simulate import write_dataset
from petrt.errors import InputError
from tests.data.prepare.scans import AFFINE, LOW, SHAPE, refusals, save, scan
from tests.helpers import contents
from tests.io.dicom.dicom_files import write_series


def test_a_clean_source(clean, tmp_path):
    done = []
    report = prepare([clean], tmp_path / "new" / "set", progress=lambda *at: done.append(at))
    assert done == [(k, 4) for k in (1, 2, 3, 4)]
    assert report.refused == ()
    dataset = open_dataset(tmp_path / "new" / "set", verify=True)
    assert dataset.ids == ("sub-0000", "sub-0001", "sub-0002", "sub-0003")
    assert {dataset.doses(name) for name in dataset.ids} == {(20, 100)}
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [2, 1, 1]
    assert dataset.voxel_mm == (4.0, 4.0, 4.0)
    assert sorted(path.name for path in tmp_path.joinpath("new").iterdir()) == ["set"]


def test_the_way_back_is_exact(clean, tmp_path):
    prepare([clean], tmp_path / "set", Options(dtype="float32"))
    dataset = open_dataset(tmp_path / "set")
    for number, name in enumerate(dataset.ids):
        pair = dataset.pair(name, 20)
        back = dataset.placement(name).from_network(pair.low * np.float32(pair.scale))
        np.testing.assert_allclose(back, scan(number, 20), rtol=3e-7)
        np.testing.assert_allclose(dataset.affine(name), AFFINE, atol=1e-6)


def test_other_voxels_and_a_crop(clean, tmp_path):
    options = Options(voxel_mm=(2.0, 2.0, 4.0), crop=((1, 17), (None, None), (2, -2)))
    prepare([clean], tmp_path / "set", options)
    dataset = open_dataset(tmp_path / "set")
    pair = dataset.pair("sub-0000", 20)
    assert pair.low.shape == (10, 32, 48)  # 16 and 22 voxels of 4 mm at 2 mm, padded
    crop = dataset.subject("sub-0000").crop
    assert (crop.start, crop.source_shape) == ((1, 0, 2), SHAPE)
    back = dataset.placement("sub-0000").from_network(pair.full.astype(np.float32))
    part = scan(0)[1:17, :, 2:12]
    assert np.corrcoef(back.ravel(), part.ravel())[0, 1] > 0.98


def test_nothing_that_names_a_patient_is_written_or_said(clean, tmp_path, capsys, caplog):
    (tmp_path / "s").mkdir()
    source = shutil.copytree(clean, tmp_path / "s" / "DOE")
    (source / LOW.format(0, 20)).write_bytes(b"no NIfTI")
    save(source / LOW.format(1, 20), scan(3, 20))
    assert run(["prepare", str(source), "--out", str(tmp_path / "set")]) == 5
    said = capsys.readouterr()
    texts = [path.read_text() for path in (tmp_path / "set").iterdir() if path.is_file()]
    for text in (*texts, said.out, said.err):
        for line in text.splitlines():
            if "base64" not in line:  # a picture may hold any letters
                assert "DOE" not in line
                assert "29052" not in line
    assert not [path for path in contents(tmp_path / "set") if "DOE" in path]


def test_bad_pairs_are_refused_by_name_and_the_rest_goes_on(source, tmp_path, caplog):
    save(source / LOW.format(0, 100), scan(0, 100)[:, :, 1:])
    save(source / LOW.format(1, 20), scan(2, 20))
    (source / LOW.format(2, 20)).write_bytes(b"<html>")
    shutil.rmtree(source / "Subject_1-4/290523_DOE/Full_dose")
    report = prepare([source], tmp_path / "set")
    reasons = refusals(report)
    assert len(reasons) == 4
    assert reasons["sub-0000", 100].startswith("another grid than the full dose")
    assert re.match("total activity|unlike the full dose", reasons["sub-0001", 20])
    assert reasons["sub-0002", 20].startswith("not NIfTI")
    assert reasons["sub-0003", None] == "no full-dose volume"
    dataset = open_dataset(tmp_path / "set", verify=True)
    assert dataset.ids == ("sub-0000", "sub-0001", "sub-0002")
    assert [dataset.doses(name) for name in dataset.ids] == [(20,), (100,), (100,)]
    assert len(list((tmp_path / "set" / "volumes").iterdir())) == 6
    page = (tmp_path / "set" / "summary.html").read_text()
    for (name, _), reason in reasons.items():
        assert name in page
        assert reason.split(";")[0][:20] in page
    assert "refused: sub-0003: no full-dose volume" in caplog.text


def test_doses_in_the_wrong_folders_are_refused(source, tmp_path):
    low, lower = (source / LOW.format(0, dose) for dose in (20, 100))
    a, b = low.read_bytes(), lower.read_bytes()
    low.write_bytes(b)
    lower.write_bytes(a)
    again = source / "Subject_1-4" / "290521_DOE" / "D20" / "x.nii"
    save(again, scan(1, 20))
    reasons = refusals(prepare([source], tmp_path / "set"))
    for dose in (20, 100):
        assert "1/100 is less noisy" in reasons["sub-0000", dose]
    assert reasons["sub-0000", None] == "no low-dose volume is left"
    assert reasons["sub-0001", 20] == "2 volumes of this dose; leave one"


def test_dicom_series_and_two_scans_of_one_patient(tmp_path):
    source = tmp_path / "source"
    for k, patient in enumerate(("P1", "P2", "P1", "P3")):
        for dose, folder in ((1, "NORMAL"), (10, "D10"), (100, "D100")):
            frame = "1.2.9" if (k, dose) != (3, 10) else "1.2.10"
            person = patient if (k, dose) != (3, 100) else "P9"
            fields = {"PatientID": person, "FrameOfReferenceUID": frame}
            write_series(source / f"case {k}" / f"WB {folder}", scan(k, dose), AFFINE, **fields)
    report = prepare([source], tmp_path / "set", Options(split=(0.5, 0.5, 0.0)))
    reasons = refusals(report)
    assert "another frame of reference" in reasons["sub-0003", 10]
    assert "another patient" in reasons["sub-0003", 100]
    dataset = open_dataset(tmp_path / "set")
    patients = [dataset.subject(name).patient for name in dataset.ids]
    assert patients == ["sub-0000", "sub-0001", "sub-0000"]
    assert report.split_of["sub-0000"] == report.split_of["sub-0002"] != report.split_of["sub-0001"]
    assert dataset.subject("sub-0001").source == "case 1"
    pair = dataset.pair("sub-0000", 10)
    back = dataset.placement("sub-0000").from_network(pair.low.astype(np.float32)) * pair.scale
    largest = scan(0, 10).max()
    # DICOM stores 16 bit a slice.
    assert np.abs(back).max() == pytest.approx(largest, rel=2e-3)
    for name in ("dataset.json", "summary.html"):
        assert "P1" not in (tmp_path / "set" / name).read_text().partition("<h2>A middle")[0]


def test_an_id_that_anonymisation_left_joins_nobody(tmp_path, caplog):
    for k in range(3):
        for dose, folder in ((1, "NORMAL"), (10, "D10")):
            write_series(tmp_path / "source" / f"{k}x" / folder, scan(k, dose), AFFINE)
    report = prepare([tmp_path / "source"], tmp_path / "set")
    assert len(set(report.split_of.values())) == 3
    assert "3 subjects share one patient ID, a placeholder" in caplog.text


def test_bids_units_must_agree(tmp_path):
    pet = tmp_path / "source" / "sub-1" / "pet"
    for dose, rec in ((1, "full"), (20, "1to20"), (100, "1to100")):
        save(pet / f"sub-1_rec-{rec}_pet.nii.gz", scan(0, dose))
    (pet / "sub-1_rec-full_pet.json").write_text('{"Units": "Bq/mL"}')
    (pet / "sub-1_rec-1to20_pet.json").write_text('{"Units": "kBq/mL"}')
    (pet / "sub-1_rec-1to100_pet.json").write_text('{"Units": "BQML"}')
    reasons = refusals(prepare([tmp_path / "source"], tmp_path / "set"))
    assert reasons == {("sub-0000", 20): "in kbq/ml, the full dose in bq/ml; convert one of them"}
    (pet / "sub-1_rec-full_pet.json").write_text("{")
    with pytest.raises(InputError, match=r"\.json file cannot be read|no full-dose volume can be"):
        prepare([tmp_path / "source"], tmp_path / "other")


def test_a_table_with_its_own_splits(tmp_path):
    lines = ["subject,low,full,dose,split"]
    for k, split in enumerate(("test", "train", "validation")):
        save(tmp_path / "v" / f"{k}f.nii", scan(k))
        save(tmp_path / "v" / f"{k}l.nii", scan(k, 20))
        lines.append(f"s{k},v/{k}l.nii,v/{k}f.nii,1/20,{split}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    report = prepare([tmp_path / "pairs.csv"], tmp_path / "set")
    assert report.split_of == {"sub-0000": "test", "sub-0001": "train", "sub-0002": "validation"}
    (tmp_path / "pairs.csv").write_text("\n".join(lines).replace("validation", ""))
    with pytest.raises(InputError, match="sub-0002 has no split"):
        prepare([tmp_path / "pairs.csv"], tmp_path / "other")
    (tmp_path / "split.csv").write_text("subject,split\ns0,train\ns1,train\ns2,test\n")
    options = Options(split_file=tmp_path / "split.csv")
    report = prepare([tmp_path / "pairs.csv"], tmp_path / "other", options)
    assert report.split_of == {"sub-0000": "train", "sub-0001": "train", "sub-0002": "test"}


def test_frames_are_refused(tmp_path):
    for name, data in (("f", scan(0)), ("l", np.stack([scan(0, 20)] * 2, axis=-1))):
        save(tmp_path / f"{name}.nii", data)
    (tmp_path / "pairs.csv").write_text("subject,low,full,dose\na,l.nii,f.nii,20\n")
    with pytest.raises(InputError, match=r"sub-0000, 1/20: 18x22x14x2, a series of frames"):
        prepare([tmp_path / "pairs.csv"], tmp_path / "set")


def test_resampled_labels_are_those_that_fill_most_of_a_voxel(tmp_path):
    from petrt.imaging.grid import plan

    labels = np.zeros((16, 16, 8), np.float32)
    labels[4:12, 4:12] = 5
    labels[6:10, 6:10] = 2
    grid = label_grid(labels, plan(labels.shape, np.diag([2.0, 2, 2, 1]), (1.0, 1.0, 2.0)))
    assert set(np.unique(grid)) == {0, 2, 5}
    assert grid.shape == (8, 32, 32)
    assert [np.count_nonzero(grid == value) for value in (2, 5)] == [8 * 8 * 8, (256 - 64) * 8]


def test_simulated_sources_join(tmp_path):
    for first, name in ((0, "a"), (5, "b")):
        write_dataset(tmp_path / name, (first,), 1, (20,), shape=(32, 32, 12), voxel_mm=6.0)
    (tmp_path / "split.csv").write_text("subject,split\nsub-0000,train\nsub-0005,validation\n")
    options = Options(split_file=tmp_path / "split.csv")
    report = prepare([tmp_path / "a", tmp_path / "b"], tmp_path / "set", options)
    assert report.split_of == {"sub-0000": "train", "sub-0005": "validation"}
    assert open_dataset(tmp_path / "set").truth("sub-0005") is not None
