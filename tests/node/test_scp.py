"""Receiving by C-STORE, from a sender of its own."""

from __future__ import annotations

import io
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pydicom
import pytest
from pynetdicom import evt

from petrt.errors import UsageError
from petrt.node.limits import Limits, Pace
from petrt.node.names import name_of
from petrt.node.queue import Queue
from petrt.node.scp import Listen, receiving
from tests.helpers import contents
from tests.io.dicom.dicom_files import PATIENT, SERIES
from tests.node.sender import VERIFICATION, associate, numbers, send

HERE = Listen("127.0.0.1", 0, "PETRT", ("SCANNER", "OTHER"))
CT = "1.2.840.10008.5.1.4.1.1.2"
PET = "1.2.840.10008.5.1.4.1.1.128"


@contextmanager
def listening(folder, **limits) -> Iterator[int]:
    known = Limits(**limits)
    with Queue(folder, known).opened() as queue, receiving(queue, HERE, known) as port:
        yield port


def test_echo_and_store(pet, tmp_path, caplog):
    with listening(tmp_path / "q") as port:
        association = associate(port, [VERIFICATION])
        assert association.send_c_echo().Status == 0
        association.release()
        assert numbers(send(port, pet)) == [0] * 4
        objects = tmp_path / "q" / "received" / name_of(SERIES) / "objects"
        assert len(contents(objects)) == 4
        assert numbers(send(port, pet)) == [0] * 4  # once more
        assert len(contents(objects)) == 4
    for path in objects.iterdir():  # as they were sent
        found = pydicom.dcmread(path)
        sent = pydicom.dcmread(pet[found.InstanceNumber - 1])
        assert found == sent
    assert PATIENT not in caplog.text


def test_only_allowed_titles(tmp_path, caplog):
    with listening(tmp_path / "q") as port:
        for calling, called in (("STRANGER", "PETRT"), ("SCANNER", "PACS")):
            association = associate(port, [VERIFICATION], calling, called)
            assert association.is_rejected
        association = associate(port, [VERIFICATION], "OTHER")
        assert association.is_established
        association.release()
    assert "rejected: AE title STRANGER" in caplog.text


def test_other_objects_get_a_status_and_the_association_goes_on(pet, tmp_path, caplog):
    ct = pydicom.dcmread(pet[0])
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = CT
    wrong = pydicom.dcmread(pet[1])
    wrong.Modality = "CT"
    short = pydicom.dcmread(pet[2])
    short.PixelData = short.PixelData[:100]
    with listening(tmp_path / "q") as port:
        answers = send(port, [ct, wrong, short, pet[3]])
        assert numbers(answers) == [0x0122, 0xA900, 0xC000, 0x0000]
        assert answers[0].ErrorComment == "only PET images are taken"
        assert len(list((tmp_path / "q").rglob("*.dcm"))) == 1
    assert "refused (0122): only PET images are taken" in caplog.text
    assert PATIENT not in caplog.text
    assert SERIES not in caplog.text


def test_bytes_that_are_no_dataset(pet, tmp_path):
    broken = pydicom.dcmread(pet[0])
    with listening(tmp_path / "q") as port:
        association = associate(port, [PET])

        def damage(event: object) -> None:
            if event.message.data_set is not None:  # type: ignore[attr-defined]
                event.message.data_set = io.BytesIO(b"\x08\x00\x16" * 30)  # type: ignore[attr-defined]

        association.bind(evt.EVT_DIMSE_SENT, damage)
        assert association.send_c_store(broken).Status == 0xC000
        association.release()
        assert list((tmp_path / "q").rglob("*.dcm")) == []


def test_too_large_an_object(pet, tmp_path, caplog):
    large = pydicom.dcmread(pet[0])
    large.PixelData = bytes(1500)
    with listening(tmp_path / "q", object_bytes=1000) as port:
        assert numbers(send(port, [large, large])) == [0xA700] * 2
        large.PixelData = bytes(1 << 22)  # refused before all of it is here
        assert numbers(send(port, [large])) == [None]
        assert "its object is larger" in caplog.text
        assert list((tmp_path / "q").rglob("*.dcm")) == []


def test_a_message_that_claims_to_be_huge_is_not_waited_for(tmp_path, caplog):
    with (
        listening(tmp_path / "q", object_bytes=1000) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as peer,
    ):
        peer.sendall(struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + bytes(64))
        began = time.monotonic()
        with suppress(ConnectionError):
            assert peer.recv(100) == b""
        assert time.monotonic() - began < 15
        assert "its object is larger" in caplog.text


def test_a_full_queue(pet, tmp_path):
    with listening(tmp_path / "q", queue_bytes=4000) as port:
        found = numbers(send(port, pet))
        assert found[0] == 0
        assert found[-1] == 0xA700


def test_senders_at_once(tmp_path):
    with listening(tmp_path / "q", associations=2) as port:
        first, second = (associate(port, [VERIFICATION]) for _ in range(2))
        assert associate(port, [VERIFICATION]).is_rejected
        first.release()
        time.sleep(0.5)
        third = associate(port, [VERIFICATION])
        assert third.is_established
        for each in (second, third):
            each.release()


def test_the_pace():
    pace = Pace(50.0)
    began = time.monotonic()
    for _ in range(50):
        pace.wait()
    assert time.monotonic() - began < 0.5  # a second's worth at once
    for _ in range(10):
        pace.wait()
    assert 0.1 < time.monotonic() - began < 2


def test_a_port_in_use(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Listen("127.0.0.1", other.getsockname()[1], "PETRT", ("A",))
        with (
            Queue(tmp_path / "q", Limits()).opened() as queue,
            pytest.raises(UsageError, match="Address already in use"),
            receiving(queue, taken, Limits()),
        ):
            pass
