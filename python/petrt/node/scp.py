"""Receives PET images by C-STORE and answers C-ECHO. An object is on the disk before Success is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petrt.errors import UsageError, first_line
from petrt.files.names import printable
from petrt.files.system import reason_of
from petrt.node.limits import Limits, Pace
from petrt.node.objects import FAULT, FULL, NOT_SUPPORTED, PET_CLASSES, SUCCESS, Refused, examine
from petrt.node.queue import Queue

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger("petrt")

# Seconds that a sender may be silent.
SILENCE_S = 60.0
# Beside its objects a message has its command, a PDU its header.
_ROOM = 1 << 20


@dataclass(frozen=True)
class Listen:
    """Where the node listens, as ``ae_title``, and whose objects it takes: the AE titles ``allowed``."""

    host: str
    port: int
    ae_title: str
    allowed: tuple[str, ...]


@contextmanager
def receiving(queue: Queue, listen: Listen, limits: Limits) -> Iterator[int]:
    """Put what is received into ``queue`` during the block, in threads. Yields the port.

    Raises UsageError if the port cannot be used.
    """
    from pynetdicom import AE, _config

    _config.LOG_HANDLER_LEVEL = "none"  # its debug log would hold whole datasets
    ae = AE(ae_title=listen.ae_title)
    ae.require_called_aet, ae.require_calling_aet = True, list(listen.allowed)
    ae.maximum_associations = limits.associations
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = SILENCE_S
    for sop_class, syntaxes in _contexts():
        ae.add_supported_context(sop_class, syntaxes)
    try:
        server = ae.start_server(
            (listen.host, listen.port), block=False, evt_handlers=_handlers(queue, limits)
        )
    except (OSError, OverflowError) as error:
        why = reason_of(error) if isinstance(error, OSError) else first_line(error)
        raise UsageError(
            f"cannot listen on {printable(listen.host)}:{listen.port}: {why}",
            "choose another --port or --host",
        ) from error
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        ae.shutdown()


def readable_syntaxes() -> list[str]:
    """The transfer syntaxes whose pixels can be read here. In others a sender must not send."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
    from pynetdicom import ALL_TRANSFER_SYNTAXES

    found = []
    for each in map(UID, ALL_TRANSFER_SYNTAXES):
        if not each.is_compressed or each == DeflatedExplicitVRLittleEndian:
            found.append(str(each))
            continue
        try:
            if get_decoder(each).is_available:
                found.append(str(each))
        except NotImplementedError:
            continue
    return found


def _contexts() -> Iterator[tuple[str, Sequence[str]]]:
    """PET in all syntaxes that can be read. All other kinds of storage are negotiated, too, so that each
    object is refused by its status and does not end the sender's association."""
    from pynetdicom import DEFAULT_TRANSFER_SYNTAXES, AllStoragePresentationContexts

    yield "1.2.840.10008.1.1", DEFAULT_TRANSFER_SYNTAXES  # Verification: C-ECHO
    for context in AllStoragePresentationContexts:
        sop_class = str(context.abstract_syntax)
        pet = sop_class in PET_CLASSES
        yield sop_class, readable_syntaxes() if pet else DEFAULT_TRANSFER_SYNTAXES


def _handlers(queue: Queue, limits: Limits) -> list[Any]:
    from pynetdicom import evt

    pace = Pace(limits.per_second)
    return [
        (evt.EVT_CONN_OPEN, _guard, [limits.object_bytes]),
        (evt.EVT_REJECTED, _tell_rejected),
        (evt.EVT_C_ECHO, lambda event: SUCCESS),
        (evt.EVT_C_STORE, _store, [queue, limits, pace]),
    ]


def _store(event: Any, queue: Queue, limits: Limits, pace: Pace) -> int | Dataset:
    """Take one object, or refuse it with a status and a reason of at most 64 characters."""
    pace.wait()
    event.assoc.petrt_bytes = 0
    try:
        sop_class = str(event.request.AffectedSOPClassUID)
        if sop_class not in PET_CLASSES:
            raise Refused(NOT_SUPPORTED, "only PET images are taken")
        if event.request.DataSet.getbuffer().nbytes > limits.object_bytes:
            raise Refused(FULL, "larger than objects may be")
        instance = str(event.request.AffectedSOPInstanceUID)
        queue.add(examine(event.encoded_dataset(), sop_class, instance))
    except Refused as refused:
        logger.warning("an object is refused (%04X): %s", refused.status, refused.reason)
        return _status(refused)
    except (
        Exception
    ) as error:  # of pydicom, for what nobody thought of; its text may name a patient
        logger.error("an object is refused (%04X): %s", FAULT, type(error).__name__)
        return FAULT
    return SUCCESS


def _status(refused: Refused) -> Dataset:
    from pydicom import Dataset

    status = Dataset()
    status.Status = refused.status
    status.ErrorComment = refused.reason[:64]
    return status


def _guard(event: Any, object_bytes: int) -> None:
    """End an association that sends far more for one object than objects may have, before it is in memory.

    pynetdicom itself collects a message of any size, and a PDU of the size that its sender states.
    """
    association = event.assoc
    socket = association.dul.socket
    receive = socket.recv
    association.petrt_bytes = 0

    def limited(number: int) -> Any:
        association.petrt_bytes += number
        if association.petrt_bytes > 2 * object_bytes + _ROOM:
            logger.warning("an association is ended: its object is larger than objects may be")
            socket.socket.close()
            raise OSError("too large")
        return receive(number)

    socket.recv = limited


def _tell_rejected(event: Any) -> None:
    request = event.assoc.requestor.primitive
    calling = printable(str(getattr(request, "calling_ae_title", "")))[:16]
    logger.warning("an association is rejected: AE title %s, or too many at once", calling)
