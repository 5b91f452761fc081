"""Sends series by C-STORE."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petrt.errors import UsageError
from petrt.node.target import NotSent

CONNECT_S, ANSWER_S = 10.0, 120.0
_TITLE = re.compile(
    r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?"
)  # printable ASCII without a backslash
_WARNINGS = range(0xB000, 0xC000)
_FULL = range(0xA700, 0xA800)


def ae_title(text: str) -> str:
    """An AE title (PS3.5 6.2): at most 16 printable characters. Raises UsageError."""
    if not _TITLE.fullmatch(text):
        raise UsageError(f"AE title is {text!r}", "give at most 16 printable characters, no \\")
    return text


@dataclass(frozen=True)
class Peer:
    """An application entity in the network."""

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Peer:
        """From AE@host:port, as PACS@10.0.0.7:11112 or PACS@[::1]:11112. Raises UsageError."""
        title, _, place = text.partition("@")
        host, _, port = place.rpartition(":")
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            raise UsageError(f"--forward is {text!r}", "give AE@host:port, as PACS@10.0.0.7:11112")
        return cls(ae_title(title), host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Forward:
    """Sends to ``peer`` as ``own_title``."""

    peer: Peer
    own_title: str

    def send(self, files: Sequence[Path]) -> None:
        """See petrt.node.target.Target."""
        from pydicom.filereader import read_file_meta_info
        from pynetdicom import AE, _config

        _config.LOG_HANDLER_LEVEL = "none"
        ae = AE(ae_title=self.own_title)
        ae.connection_timeout = CONNECT_S
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_S
        metas = map(read_file_meta_info, files)
        for sop_class, syntax in {(m.MediaStorageSOPClassUID, m.TransferSyntaxUID) for m in metas}:
            ae.add_requested_context(sop_class, syntax)
        association = ae.associate(self.peer.host, self.peer.port, ae_title=self.peer.title)
        try:
            if association.rejected_contexts and not association.accepted_contexts:
                raise NotSent(f"{self.peer} takes no such PET images", again=False)
            if not association.is_established:
                why = "rejects the association" if association.is_rejected else "does not answer"
                raise NotSent(f"{self.peer} {why}", again=True)
            for number, file in enumerate(files, start=1):
                self._send(association, file, f"object {number} of {len(files)}")
        finally:
            if association.is_established:
                association.release()

    def _send(self, association: Any, file: Path, what: str) -> None:
        try:
            status = association.send_c_store(file)
        except ValueError as error:  # no presentation context was accepted
            raise NotSent(f"{self.peer} takes no such PET images", again=False) from error
        except (RuntimeError, AttributeError) as error:  # the association has ended meanwhile
            raise NotSent(f"{self.peer} ended the association", again=True) from error
        if "Status" not in status:
            raise NotSent(f"{self.peer} does not answer for {what}", again=True)
        number = int(status.Status)
        if number != 0 and number not in _WARNINGS:
            reason = f"{self.peer} refuses {what} with status {number:04X}"
            raise NotSent(reason, again=number in _FULL or number == 0x0110)
