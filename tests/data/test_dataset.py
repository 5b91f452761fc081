"""A prepared data set as its readers see it, and what is refused on opening."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from petrt.data import dataset as module
from petrt.data.dataset import open_dataset
from petrt.data.prepare import Options, prepare
from petrt.data.simulate import write_dataset
from petrt.errors import InputError
from petrt.imaging.scaling import scale_of

DOSES = (20, 100)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    write_dataset(folder, range(3), 1, DOSES, shape=(36, 32, 16), voxel_mm=6.0)
    return folder


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "set"
    prepare([source], out, Options(split=(0.34, 0.33, 0.33)))
    return out


@pytest.fixture
def copy(prepared, tmp_path) -> Path:
    return shutil.copytree(prepared, tmp_path / "set")


def edit(folder: Path, change) -> None:
    index = json.loads((folder / "dataset.json").read_text())
    change(index)
    (folder / "dataset.json").write_text(json.dumps(index))


def original(source: Path, name: str, key: str) -> np.ndarray:
    image = nib.Nifti1Image.from_filename(source / f"{name}_rec-{key}_pet.nii.gz")
    return np.asarray(image.dataobj, np.float32)


def test_pairs_are_the_volumes_over_the_low_doses_scale(source, prepared):
    dataset = open_dataset(prepared, verify=True)
    assert dataset.ids == ("sub-0000", "sub-0001", "sub-0002")
    assert dataset.voxel_mm == (6.0, 6.0, 6.0)
    for name in dataset.ids:
        assert dataset.doses(name) == DOSES
        placement = dataset.placement(name)
        for dose in DOSES:
            pair = dataset.pair(name, dose)
            low, full = original(source, name, f"1to{dose}"), original(source, name, "full")
            assert pair.scale == scale_of(low, dataset.scale_rule, (6.0, 6.0, 6.0))
            assert isinstance(pair.low, np.memmap)
            assert pair.low.dtype == pair.full.dtype == np.float16
            assert pair.low.shape == pair.full.shape == (16, 40, 32)  # H padded to a multiple of 8
            for stored, gain, volume in ((pair.low, 1.0, low), (pair.full, pair.gain, full)):
                back = placement.from_network(stored.astype(np.float32) * gain * pair.scale)
                np.testing.assert_allclose(back, volume, rtol=2**-10, atol=1e-6 * pair.scale)
        np.testing.assert_allclose(dataset.affine(name)[:3, 3], [-105, -93, -45])


def test_weights_prefer_slices_with_activity(prepared):
    dataset = open_dataset(prepared)
    pair = dataset.pair("sub-0000", 100)
    share = (pair.full > 0.05).mean(axis=(1, 2))
    np.testing.assert_allclose(pair.weights, 0.02 + np.minimum(share / 0.1, 1), atol=2e-3)


def test_labels_and_truth(source, prepared):
    dataset = open_dataset(prepared)
    labels, truth = dataset.labels("sub-0001"), dataset.truth("sub-0001")
    image = nib.Nifti1Image.from_filename(source / "sub-0001_dseg.nii.gz")
    back = dataset.placement("sub-0001").from_network(labels)
    np.testing.assert_array_equal(back, np.asarray(image.dataobj))
    back = dataset.placement("sub-0001").from_network(truth)
    np.testing.assert_allclose(back, original(source, "sub-0001", "truth"), rtol=2**-10, atol=0.1)


def test_a_pickled_copy_is_small_and_reads_the_same(prepared):
    dataset = open_dataset(prepared)
    before = dataset.pair("sub-0000", 20)
    content = pickle.dumps(dataset)
    assert len(content) < before.low.nbytes
    np.testing.assert_array_equal(pickle.loads(content).pair("sub-0000", 20).low, before.low)


def test_few_files_stay_open(prepared, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    dataset = open_dataset(prepared)
    first = dataset.pair("sub-0000", 20).low
    again = dataset.pair("sub-0000", 20).low
    assert first is again
    dataset.pair("sub-0001", 20)
    assert dataset.pair("sub-0000", 20).low is not first
    assert len(dataset._open) == 2


def test_splits_are_files_that_may_be_edited(copy):
    dataset = open_dataset(copy)
    listed = [k for split in ("train", "validation", "test") for k in dataset.split(split)]
    assert sorted(listed) == ["sub-0000", "sub-0001", "sub-0002"]
    (copy / "train.txt").write_text("# mine\nsub-0002  # good\n\nsub-0000\n")
    (copy / "validation.txt").write_text("")
    (copy / "test.txt").write_text("")
    dataset = open_dataset(copy)
    assert dataset.split("train") == ["sub-0002", "sub-0000"]
    assert dataset.split("test") == []


@pytest.mark.parametrize(
    ("train", "validation", "words"),
    [
        ("sub-0000\nsub-0009", "", r"train\.txt, line 2: no subject sub-0009"),
        ("sub-0000\nsub-0000", "", "sub-0000 is listed twice"),
        ("sub-0000", "sub-0001\nsub-0000", r"sub-0000 is in train\.txt and validation\.txt"),
        (None, "", r"train\.txt of the data set cannot be read"),
    ],
)
def test_bad_splits(copy, train, validation, words):
    (copy / "test.txt").write_text("")
    (copy / "validation.txt").write_text(validation)
    (copy / "train.txt").unlink() if train is None else (copy / "train.txt").write_text(train)
    with pytest.raises(InputError, match=words):
        open_dataset(copy)


def test_scans_of_one_patient_stay_in_one_split(copy):
    edit(copy, lambda index: index["subjects"]["sub-0001"].update(patient="sub-0000"))
    (copy / "test.txt").write_text("")
    (copy / "train.txt").write_text("sub-0000\n")
    (copy / "validation.txt").write_text("sub-0001\n")
    with pytest.raises(InputError, match="scans of one patient"):
        open_dataset(copy)


def change_subject(**fields):
    return lambda index: index["subjects"]["sub-0000"].update(fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda index: index.update(version=2), "version 2 .* this petrt reads 1"),
        (lambda index: index.update(format="other"), "describes no prepared data set"),
        (lambda index: index.update(dtype="float32"), "full: float16 .* on disk, float32"),
        (lambda index: index.update(more=1), "more: unknown key"),
        (lambda index: index.update(subjects={}), "subjects"),
        (change_subject(shape=[16, 32, 32]), r"placement gives \(16, 40, 32\)"),
        (change_subject(weights=[1.0]), "weights must be one per slice"),
        (change_subject(full={"file": "../x.npy", "sha256": "", "unit": 1}), "not a file name in"),
        (change_subject(full={"file": "volumes/x.npy", "sha256": "", "unit": 0}), "greater than 0"),
        (change_subject(low={}), "low"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_index(copy, change, words):
    edit(copy, change)
    with pytest.raises(InputError, match=words):
        open_dataset(copy)


def test_damaged_volumes(copy):
    path = copy / "volumes" / "sub-0001_1to20.npy"
    content = path.read_bytes()
    for bad, words in (
        (content[:-1], "is damaged or cut off"),
        (b"", "is damaged or cut off"),
        (pickle.dumps([1]), "is damaged or cut off"),
        (None, "is missing"),
    ):
        path.unlink() if bad is None else path.write_bytes(bad)
        with pytest.raises(InputError, match=rf"sub-0001_1to20\.npy of the data set {words}"):
            open_dataset(copy)
    np.save(path, np.zeros((16, 40, 31), np.float16))
    with pytest.raises(InputError, match=r"sub-0001, 1to20: float16 \(16, 40, 31\) on disk"):
        open_dataset(copy)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="sub-0001, 1to20: its content has changed"):
        open_dataset(copy)
    dataset = open_dataset(copy, verify=False)
    dataset.verify(["sub-0000", "sub-0002"])
    with pytest.raises(InputError, match="sub-0001, 1to20: its content has changed"):
        dataset.verify(["sub-0001"])


def test_no_data_set(tmp_path, source):
    with pytest.raises(InputError, match="no data set here"):
        open_dataset(tmp_path)
    with pytest.raises(
        InputError, match=r"describes no prepared data set; if petrt simulate wrote it"
    ):
        open_dataset(source)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        open_dataset(tmp_path)


def test_unknown_subjects_and_doses(prepared):
    dataset = open_dataset(prepared)
    with pytest.raises(InputError, match="no subject sub-7"):
        dataset.pair("sub-7", 100)
    with pytest.raises(InputError, match="sub-0000 has no 1/4 dose; it has 1/20, 1/100"):
        dataset.pair("sub-0000", 4)
