"""The node's work: each step once, failures aside, a kill at any step."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from petrt.errors import DeviceError, InputError
from petrt.files.folder import atomic_folder
from petrt.node import work
from petrt.node.limits import Limits
from petrt.node.names import name_of
from petrt.node.objects import examine
from petrt.node.queue import Queue
from petrt.node.target import NotSent
from petrt.node.work import Node, Stopped
from tests.io.dicom.dicom_files import PATIENT, SERIES, change

NAME = name_of(SERIES)


class Killed(BaseException):
    """As SIGKILL: nothing after it runs."""


class Server:
    """Takes series; what it has by now, and what ``answers`` it gives first."""

    def __init__(self, *answers: Exception) -> None:
        self.answers, self.attempts = list(answers), 0
        self.has: dict[str, bytes] = {}

    def send(self, files: Sequence[Path]) -> None:
        self.attempts += 1
        if self.answers:
            raise self.answers.pop(0)
        self.has |= {file.name: file.read_bytes() for file in files}


def derive(source: Path, folder: Path) -> None:
    """A stand-in for the model: copies."""
    with atomic_folder(folder) as new:
        for path in source.iterdir():
            shutil.copy(path, new)


def fill(queue: Queue, files: Sequence[Path]) -> None:
    for file in files:
        queue.add(examine(file.read_bytes()))


def node(queue: Queue, server: Server, make: Callable[[Path, Path], None] = derive, **more) -> Node:
    return Node(queue, make, server, quiet=0, patience=0.2, pause=0.01, **more)


def test_a_series_goes_through(queue, pet, tmp_path, caplog):
    fill(queue, pet)
    server = Server()
    with caplog.at_level("INFO", "petrt"):
        node(queue, server, settings="abc").run(once=True)
    assert len(server.has) == 4
    assert queue.is_empty()
    assert list((tmp_path / "queue").rglob("*.dcm")) == []
    record = json.loads((tmp_path / "queue" / "done" / f"{NAME}.json").read_text())
    assert (record["objects"], record["settings"]) == (4, "abc")
    label = f"series {NAME[:12]}"
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"{label}: complete", f"{label}: sent, 4 objects"]


def test_what_is_done_may_be_kept(queue, pet, tmp_path):
    fill(queue, pet)
    node(queue, Server(), keep=True).run(once=True)
    kept = tmp_path / "queue" / "kept" / NAME
    assert len(list((kept / "objects").iterdir())) == 4
    assert len(list((kept / f"series-{NAME[:12]}").iterdir())) == 4


def test_a_server_that_is_down_is_tried_again(queue, pet, caplog):
    fill(queue, pet)
    server = Server(*(NotSent("PACS does not answer", again=True) for _ in range(3)))
    made = []

    def once(source: Path, folder: Path) -> None:
        made.append(folder)
        derive(source, folder)

    node(queue, server, once).run(once=True)
    assert (server.attempts, len(server.has), len(made)) == (4, 4, 1)
    assert "not sent: PACS does not answer; again in" in caplog.text


@pytest.mark.parametrize(("again", "attempts"), [(True, 3), (False, 1)])
def test_what_cannot_be_sent_is_kept_with_the_result(queue, pet, tmp_path, again, attempts):
    fill(queue, pet)
    server = Server(*(NotSent("PACS refuses it", again=again) for _ in range(9)))
    worker = node(queue, server, attempts=3)
    worker.run(once=True)
    assert (server.attempts, worker.failures) == (attempts, 1)
    failed = tmp_path / "queue" / "failed" / NAME
    assert (failed / "reason.txt").read_text() == f"PACS refuses it, attempt {attempts}\n"
    os.rename(failed, tmp_path / "queue" / "complete" / NAME)  # by hand, later
    server.answers = []

    def never(*_: Path) -> None:
        raise AssertionError("it is there already")

    node(queue, server, never).run(once=True)
    assert len(server.has) == 4


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError(f"series {SERIES}: slices are missing"), f"series {NAME[:12]}: slices are mis"),
        (DeviceError("no memory", "use less"), "no memory; use less"),
        (RuntimeError(PATIENT), "a fault of petrt: RuntimeError"),
    ],
)
def test_one_failure_does_not_stop_the_node(queue, pet, tmp_path, caplog, error, reason):
    fill(queue, pet)

    def fail(source: Path, folder: Path) -> None:
        if folder.parent.name == NAME:
            raise error
        derive(source, folder)

    for k, file in enumerate(pet):
        change(file, SeriesInstanceUID="1.2.77", SOPInstanceUID=f"1.2.77.{k + 1}")
    fill(queue, pet)
    server = Server()
    worker = node(queue, server, fail)
    worker.run(once=True)
    assert (len(server.has), worker.failures) == (4, 1)
    said = (tmp_path / "queue" / "failed" / NAME / "reason.txt").read_text()
    assert said.startswith(reason)
    assert len(said.splitlines()) == 1
    assert PATIENT not in caplog.text
    assert SERIES not in caplog.text


def test_an_incomplete_series_is_kept_aside(queue, pet, tmp_path, caplog):
    fill(queue, pet[:2])
    server = Server()
    node(queue, server).run(once=True)
    assert server.attempts == 0
    assert len(list((tmp_path / "queue" / "incomplete" / NAME / "objects").iterdir())) == 2
    assert "kept aside as incomplete: 2 of 4 objects came" in caplog.text


# Each is called once in a case; killed before it and after it, the next run must do the rest.
STEPS = (
    "petrt.node.queue.os.rename",
    "petrt.node.queue.sync_folder",
    "petrt.node.queue.atomic_write_bytes",
    "petrt.node.queue.atomic_write_json",
    "petrt.node.queue.shutil.rmtree",
    "petrt.files.folder.sync_folder",
)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_kill_at_any_step(pet, tmp_path, monkeypatch, step, after, call):
    server = Server()
    with Queue(tmp_path / "q", Limits()).opened() as queue:
        fill(queue, pet)
    with monkeypatch.context() as patch:
        module, name = step.rsplit(".", 1)
        owner = __import__("importlib").import_module(
            module.removesuffix(".os").removesuffix(".shutil")
        )
        for part in ("os", "shutil"):
            if module.endswith(f".{part}"):
                owner = getattr(owner, part)
        real, calls = getattr(owner, name), []

        def killing(*arguments, **options):
            calls.append(1)
            if len(calls) == call and not after:
                raise Killed
            result = real(*arguments, **options)
            if len(calls) == call:
                raise Killed
            return result

        try:
            with Queue(tmp_path / "q", Limits()).opened() as queue:
                patch.setattr(owner, name, killing)
                node(queue, server).run(once=True)
        except Killed:
            pass
    with Queue(tmp_path / "q", Limits()).opened() as queue:
        node(queue, server).run(once=True)
        assert queue.is_empty()
    assert sorted(server.has.values()) == sorted(file.read_bytes() for file in pet)
    assert list((tmp_path / "q").rglob("*.dcm")) == []
    assert len(list((tmp_path / "q" / "done").iterdir())) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_parks_the_case(queue, pet, tmp_path, number, code):
    fill(queue, pet)
    before = signal.getsignal(number)

    def interrupted(source: Path, folder: Path) -> None:
        with atomic_folder(folder):
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped) as caught:
        node(queue, Server(), interrupted).run(once=False)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) == before
    (case,) = queue.cases()
    assert os.listdir(case.path) in (["objects", "expected"], ["expected", "objects"])
    server = Server()
    node(queue, server).run(once=True)
    assert len(server.has) == 4


def test_pauses_grow_to_a_limit(queue, pet, monkeypatch):
    fill(queue, pet)
    now = [1000.0]
    pauses = []
    monkeypatch.setattr(work.time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(work.time, "sleep", sleep)
    monkeypatch.setattr(work, "_TICK_S", 1.0)

    class Down(Server):
        def send(self, files: Sequence[Path]) -> None:
            pauses.append(now[0])
            raise NotSent("down", again=True)

    Node(queue, derive, Down(), quiet=0, attempts=12, pause=1.0).run(once=True)
    found = [round(b - a) for a, b in itertools.pairwise(pauses)]
    assert found == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
