"""The node's queue: a folder with one folder a series, whose place says how far it is.

    received/NAME/objects    comes in
    incomplete/NAME          has fewer objects than it should, and no more came
    complete/NAME            is to be reconstructed; with series-..., the derived series, to be sent;
                             with the file ``sent``, to be put away
    failed/NAME              could not be reconstructed or sent; ``reason.txt`` says why
    kept/NAME                is done, with --keep
    done/NAME.json           the record of a series that is done

NAME is a hash of the SeriesInstanceUID. Each step is one rename or one new file, flushed to the disk, so
that a killed node goes on where it was. Folders may be moved by hand while no node runs.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petrt.errors import PetrtError, UsageError, first_line
from petrt.files.atomic import atomic_write_bytes, atomic_write_json
from petrt.files.json_text import parsed
from petrt.files.locks import owned
from petrt.files.outputs import explained
from petrt.files.scratch import sync_folder
from petrt.io.dicom.bounded import bounded
from petrt.node.limits import Limits
from petrt.node.names import label_of, name_of
from petrt.node.objects import DUPLICATE, FULL, Received, Refused

PLACES = ("received", "incomplete", "complete", "failed", "kept", "done", "trash")
OBJECTS, SENT, REASON, EXPECTED = "objects", "sent", "reason.txt", "expected"


@dataclass(frozen=True)
class Case:
    """A series in the queue."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def label(self) -> str:
        """What it is called in logs."""
        return label_of(self.name)

    @property
    def objects(self) -> Path:
        """The folder of what was received."""
        return self.path / OBJECTS

    @property
    def derived(self) -> Path:
        """The folder of the derived series; it appears whole."""
        return self.path / self.label.replace(" ", "-")

    @property
    def is_sent(self) -> bool:
        return (self.path / SENT).exists()

    def uid(self) -> str:
        """The SeriesInstanceUID, from an object."""
        from pydicom import dcmread

        with bounded(min(self.objects.glob("*.dcm"))) as stream:
            tags = dcmread(stream, specific_tags=["SeriesInstanceUID"])
        return str(tags.get("SeriesInstanceUID", ""))

    def mark_sent(self) -> None:
        atomic_write_bytes(self.path / SENT, b"", overwrite=True)


@dataclass
class _Open:
    """A series that comes in: how many objects it has and should have, and when the last one came."""

    objects: int = 0
    expected: int = 0
    last: float = field(default_factory=time.monotonic)


class Queue:
    """The queue in ``folder``; one process has it, between ``opened`` and its end. Threads may share it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._used = 0

    @contextmanager
    def opened(self) -> Iterator[Queue]:
        """Make the folder or go on with it. Raises UsageError if that cannot be, or if a node has it."""
        with explained(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with owned(self._folder):
            with explained(self._folder):
                for place in PLACES:
                    (self._folder / place).mkdir(mode=0o700, exist_ok=True)
                for each in self._in("trash"):
                    shutil.rmtree(each, ignore_errors=True)
                self._open = {each.name: _opened(each) for each in self._in("received")}
            self.measure()
            yield self

    def add(self, item: Received) -> None:
        """Put an object on the disk. When this returns it is there, whatever happens to the machine.

        An object that is here already, with the same bytes, is not written again. Raises Refused.
        """
        name = name_of(item.series)
        file = f"{name_of(item.instance)}.dcm"
        with self._lock:
            for place in ("complete", "received", "incomplete"):
                there = self._folder / place / name / OBJECTS / file
                if there.exists():
                    if there.read_bytes() != item.content:
                        raise Refused(DUPLICATE, "another object with its SOPInstanceUID is here")
                    if name in self._open:
                        self._open[name].last = time.monotonic()
                    return
            if len(item.content) > self._limits.object_bytes:
                raise Refused(FULL, "larger than objects may be")
            if self._used + len(item.content) > self._limits.queue_bytes:
                raise Refused(FULL, "the queue is full", again=True)
            if self._of(name).objects >= self._limits.objects:
                raise Refused(FULL, "its series has more objects than one may have")
            try:
                self._make(name, item.expected)
                target = self._folder / "received" / name / OBJECTS / file
                atomic_write_bytes(target, item.content)
            except (PetrtError, OSError) as error:  # such as a full disk
                why = f"cannot be written: {first_line(error)}"
                raise Refused(FULL, why, again=True) from error
            self._used += len(item.content)
            self._open[name].objects += 1
            self._open[name].last = time.monotonic()

    def expect(self, series: str, objects: int) -> None:
        """A series of ``objects`` objects comes in: it is not complete before all are here."""
        with self._lock:
            self._make(name_of(series), objects)

    def settle(self, quiet: float, patience: float) -> list[tuple[Case, str]]:
        """Move on the series to which nothing was added: for ``quiet`` seconds those that are complete, for
        ``patience`` seconds the others. Returns them, each with the reason that keeps it aside, or ""."""
        moved = []
        now = time.monotonic()
        with self._lock:
            for name, state in list(self._open.items()):
                short = state.objects < max(1, state.expected)
                if now - state.last < (max(quiet, patience) if short else quiet):
                    continue
                if not short and (self._folder / "complete" / name).exists():
                    continue  # its predecessor is being worked on
                reason = f"{state.objects} of {state.expected} objects came" if short else ""
                here = Case(self._folder / "received" / name)
                if short:
                    _say(here.path, reason)
                del self._open[name]
                moved.append((self._move(here, "incomplete" if short else "complete"), reason))
        return moved

    def cases(self) -> list[Case]:
        """The series that are complete, oldest first."""
        found = self._in("complete")
        return [Case(each) for each in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def is_empty(self) -> bool:
        """Whether nothing comes in and nothing is to be done."""
        with self._lock:
            return not self._open and not self._in("complete")

    def fail(self, case: Case, reason: str) -> None:
        """Keep a series aside for ``reason``, one line."""
        with self._lock:
            self._open.pop(case.name, None)
            _say(case.path, reason)
            self._move(case, "failed")

    def finish(self, case: Case, record: dict[str, Any], *, keep: bool) -> None:
        """A series is done: write its ``record``, and delete it unless it is to be kept."""
        with self._lock:
            atomic_write_json(self._folder / "done" / f"{case.name}.json", record, overwrite=True)
            gone = self._move(case, "kept" if keep else "trash")
        if not keep:
            shutil.rmtree(gone.path, ignore_errors=True)
        self.measure()

    def receiving(self, series: str) -> Case:
        """The series as it comes in."""
        return Case(self._folder / "received" / name_of(series))

    def waits(self, series: str, objects: int) -> bool:
        """Whether ``objects`` objects of a series are here, or it is being worked on, or has failed."""
        name = name_of(series)
        with self._lock:
            if any((self._folder / place / name).exists() for place in ("complete", "failed")):
                return True
            return name in self._open and self._open[name].objects >= objects

    def done(self, series: str) -> dict[str, Any] | None:
        """The record of a series that is done; None if it is not."""
        try:
            path = self._folder / "done" / f"{name_of(series)}.json"
            content = parsed(path.read_bytes())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def measure(self) -> None:
        """Count the bytes in the queue again."""
        used = sum(
            os.lstat(os.path.join(parent, name)).st_size
            for parent, _, names in os.walk(self._folder)
            for name in names
            if os.path.lexists(os.path.join(parent, name))
        )
        with self._lock:
            self._used = used

    def _in(self, place: str) -> list[Path]:
        return [each for each in sorted((self._folder / place).iterdir()) if each.is_dir()]

    def _of(self, name: str) -> _Open:
        return self._open.get(name) or _Open()

    def _make(self, name: str, expected: int) -> None:
        """The folder of a series that comes in; one that was kept aside as incomplete comes back."""
        path = self._folder / "received" / name
        if name not in self._open:
            aside = self._folder / "incomplete" / name
            if aside.exists():
                os.rename(aside, path)
                sync_folder(aside.parent)
            (path / OBJECTS).mkdir(parents=True, exist_ok=True)
            sync_folder(path)
            sync_folder(path.parent)
            self._open[name] = _opened(path)
        if expected > self._open[name].expected:
            atomic_write_bytes(path / EXPECTED, str(expected).encode(), overwrite=True)
            self._open[name].expected = expected

    def _move(self, case: Case, place: str) -> Case:
        """Rename a series into ``place``; the second of a name there gets a number."""
        target = self._folder / place / case.name
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{case.name}-{number}")
        os.rename(case.path, target)
        sync_folder(target.parent)
        sync_folder(case.path.parent)
        return Case(target)


def _opened(path: Path) -> _Open:
    """What lies in a folder of received/, without the scratch files of a killed process."""
    try:
        names = os.listdir(path / OBJECTS)
    except OSError:
        names = []
    try:
        expected = int((path / EXPECTED).read_bytes())
    except (OSError, ValueError):
        expected = 0
    return _Open(sum(name.endswith(".dcm") for name in names), expected)


def _say(folder: Path, reason: str) -> None:
    try:
        atomic_write_bytes(folder / REASON, f"{reason}\n".encode(), overwrite=True)
    except UsageError:  # a full disk; the log has the reason, too
        return
