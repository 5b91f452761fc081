"""PET files of a BIDS data set by their entities, and what is wrong with names and folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from petrt.errors import InputError, UsageError
from petrt.io.bids.layout import find, is_dataset, labels_of, open_dataset, split_name
from tests.io.bids.data_set import FILES, make, write_image, write_json
from tests.io.bids.validator import errors


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "raw")


def names(root: Path, *given: list[str]) -> list[str]:
    return [file.within for file in find(open_dataset(root), *given).files]


def test_the_data_set_of_these_tests_is_valid(root):
    assert errors(root) == []


def test_all_files_in_order_with_their_entities(root):
    found = find(open_dataset(root))
    assert [file.within for file in found.files] == [*FILES]
    assert found.faults == []
    assert found.files[1].entities == {"sub": "02", "ses": "late", "trc": "FDG", "run": "1"}
    assert found.files[1].stem == "sub-02_ses-late_trc-FDG_run-1"


def test_labels_select(root):
    assert names(root, ["02"]) == [*FILES[1:]]
    assert names(root, [], ["test"]) == [FILES[2]]
    assert names(root, ["02", "01"]) == [*FILES[1:], FILES[0]]


def test_files_of_other_kinds_are_none_of_ours(root):
    pet = root / "sub-01" / "pet"
    for name in ("sub-01_recording-manual_blood.tsv", "._sub-01_trc-FDG_pet.nii.gz", "x.nii.gz"):
        (pet / name).write_bytes(b"")
    write_image(root / "derivatives" / "x" / FILES[0], 1)
    write_image(root / "sub-01" / "anat" / "sub-01_T1w.nii.gz", 1)
    assert names(root) == [*FILES]


def test_an_uncompressed_file_and_a_link_to_nowhere_are_files(root):
    pet = root / "sub-01" / "pet"
    (pet / "sub-01_trc-FDG_run-2_pet.nii.gz").symlink_to("nowhere")
    write_image(pet / "sub-01_trc-FDG_run-3_pet.nii", 1)
    assert [name[-12:] for name in names(root, ["01"])] == [
        "G_pet.nii.gz",
        "2_pet.nii.gz",
        "un-3_pet.nii",
    ]


WRONG = {
    "sub-02_pet.nii.gz": "its name contradicts its folders",
    "sub-01_ses-a_pet.nii.gz": "its name contradicts its folders",
    "sub-01_desc-x_pet.nii.gz": "not a name of a PET file",
    "sub-01_run-1_trc-FDG_pet.nii.gz": "not a name of a PET file",
    "sub-01_run-1_run-2_pet.nii.gz": "not a name of a PET file",
    "sub-01_run-_pet.nii.gz": "not a name of a PET file",
    "scan_pet.nii.gz": "not a name of a PET file",
}


def test_a_wrong_name_is_a_fault_and_stops_nothing(root):
    """The validator takes just these for wrong, too."""
    for name in WRONG:
        write_image(root / "sub-01" / "pet" / name, 1)
    found = find(open_dataset(root))
    assert [file.within for file in found.files] == [*FILES]
    said = {str(fault).partition(": ")[0]: str(fault) for fault in found.faults}
    assert said.keys() == WRONG.keys()
    for name, reason in WRONG.items():
        assert said[name].startswith(f"{name}: {reason}")
    assert {place.rpartition("/")[2] for _, place in errors(root)} == WRONG.keys()


def test_a_subject_that_was_asked_for_and_has_no_pet_is_a_fault(root):
    shutil.rmtree(root / "sub-01" / "pet")
    assert find(open_dataset(root)).faults == []
    found = find(open_dataset(root), ["01", "02"])
    assert [str(fault) for fault in found.faults] == ["sub-01: no PET file; leave out its label"]
    assert len(found.files) == 2


def test_a_folder_that_cannot_be_listed_is_a_fault_of_its_subject(root, monkeypatch):
    real = Path.iterdir

    def refusing(path: Path):
        if path.name == "sub-01":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    found = find(open_dataset(root))
    assert [file.within for file in found.files] == [*FILES[1:]]
    assert [str(fault).partition(";")[0] for fault in found.faults] == [
        "sub-01: cannot be read: Permission denied"
    ]


def test_absent_labels_name_those_that_are_there(root):
    dataset = open_dataset(root)
    with pytest.raises(InputError, match=r"has no sub-03; it has sub-01, sub-02$"):
        find(dataset, ["01", "03"])
    with pytest.raises(InputError, match=r"has no ses-x; it has ses-late, ses-test$"):
        find(dataset, [], ["x"])
    for number in range(10, 20):
        (root / f"sub-{number}").mkdir()
    with pytest.raises(InputError, match=r"sub-15 and 4 more$"):
        find(dataset, ["03"])


def test_labels_with_and_without_prefix():
    assert labels_of("sub", ["sub-01", "02,03", "01"]) == ["01", "02", "03"]
    for wrong in ("", "../x", "0 1", "a_b", "sub-"):
        with pytest.raises(UsageError, match="no label of BIDS"):
            labels_of("sub", [wrong])


def test_a_data_set_without_pet(root):
    for subject in ("sub-01", "sub-02"):
        shutil.rmtree(root / subject)
        (root / subject).mkdir()
    with pytest.raises(InputError, match="no PET file in this data set"):
        find(open_dataset(root))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no BIDS data set: it has no dataset_description.json"),
        (b"{", "dataset_description.json: not JSON"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"Name": "x"}', "states no BIDSVersion"),
        (b" " * (1 << 22) + b"{}", "over 4 MiB"),
    ],
)
def test_what_is_no_data_set(tmp_path, content, says):
    if content is not None:
        (tmp_path / "dataset_description.json").write_bytes(content)
    with pytest.raises(InputError, match=says):
        open_dataset(tmp_path)
    assert not is_dataset(tmp_path)


def test_a_data_set_is_known_by_its_description(root, tmp_path):
    assert is_dataset(root)
    assert not is_dataset(root / "sub-01")
    assert not is_dataset(tmp_path / "absent")
    with pytest.raises(InputError, match="not a folder"):
        open_dataset(write_json(tmp_path / "x.json", {}))


def test_names():
    assert split_name("pet") == {}
    assert split_name("sub-1_pet") == {"sub": "1"}
    assert split_name("sub-1_T1w") is None
    assert split_name("sub_pet") is None
