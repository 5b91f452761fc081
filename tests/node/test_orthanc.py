"""A real Orthanc on both sides of ``petrt node``: what comes back is what ``petrt reconstruct`` writes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from petrt.cli.app import run
from petrt.io.dicom import series as dicom
from petrt.node.names import name_of
from tests.helpers import contents
from tests.io.dicom.dicom_files import PATIENT, SERIES, STUDY, change
from tests.node.orthanc import TITLE, Orthanc, free_port

pytestmark = pytest.mark.slow  # .ci/run runs this file

NAME = name_of(SERIES)
FAST = ("--quiet-seconds", "0.3")


class Process:
    """A running ``petrt node``."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            command = [sys.executable, "-m", "petrt", "node", *arguments]
            self.process = subprocess.Popen(command, stdout=output, stderr=output)

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def port(self) -> int:
        return int(self.waits_for(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def waits_for(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        until = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < until, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.02)
        return found

    def ends(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def options(tiny_bundle) -> list[str]:
    return [
        "--model",
        str(tiny_bundle),
        "--threads",
        "1",
        "--steps",
        "2",
        "--allow-activity-change",
    ]


@pytest.fixture
def node(options, tmp_path) -> Iterator[Callable[..., Process]]:
    """Starts nodes with the small model and one queue."""
    started = []

    def start(*arguments: str) -> Process:
        log = tmp_path / f"log{len(started)}"
        started.append(Process(["--queue", str(tmp_path / "q"), *arguments, *FAST, *options], log))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def expected(pet, options, tmp_path) -> Path:
    """What the command writes."""
    arguments = ["reconstruct", str(pet[0].parent), str(tmp_path / "cli"), "--out-format", "dicom"]
    assert run([*arguments, *options]) == 0
    return tmp_path / "cli"


def fields(folder: Path) -> dict[str, str]:
    """SOPInstanceUID -> all fields, as DICOM JSON.

    The key is that of the source's files, whose meta headers are rewritten on their way.
    """
    found = {}
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        text = re.sub(r"\bkey [0-9a-f]{15},", "key,", dataset.to_json())
        assert text.count("key, 4 files") == 1
        found[str(dataset.SOPInstanceUID)] = text
    return found


def objects_in(queue: Path) -> list[str]:
    """Names of the objects in a queue. It may change meanwhile: walk passes over what goes, glob does not."""
    return [name for _, _, names in os.walk(queue) for name in names if name.endswith(".dcm")]


def check_result(orthanc: Orthanc, expected: Path, tmp_path: Path) -> None:
    """Orthanc has the source, and the derived series once: the same values and fields as ``expected``."""
    (uid,) = set(orthanc.series()) - {SERIES}
    folder = orthanc.download(uid, tmp_path / "back")
    np.testing.assert_array_equal(dicom.read(folder).data, dicom.read(expected).data)
    assert fields(folder) == fields(expected)


def source_in(orthanc: Orthanc) -> list[str]:
    """Orthanc's name of the source series."""
    return [
        each
        for each in orthanc.ask("series")
        if orthanc.ask(f"series/{each}")["MainDicomTags"]["SeriesInstanceUID"] == SERIES
    ]


def receiver(orthanc: Orthanc) -> list[str]:
    return ["--port", "0", "--ae", "NODE", "--allow", TITLE, "--forward", orthanc.peer]


def test_a_series_goes_out_and_comes_back(orthanc, pet, node, expected, tmp_path):
    orthanc.upload(pet)
    running = node(*receiver(orthanc))
    sent = orthanc.send("NODE", running.port, source_in(orthanc))
    assert sent["FailedInstancesCount"] == 0
    running.waits_for("sent, 4 objects")
    until = time.monotonic() + 10
    while objects_in(tmp_path / "q"):  # until it is put away
        assert time.monotonic() < until
    assert running.ends(signal.SIGTERM) == 143
    check_result(orthanc, expected, tmp_path)
    for secret in (PATIENT, SERIES, STUDY):
        assert secret not in running.text
    assert running.text.rstrip().endswith("stopped by SIGTERM; the queue is kept")


@pytest.mark.parametrize("when", ["received", "reconstructed", "sent"])
def test_killed_between_two_steps_the_result_comes_once(
    orthanc, pet, node, expected, options, tmp_path, when
):
    orthanc.upload(pet)
    down = [*receiver(orthanc)[:-1], f"PACS@127.0.0.1:{free_port()}"]
    if when == "received":  # never complete
        running = node(*receiver(orthanc), "--quiet-seconds", "600")
    elif when == "reconstructed":
        running = node(*down)
    else:
        running = node(*receiver(orthanc))
    orthanc.send("NODE", running.port, source_in(orthanc))
    if when == "reconstructed":
        running.waits_for("not sent: PACS@127.0.0.1:[0-9]+ does not answer")
    elif when == "sent":
        running.waits_for("sent, 4 objects")
    assert running.ends(signal.SIGKILL) == -signal.SIGKILL
    again = node("--once", "--forward", orthanc.peer)
    assert again.ends() == 0, again.text
    check_result(orthanc, expected, tmp_path)
    if when == "reconstructed":
        assert "engine:" not in again.text  # it was there, and was only sent
    assert list((tmp_path / "q").rglob("*.dcm")) == []


def test_a_forward_target_that_comes_up_later(orthanc, pet, node, expected, tmp_path):
    """Its port is closed at first: the node tries again."""
    port = free_port()
    orthanc.upload(pet)
    running = node(
        "--port", "0", "--ae", "NODE", "--allow", TITLE, "--forward", f"{TITLE}@127.0.0.1:{port}"
    )
    orthanc.send("NODE", running.port, source_in(orthanc))
    running.waits_for("does not answer; again in")
    with relay(port, orthanc.dicom):
        running.waits_for("sent, 4 objects")
        assert running.ends(signal.SIGINT) == 130
    check_result(orthanc, expected, tmp_path)


def relay(port: int, to: int):
    """Connects a port to another one."""
    import socketserver
    import threading
    from contextlib import contextmanager

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            import select
            import socket

            with socket.create_connection(("127.0.0.1", to)) as there:
                ends = {self.request: there, there: self.request}
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        if not (content := end.recv(1 << 16)):
                            return
                        ends[end].sendall(content)

    @contextmanager
    def running():
        with socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    return running()


def test_strangers_and_other_objects_are_refused(orthanc, pet, node, tmp_path):
    for path in pet[1:]:
        change(path, SeriesInstanceUID="1.2.88", Modality="CT")
    orthanc.upload(pet)
    stranger = node("--port", "0", "--ae", "NODE", "--allow", "OTHER", "--forward", orthanc.peer)
    with pytest.raises(OSError, match="500"):  # Orthanc's job fails
        orthanc.send("NODE", stranger.port, source_in(orthanc))
    stranger.waits_for("rejected: AE title ORTHANC")
    assert stranger.ends(signal.SIGTERM) == 143
    running = node(*receiver(orthanc))
    others = [each for each in orthanc.ask("series") if each not in source_in(orthanc)]
    with pytest.raises(OSError, match="500"):
        orthanc.send("NODE", running.port, others)
    running.waits_for(r"refused \(A900\): not an image of a PET series")
    large = node(*receiver(orthanc), "--max-object", "0.001", "--queue", str(tmp_path / "q2"))
    with pytest.raises(OSError, match="500"):
        orthanc.send("NODE", large.port, source_in(orthanc))
    large.waits_for(r"refused \(A700\): larger than objects may be")
    assert list(tmp_path.glob("q*/**/*.dcm")) == []


def test_by_dicomweb(orthanc, pet, node, expected, tmp_path):
    orthanc.upload(pet)
    for _ in range(2):  # the second run finds nothing new
        running = node("--dicomweb", orthanc.web, "--once", "--since", "2000-01-01")
        assert running.ends() == 0, running.text
    check_result(orthanc, expected, tmp_path)
    assert "sent" not in running.text
    assert SERIES not in running.text
    assert list((tmp_path / "q").rglob("*.dcm")) == []


def test_by_dicomweb_killed_and_polling(orthanc, pet, node, expected, tmp_path):
    orthanc.upload(pet)
    first = node("--dicomweb", orthanc.web, "--quiet-seconds", "600")
    first.waits_for("retrieved")
    assert first.ends(signal.SIGKILL) == -signal.SIGKILL
    assert len(contents(tmp_path / "q" / "received" / NAME / "objects")) == 4
    running = node("--dicomweb", orthanc.web, "--poll-seconds", "0.2")
    running.waits_for("sent, 4 objects")
    time.sleep(1)
    assert running.ends(signal.SIGTERM) == 143
    assert running.text.count("sent, 4 objects") == 1
    check_result(orthanc, expected, tmp_path)


def test_a_series_that_fails_is_kept_with_its_reason(orthanc, pet, node, tmp_path):
    for path in pet:
        change(path, Units="PROPCNTS")
    orthanc.upload(pet)
    running = node("--dicomweb", orthanc.web, "--once")
    assert running.ends() == 5
    reason = (tmp_path / "q" / "failed" / NAME / "reason.txt").read_text()
    assert reason.startswith(f"series {NAME[:12]}: DICOM field Units is PROPCNTS")
    assert set(orthanc.series()) == {SERIES}
    assert os.listdir(tmp_path / "q" / "complete") == []
    assert SERIES not in running.text
