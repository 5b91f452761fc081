"""Sending by C-STORE, to a receiver of its own and to addresses where there is none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE, evt

from petrt.errors import UsageError
from petrt.node.scu import Forward, Peer, ae_title
from petrt.node.target import NotSent
from tests.node.orthanc import free_port

# pynetdicom leaves a socket that was refused to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")
PET, CT = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(autouse=True)
def _no_socket_for_later_tests() -> Iterator[None]:
    yield
    gc.collect()


@contextmanager
def receiver(answer: int, sop_class: str = PET) -> Iterator[tuple[Forward, list[str]]]:
    """One that gives every object this status."""
    got: list[str] = []

    def store(event) -> int:
        got.append(str(event.dataset.SOPInstanceUID))
        return answer

    ae = AE("PACS")
    ae.require_called_aet, ae.require_calling_aet = True, ["PETRT"]
    ae.add_supported_context(sop_class, "1.2.840.10008.1.2.1")
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield Forward(Peer("PACS", "127.0.0.1", server.server_address[1]), "PETRT"), got
    finally:
        ae.shutdown()


@pytest.mark.parametrize("answer", [0x0000, 0xB007])
def test_all_objects_arrive(pet, answer):
    with receiver(answer) as (forward, got):
        forward.send(pet)
        assert got == [f"1.2.5.{k}" for k in range(1, 5)]


@pytest.mark.parametrize(
    ("answer", "again"), [(0xA700, True), (0x0110, True), (0xA900, False), (0xC001, False)]
)
def test_a_refusal(pet, answer, again):
    with receiver(answer) as (forward, got):
        with pytest.raises(
            NotSent, match=f"refuses object 1 of 4 with status {answer:04X}"
        ) as sent:
            forward.send(pet)
        assert (sent.value.again, len(got)) == (again, 1)


def test_a_receiver_of_other_things(pet):
    with receiver(0, CT) as (forward, _), pytest.raises(NotSent, match="takes no such PET") as sent:
        forward.send(pet)
    assert not sent.value.again


def test_nobody_and_a_stranger(pet):
    with pytest.raises(NotSent, match="does not answer") as sent:
        Forward(Peer("PACS", "127.0.0.1", free_port()), "PETRT").send(pet)
    assert sent.value.again
    with receiver(0) as (forward, _):
        stranger = Forward(forward.peer, "STRANGER")
        with pytest.raises(NotSent, match="rejects the association"):
            stranger.send(pet)


def test_addresses():
    assert Peer.parse("MY PACS@host.example:104") == Peer("MY PACS", "host.example", 104)
    assert Peer.parse("PACS@[::1]:11112") == Peer("PACS", "::1", 11112)
    for wrong in ("PACS", "PACS@host", "PACS@:104", "PACS@host:0", "PACS@host:x", "PACS@h:65536"):
        with pytest.raises(UsageError, match="--forward"):
            Peer.parse(wrong)
    for wrong in ("", "A" * 17, "A\\B", " A", "Ä", "A\n"):
        with pytest.raises(UsageError, match="AE title"):
            ae_title(wrong)
