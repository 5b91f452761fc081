"""The queue: what is in it stays, and moves one step at a time."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest

from petrt.errors import UsageError
from petrt.node.limits import Limits
from petrt.node.names import name_of
from petrt.node.objects import DUPLICATE, FULL, Refused, examine
from petrt.node.queue import Queue
from tests.helpers import contents
from tests.io.dicom.dicom_files import PATIENT, SERIES, change

NAME = name_of(SERIES)


def fill(queue: Queue, files: list[Path]) -> None:
    for file in files:
        queue.add(examine(file.read_bytes()))


def test_objects_lie_in_the_queue_as_they_came(queue, pet, tmp_path):
    fill(queue, pet)
    found = contents(tmp_path / "queue" / "received" / NAME / "objects")
    assert sorted(found.values()) == sorted(file.read_bytes() for file in pet)
    fill(queue, pet[:1])  # once more
    assert contents(tmp_path / "queue" / "received" / NAME / "objects") == found
    assert stat.S_IMODE((tmp_path / "queue").stat().st_mode) == 0o700


def test_paths_hold_neither_uids_nor_names(queue, pet, tmp_path):
    fill(queue, pet)
    queue.settle(0, 0)
    for path in (tmp_path / "queue").rglob("*"):
        assert re.fullmatch(r"[0-9a-f]{32}(\.dcm)?|[a-z]+|\.lock", path.name)
        assert PATIENT not in str(path)


def test_another_object_of_the_same_uid_is_refused(queue, pet):
    fill(queue, pet)
    change(pet[0], Manufacturer="Other")
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            fill(queue, pet[:1])
        assert caught.value.status == DUPLICATE
        queue.settle(0, 0)  # complete meanwhile
    (case,) = queue.cases()
    assert len(list(case.objects.iterdir())) == 4


def test_a_series_is_complete_after_a_quiet_time_if_the_number_is_right(queue, pet):
    fill(queue, pet[:3])
    assert queue.settle(0, 60) == []
    fill(queue, pet)
    assert queue.settle(60, 60) == []
    ((case, reason),) = queue.settle(0, 60)
    assert (case.name, reason) == (NAME, "")
    assert [each.name for each in queue.cases()] == [NAME]
    assert case.uid() == SERIES
    assert not queue.is_empty()


def test_without_a_number_the_quiet_time_decides(queue, pet):
    for file in pet:
        change(file, NumberOfSlices=None)
    fill(queue, pet[:2])
    ((case, reason),) = queue.settle(0, 60)
    assert (case.path.parent.name, reason) == ("complete", "")


def test_an_incomplete_series_waits_aside_and_comes_back(queue, pet, tmp_path):
    fill(queue, pet[:3])
    ((case, reason),) = queue.settle(0, 0)
    assert (case.path.parent.name, reason) == ("incomplete", "3 of 4 objects came")
    assert (case.path / "reason.txt").read_text() == "3 of 4 objects came\n"
    assert queue.is_empty()
    fill(queue, pet[3:])
    ((case, reason),) = queue.settle(0, 60)
    assert (case.path.parent.name, reason) == ("complete", "")
    assert len(list(case.objects.iterdir())) == 4


def test_a_second_node_is_refused_and_the_next_goes_on(pet, tmp_path):
    with Queue(tmp_path / "q", Limits()).opened() as queue:
        fill(queue, pet[:3])
        with (
            pytest.raises(UsageError, match="another process"),
            Queue(tmp_path / "q", Limits()).opened(),
        ):
            pass
    with Queue(tmp_path / "q", Limits()).opened() as queue:
        assert queue.settle(0, 60) == []  # it still knows of four
        fill(queue, pet[3:])
        assert len(queue.settle(0, 60)) == 1


def test_more_of_a_series_waits_for_its_predecessor(queue, pet, tmp_path):
    fill(queue, pet)
    queue.settle(0, 0)
    change(pet[0], SOPInstanceUID="1.2.5.99")
    fill(queue, pet[:1])
    queue.settle(0, 60)
    assert (tmp_path / "queue" / "received" / NAME).exists()
    (case,) = queue.cases()
    assert len(list(case.objects.iterdir())) == 4


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(object_bytes=100), "larger than objects may be"),
        (Limits(objects=2), "more objects than one may have"),
        (Limits(queue_bytes=4000), "the queue is full"),
    ],
)
def test_limits(pet, tmp_path, limits, reason):
    with Queue(tmp_path / "q", limits).opened() as queue:
        with pytest.raises(Refused, match=reason) as caught:
            fill(queue, pet)
        assert caught.value.status == FULL
        assert caught.value.again == ("queue" in reason)


def test_what_is_put_away_makes_room(pet, tmp_path):
    most = sum(file.stat().st_size for file in pet) + 1000
    with Queue(tmp_path / "q", Limits(queue_bytes=most)).opened() as queue:
        for _ in range(3):
            fill(queue, pet)
            ((case, _),) = queue.settle(0, 0)
            queue.finish(case, {"objects": 4}, keep=False)
            assert queue.is_empty()
        assert json.loads((tmp_path / "q" / "done" / f"{NAME}.json").read_text()) == {"objects": 4}
        assert queue.done(SERIES) == {"objects": 4}
        assert queue.done("1.2") is None
        left = list((tmp_path / "q").rglob("*.dcm"))
        assert left == []


def test_series_that_are_kept_or_failed_stay_side_by_side(queue, pet, tmp_path):
    for number in range(2):
        for keep in (True, False):
            fill(queue, pet)
            ((case, _),) = queue.settle(0, 0)
            if keep:
                queue.finish(case, {}, keep=True)
            else:
                queue.fail(case, f"reason {number}")
    for place in ("kept", "failed"):
        names = sorted(os.listdir(tmp_path / "queue" / place))
        assert names == [NAME, f"{NAME}-2"]
    path = tmp_path / "queue" / "failed" / f"{NAME}-2" / "reason.txt"
    assert path.read_text() == "reason 1\n"


def test_a_full_disk_is_a_refusal(queue, pet, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise UsageError("x: cannot write: the disk is full")

    monkeypatch.setattr("petrt.node.queue.atomic_write_bytes", full)
    with pytest.raises(Refused, match="the disk is full") as caught:
        fill(queue, pet)
    assert (caught.value.status, caught.value.again) == (FULL, True)
