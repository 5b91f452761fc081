"""What the node takes, and what it refuses."""

from __future__ import annotations

import shutil

import pydicom
import pytest

from petrt.io.dicom import series as dicom
from petrt.io.dicom.derivation import Derivation
from petrt.io.dicom.writer import write_series
from petrt.node.objects import OTHER_CLASS, UNREADABLE, Refused, examine
from tests.io.dicom.dicom_files import PATIENT, SERIES, change

MULTI_FRAME_PET = "1.2.840.10008.5.1.4.1.1.130"


def refusal(content: bytes, *announced: str) -> Refused:
    with pytest.raises(Refused) as caught:
        examine(content, *announced)
    assert PATIENT not in str(caught.value)
    assert SERIES not in str(caught.value)
    return caught.value


def test_a_pet_image_is_taken_as_it_is(pet):
    content = pet[1].read_bytes()
    found = examine(content, "1.2.840.10008.5.1.4.1.1.128", "1.2.5.2")
    assert (found.series, found.instance, found.expected) == (SERIES, "1.2.5.2", 4)
    assert found.content == content


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"NumberOfSlices": None}, 0),
        ({"SeriesType": ["STATIC", "IMAGE"], "NumberOfTimeSlices": 3}, 4),
        ({"SeriesType": ["WHOLE BODY", "IMAGE"], "NumberOfTimeSlices": 3}, 4),
        ({"SeriesType": ["DYNAMIC", "IMAGE"], "NumberOfTimeSlices": 3}, 12),
        ({"SeriesType": ["GATED", "IMAGE"], "NumberOfTimeSlots": 2, "NumberOfRRIntervals": 2}, 16),
        ({"SeriesType": ["GATED", "IMAGE"]}, 4),
    ],
)
def test_the_header_says_how_many_objects_there_are(pet, fields, expected):
    change(pet[0], **fields)
    assert examine(pet[0].read_bytes()).expected == expected


def test_other_kinds_are_refused(pet):
    change(pet[0], Modality="CT")
    assert refusal(pet[0].read_bytes()).status == OTHER_CLASS
    change(pet[1], SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    assert refusal(pet[1].read_bytes()).status == OTHER_CLASS


def test_what_was_announced_must_be_true(pet):
    content = pet[0].read_bytes()
    assert refusal(content, MULTI_FRAME_PET).status == OTHER_CLASS
    assert refusal(content, "1.2.840.10008.5.1.4.1.1.128", "1.2.5.9").status == OTHER_CLASS


def test_damage_is_refused(pet):
    content = pet[0].read_bytes()
    assert "truncated" in refusal(content[:-100]).reason
    for broken in (b"", b"x" * 500, content[:200], content[:132]):
        assert refusal(broken).status == UNREADABLE
    change(pet[1], Rows=None)
    assert refusal(pet[1].read_bytes()).reason == "object: DICOM field Rows is absent"
    for field in ("SOPInstanceUID", "SeriesInstanceUID"):
        for value in (None, "../../etc", PATIENT, "1." * 40):
            dataset = shutil.copy(pet[2], pet[2].with_name("x.dcm"))
            change(dataset, **{field: value})
            assert refusal(dataset.read_bytes()).status == UNREADABLE


def test_results_of_petrt_do_not_come_back(pet, tmp_path):
    volume = dicom.read(pet[0].parent)
    write_series(tmp_path / "out", volume.data, volume, Derivation("m", "00", "1", "{}"))
    files = sorted((tmp_path / "out").iterdir())
    assert pydicom.dcmread(files[0]).SOPClassUID == "1.2.840.10008.5.1.4.1.1.128"
    assert refusal(files[0].read_bytes()).reason == "derived by petrt already"
