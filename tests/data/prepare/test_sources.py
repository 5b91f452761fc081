"""What each layout finds: subjects, doses, patients; and names that stay unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from petrt.data.prepare.scan import FoundScan
from petrt.data.prepare.sources import detect, find
from petrt.data.simulate import write_dataset
from petrt.errors import InputError, UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def doses(found: FoundScan) -> list[int]:
    return sorted(scan.dose for scan in found.scans)


def test_challenge_folders_of_both_scanners(tmp_path):
    quadra = "Subject_184-189/180822_1"
    explorer = "uExplorerPART1/Anonymous_ANO_2022/2.886 x 600 WB"
    touch(
        tmp_path,
        *(f"{quadra}/{dose} dose/a.ima" for dose in ("Full", "1-2", "1-10", "1-100")),
        *(f"{explorer} {dose}/a.dcm" for dose in ("NORMAL", "D2", "D10", "D100")),
        "uExplorerPART1/Anonymous_ANO_2022/CT/a.dcm",
        *(f"uExplorerPART2/x/{dose}/a.dcm" for dose in ("normal", "DRF_10", "drf_100")),
    )
    subjects = find([tmp_path])
    assert list(subjects) == ["sub-0000", "sub-0001", "sub-0002"]
    both = [1, 2, 10, 100]
    assert [doses(found) for found in subjects.values()] == [both, both, [1, 10, 100]]
    by_dose = {scan.dose: scan.path.name for scan in subjects["sub-0001"].scans}
    assert by_dose[10].endswith("D10")
    assert by_dose[100].endswith("D100")
    assert [found.neutral_name for found in subjects.values()] == [None, None, None]


def test_challenge_files_of_the_test_sets(tmp_path, caplog):
    touch(
        tmp_path,
        *(f"Anonymous-{k}_DRF-{dose}.nii.gz" for k in ("05", "07") for dose in (50, 100)),
        *(f"Anonymous-{k}_normal.NII.GZ" for k in ("05", "07")),
        "Anonymous-05.nii.gz",
    )
    subjects = find([tmp_path])
    assert [found.neutral_name for found in subjects.values()] == ["Anonymous-05", "Anonymous-07"]
    assert [doses(found) for found in subjects.values()] == [[1, 50, 100]] * 2
    assert "1 NIfTI files state no dose" in caplog.text


def test_one_name_in_two_parts_is_one_patient(tmp_path):
    touch(
        tmp_path, *(f"part{n}/{name}/D10/a.dcm" for n, name in ((1, "MrX"), (2, "mrx"), (2, "MrY")))
    )
    found = find([tmp_path / "part1", tmp_path / "part2"])
    assert sorted(subject.patient for subject in found.values()) == ["mrx", "mrx", "mry"]


def test_ambiguous_and_empty_dose_folders_are_problems_of_their_subject(tmp_path):
    touch(tmp_path, "a/NORMAL/a.dcm", "a/D10 D20/a.dcm", "a/D4/x.nii", "a/D4/y.nii")
    (tmp_path / "a" / "D50").mkdir()
    (found,) = find([tmp_path]).values()
    assert doses(found) == [1]
    assert [problem.split(";")[0] for problem in found.problems] == [
        "a name states two doses, 1/10 and 1/20",
        "the 1/4 dose folder holds 2 NIfTI volumes",
        "the 1/50 dose folder holds no files",
    ]


def test_links_are_followed_and_a_circle_ends(tmp_path):
    touch(tmp_path / "real" / "one", "NORMAL/a.dcm", "D10/a.dcm")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "one").symlink_to(tmp_path / "real" / "one")
    (tmp_path / "real" / "one" / "back").symlink_to(tmp_path / "source")
    (found,) = find([tmp_path / "source"]).values()
    assert doses(found) == [1, 10]


def test_bids(tmp_path, caplog):
    pet = "sub-01/ses-{}/pet/sub-01_ses-{}_trc-FDG"
    touch(
        tmp_path,
        *(f"{pet.format(s, s)}_rec-{dose}_pet.nii.gz" for s in "ab" for dose in ("full", "1to20")),
        "sub-02/pet/sub-02_desc-Normal_pet.nii.gz",
        "sub-02/pet/sub-02_desc-DRF100_pet.nii",
        "sub-02/pet/sub-02_rec-acstat_pet.nii",
        "sub-02/pet/sub-02_rec-1to4_desc-d10_pet.nii",
        "sub-02/anat/sub-02_T1w.nii",
        "derivatives/x/sub-01/pet/sub-01_rec-full_pet.nii",
    )
    assert detect(tmp_path) == "bids"
    subjects = find([tmp_path])
    a, b, other = subjects.values()
    assert [doses(found) for found in (a, b, other)] == [[1, 20], [1, 20], [1, 100]]
    assert a.patient == b.patient == a.neutral_name == "sub-01"
    assert [problem.split(";")[0] for problem in other.problems] == [
        "rec- and desc- of a file state different doses"
    ]
    assert "1 files state no dose" in caplog.text


def test_simulated_subjects_keep_their_ids(tmp_path):
    write_dataset(tmp_path / "one", (7,), 1, (100, 20), shape=(24, 24, 6), voxel_mm=10.0)
    write_dataset(tmp_path / "two", (3,), 1, (100,), shape=(24, 24, 6), voxel_mm=10.0)
    subjects = find([tmp_path / "one", tmp_path / "two"])
    assert {name: doses(found) for name, found in subjects.items()} == {
        "sub-0007": [1, 20, 100],
        "sub-0003": [1, 100],
    }
    assert subjects["sub-0007"].labels == tmp_path / "one" / "sub-0007_dseg.nii.gz"
    with pytest.raises(InputError, match="sub-0007 is in two sources"):
        find([tmp_path / "one", tmp_path / "one"])


def test_a_half_simulated_folder_is_refused(tmp_path):
    write_dataset(tmp_path, (7,), 1, (100,), shape=(24, 24, 6), voxel_mm=10.0)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(InputError, match=r"no dataset\.json"):
        find([tmp_path], "simulated")
    (tmp_path / "dataset.json").write_text('{"description": "simulated", "files": {"../x": {}}}')
    with pytest.raises(InputError, match="not the one petrt simulate writes"):
        find([tmp_path])


def test_ids_are_free_ones(tmp_path):
    write_dataset(tmp_path / "one", (0,), 1, (100,), shape=(24, 24, 6), voxel_mm=10.0)
    touch(tmp_path / "two", "x/NORMAL/a.dcm", "y/NORMAL/a.dcm")
    assert list(find([tmp_path / "two", tmp_path / "one"])) == ["sub-0000", "sub-0001", "sub-0002"]


@pytest.mark.parametrize(
    ("name", "layout", "error", "words"),
    [
        ("absent", "auto", InputError, "absent: no such file"),
        ("empty", "auto", InputError, "no subjects found"),
        ("file.txt", "auto", InputError, "neither a folder nor a .csv"),
        ("file.txt", "bids", InputError, "not a folder"),
        ("empty", "dicom", UsageError, "layout is 'dicom'"),
    ],
)
def test_sources_that_are_none(tmp_path, name, layout, error, words):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "file.txt")
    with pytest.raises(error, match=words):
        find([tmp_path / name], layout)
