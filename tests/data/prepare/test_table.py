"""The CSV of pairs: what it may say, and faults by their line."""

from __future__ import annotations

import pytest

from petrt.data.prepare.table import find
from petrt.errors import InputError

HEAD = "subject,low,full,dose"


@pytest.fixture
def table(tmp_path):
    for name in ("full", "a", "b", "other"):
        (tmp_path / f"{name}.nii").write_bytes(b"x")

    def write(text: str, head: str = HEAD):
        path = tmp_path / "pairs.csv"
        path.write_text(f"{head}\n{text}", encoding="utf-8")
        return path

    return write


def test_lines_of_a_subject_join(table, tmp_path):
    text = "one, a.nii ,full.nii,1/100\n\none,b.nii,full.nii,20\ntwo,a.nii,other.nii,0.05\n"
    one, two = find(table(text))
    assert [(scan.path.name, scan.dose) for scan in one.scans] == [
        ("full.nii", 1),
        ("b.nii", 20),
        ("a.nii", 100),
    ]
    assert [scan.dose for scan in two.scans] == [1, 20]
    assert one.patient != two.patient
    assert one.split is None


def test_split_and_patient(table):
    text = "one,a.nii,full.nii,4,train,X\ntwo,b.nii,other.nii,4,train,X\n"
    one, two = find(table(text, f"\ufeff{HEAD.upper()},split,patient"))
    assert one.split == two.split == "train"
    assert one.patient == two.patient == "X"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one,a.nii,full.nii,100\none,b.nii,gone.nii,20", r"line 3: full: no such file"),
        ("one,a.nii,full.nii,100\none,b.nii,other.nii,20", "line 3: another full than in line 2"),
        ("one,a.nii,full.nii,100\none,b.nii,full.nii,1/100", "line 3: .* 1/100 dose already"),
        ("one,a.nii,full.nii,1", "line 2: dose '1'"),
        ("one,a.nii,full.nii,0", "line 2: dose '0'"),
        ("one,a.nii,full.nii,0.3", r"line 2: dose '0\.3'"),
        ("one,a.nii,full.nii,ten", "line 2: dose 'ten'"),
        ("one,a.nii,full.nii", "line 2: 3 cells, 4 columns"),
        ("one,,full.nii,4", "line 2: no low"),
    ],
)
def test_faults_are_told_by_their_line(table, text, words):
    with pytest.raises(InputError, match=words):
        find(table(text))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("subject,low,full", "needed: subject, low, full, dose"),
        (f"{HEAD},colour", "possible: split, patient"),
        (f"{HEAD},dose", "needed"),
        ("subject;low;full;dose", "needed"),
    ],
)
def test_columns(table, head, words):
    with pytest.raises(InputError, match=words):
        find(table("", head))


def test_a_table_of_headings_holds_no_subject(table):
    assert find(table("")) == []


def test_an_unknown_split(table):
    with pytest.raises(InputError, match="line 2: split 'valid'"):
        find(table("one,a.nii,full.nii,4,valid", f"{HEAD},split"))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'subject,low,full,dose\n"one,a'])
def test_what_is_no_table(tmp_path, content):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"pairs\.csv: (empty|cannot be read)"):
        find(path)
    with pytest.raises(InputError, match="cannot be read"):
        find(tmp_path / "absent.csv")
