"""Neutral names: UIDs come from outside and may identify a patient, so neither paths nor logs hold them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

_SHOWN = 12


def name_of(uid: str) -> str:
    """The file or folder name that stands for a UID: 32 hexadecimal digits of its hash."""
    return hashlib.sha256(f"petrt node {uid}".encode()).hexdigest()[:32]


def label_of(name: str) -> str:
    """How a series of this name is called in logs."""
    return f"series {name[:_SHOWN]}"


def without(text: str, uid: str, name: str) -> str:
    """``text`` in which the series' UID is replaced by the beginning of its neutral name."""
    return text.replace(uid, name[:_SHOWN]) if uid else text


@contextmanager
def logged_without(uid: str, name: str) -> Iterator[None]:
    """Within the block no log line of petrt holds the series' UID; as JSON it names the case."""

    def neutral(record: logging.LogRecord) -> bool:
        record.msg, record.args = without(record.getMessage(), uid, name), ()
        record.case = label_of(name)
        return True

    handlers = logging.getLogger("petrt").handlers[:]
    for handler in handlers:
        handler.addFilter(neutral)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(neutral)
