"""DICOMweb: against a real Orthanc, and against servers that answer something else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pydicom
import pytest

from petrt.errors import UsageError
from petrt.io.dicom import series as dicom
from petrt.io.dicom.derivation import Derivation
from petrt.io.dicom.writer import write_series
from petrt.node.limits import Limits
from petrt.node.names import name_of
from petrt.node.target import NotSent
from petrt.node.web import Found, NotReached, Poll, Wanted, WebServer
from tests.helpers import contents
from tests.io.dicom.dicom_files import SERIES, STUDY, change
from tests.node.orthanc import free_port

NAME = name_of(SERIES)


def test_series_are_found_and_retrieved(orthanc, pet, tmp_path):
    orthanc.upload(pet)
    server = WebServer(orthanc.web)
    assert list(server.find(Wanted())) == [Found(STUDY, SERIES, 4)]
    assert list(server.find(Wanted(study=STUDY, since="2000-01-01"))) == [Found(STUDY, SERIES, 4)]
    for other in (Wanted(study="1.9"), Wanted(since="2000-01-02"), Wanted(modality="CT")):
        assert list(server.find(other)) == []
    (tmp_path / "back").mkdir()
    for number, content in enumerate(server.retrieve(Found(STUDY, SERIES, 4))):
        (tmp_path / "back" / f"{number}.dcm").write_bytes(content)
    found, sent = dicom.read(tmp_path / "back"), dicom.read(pet[0].parent)
    np.testing.assert_array_equal(found.data, sent.data)


def test_many_series(orthanc, pet):
    for number in range(120):
        change(pet[0], SeriesInstanceUID=f"1.2.8.{number}", SOPInstanceUID=f"1.2.9.{number}")
        orthanc.upload(pet[:1])
    assert len({each.series for each in WebServer(orthanc.web).find(Wanted())}) == 120


def test_a_derived_series_is_stored_and_not_found_again(orthanc, pet, tmp_path):
    volume = dicom.read(pet[0].parent)
    write_series(tmp_path / "out", volume.data, volume, Derivation("m", "00", "1", "{}"))
    files = sorted((tmp_path / "out").iterdir())
    server = WebServer(orthanc.web)
    for _ in range(2):  # what is there already is no error
        server.send(files)
    uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    assert {key: len(value) for key, value in orthanc.series().items()} == {uid: 4}
    back = dicom.read(orthanc.download(uid, tmp_path / "back"))
    np.testing.assert_array_equal(back.data, dicom.read(tmp_path / "out").data)
    assert list(server.find(Wanted())) == []


def poll(orthanc, queue, settings="s", **limits) -> Poll:
    return Poll(WebServer(orthanc.web), Wanted(), queue, Limits(**limits), settings)


def test_a_series_is_taken_once(orthanc, pet, queue, tmp_path):
    orthanc.upload(pet)
    poll(orthanc, queue)()
    objects = tmp_path / "queue" / "received" / NAME / "objects"
    there = contents(objects)
    assert len(there) == 4
    poll(orthanc, queue)()
    assert contents(objects) == there
    ((case, _),) = queue.settle(0, 60)
    poll(orthanc, queue)()
    queue.finish(case, {"objects": 4, "settings": "s"}, keep=False)
    poll(orthanc, queue)()
    assert queue.is_empty()
    poll(orthanc, queue, "other settings")()
    assert not queue.is_empty()


def test_slices_that_come_later(orthanc, pet, queue):
    for path in pet:
        change(path, NumberOfSlices=None)
    orthanc.upload(pet[:2])
    poll(orthanc, queue)()
    orthanc.upload(pet[2:])
    poll(orthanc, queue)()
    ((case, _),) = queue.settle(0, 60)
    assert len(list(case.objects.iterdir())) == 4
    queue.finish(case, {"objects": 2, "settings": "s"}, keep=False)  # as if it had come too late
    poll(orthanc, queue)()
    assert not queue.is_empty()


def test_a_part_of_a_series_waits_for_the_rest(orthanc, pet, queue, tmp_path):
    """As after a kill, without NumberOfSlices: the server said how many there are."""
    for path in pet:
        change(path, NumberOfSlices=None)
    queue.expect(SERIES, 4)
    assert queue.settle(0, 60) == []
    orthanc.upload(pet)
    poll(orthanc, queue)()
    assert len(queue.settle(0, 60)) == 1


def test_what_is_refused_is_kept_aside_once(orthanc, pet, queue, tmp_path, caplog):
    change(pet[0], Rows=64)
    orthanc.upload(pet)
    for _ in range(2):
        poll(orthanc, queue)()
    reason = (tmp_path / "queue" / "failed" / NAME / "reason.txt").read_text()
    assert reason.startswith("an object is refused: object: truncated")
    assert caplog.text.count("an object is refused") == 1
    assert SERIES not in caplog.text


def test_too_many_objects(orthanc, pet, queue, tmp_path):
    orthanc.upload(pet)
    poll(orthanc, queue, objects=3)()
    assert (tmp_path / "queue" / "failed" / NAME).exists()


@contextmanager
def answering(status: int, content: bytes = b"", seen: list | None = None) -> Iterator[str]:
    """A server that gives every request this answer."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if seen is not None:
                seen.append(dict(self.headers))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "again"), [(503, True), (401, True), (409, False), (400, False)]
)
def test_refusals(pet, status, again):
    with answering(status) as url:
        server = WebServer(url)
        with pytest.raises(NotReached, match=f"answers {status}"):
            list(server.find(Wanted(study=STUDY)))
        with pytest.raises(NotSent, match=f"answers {status}") as sent:
            server.send(pet)
        assert sent.value.again == again


def test_objects_that_the_server_refuses_one_by_one(pet):
    failed = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [%d]}}]}}'
    for number, again in ((0xA700, True), (0xC000, False)):
        with answering(200, failed % number) as url:
            with pytest.raises(NotSent, match=f"refuses 1 objects, status {number:04X}") as sent:
                WebServer(url).send(pet)
            assert sent.value.again == again


def test_answers_that_are_no_dicomweb(queue, caplog):
    for content in (b"<html>", b'[{"0020000E": 7}, {"0020000E": {"Value": ["../x"]}}, 3]'):
        with answering(200, content) as url:
            Poll(WebServer(url), Wanted(study=STUDY), queue, Limits(), "")()
    assert "answer is no JSON" in caplog.text
    assert queue.is_empty()
    caplog.clear()
    Poll(WebServer(f"http://127.0.0.1:{free_port()}"), Wanted(), queue, Limits(), "")()
    said = [each.getMessage() for each in caplog.records if each.name == "petrt"]
    assert said == ["no search: the DICOMweb server is not reached"]


def test_the_authorization_is_sent(queue):
    seen: list[dict[str, str]] = []
    with answering(200, b"[]", seen) as url:
        assert list(WebServer(url, "Bearer secret").find(Wanted())) == []
    assert seen[0]["Authorization"] == "Bearer secret"


def test_what_is_wanted():
    for wrong in (Wanted(study="x"), Wanted(since="yesterday"), Wanted(modality="p t")):
        with pytest.raises(UsageError):
            wrong.check()
    assert Wanted(since="2024-02-29").filters()["StudyDate"] == "20240229-"
    assert len(Wanted(since="30d").filters()["StudyDate"]) == 9
    with pytest.raises(UsageError, match="--dicomweb is not a URL"):
        WebServer("nonsense")
