"""Splits by patient: disjoint, near the shares, the same for a seed; files checked."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petrt.data.prepare.scan import FoundScan
from petrt.data.prepare.splits import DEFAULT, check, draw, groups, parse_fractions, read_split_file
from petrt.errors import InputError, UsageError

shares = st.sampled_from(
    [DEFAULT, (1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 0.3, 0.7), (0.34, 0.33, 0.33)]
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), shares, st.integers(0, 5))
def test_patients_stay_together_and_shares_are_kept(people, fractions, seed):
    patients = {f"sub-{k:04d}": f"p{person:02d}" for k, person in enumerate(people)}
    split_of = draw(patients, fractions, seed)
    check(split_of, patients)
    assert split_of.keys() == patients.keys()
    assert split_of == draw(dict(reversed(patients.items())), fractions, seed)
    count = len(set(people))
    for split, share in zip(("train", "validation", "test"), fractions, strict=True):
        got = len({patients[k] for k, s in split_of.items() if s == split})
        assert abs(got - share * count) < 2
        assert got == 0 if share == 0 else got > 0 or count < 3


def test_scans_that_share_any_key_are_one_patient():
    keys = {"a": ["folder x", "id 1"], "b": ["folder y", "id 1"], "c": ["folder y"], "d": ["a"]}
    assert groups(keys) == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_one_patient_in_two_splits_is_refused():
    with pytest.raises(InputError, match=r"a \(train\) and b \(test\) are scans of one patient"):
        check({"a": "train", "b": "test"}, {"a": "a", "b": "a"})


@pytest.mark.parametrize("text", ["0.8,0.2", "a,b,c", "0.8,0.3,0.1", "1.2,-0.1,-0.1", "nan,0,1"])
def test_bad_shares(text):
    with pytest.raises(UsageError, match="split"):
        parse_fractions(text)


def found(name: str) -> FoundScan:
    return FoundScan(kind="csv", name=name, patient=name, scans=())


def test_a_split_file_names_ids_or_names_of_the_source(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("subject,split\nsub-0000,train\nB,test\n")
    subjects = {"sub-0000": found("A"), "sub-0001": found("B"), "sub-0002": found("B")}
    splits = {"sub-0000": "train", "sub-0001": "test", "sub-0002": "test"}
    assert read_split_file(path, subjects) == splits


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject,split\nA,train\nC,test", "line 3: no such subject"),
        ("subject,split\nA,train\nB,valid", "line 3: split 'valid'"),
        ("subject,split\nA,train\nB,test\nsub-0000,test", "line 4: sub-0000 is listed twice"),
        ("subject,split\nA,train", "1 subjects are not in it, sub-0001 first"),
        ("name,split\nA,train", "needed: subject, split"),
    ],
)
def test_faults_of_a_split_file(tmp_path, text, words):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_split_file(path, {"sub-0000": found("A"), "sub-0001": found("B")})
