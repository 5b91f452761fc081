"""A real Orthanc, the open DICOM server, on free ports of this machine."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("Orthanc")
PLUGINS = Path("/usr/share/orthanc/plugins")
TITLE = "ORTHANC"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """Its REST interface, and what the tests ask of it."""

    def __init__(self, http: int, dicom: int) -> None:
        self.http, self.dicom = f"http://127.0.0.1:{http}", dicom

    @property
    def web(self) -> str:
        """The URL of its DICOMweb server."""
        return f"{self.http}/dicom-web"

    @property
    def peer(self) -> str:
        """As --forward takes it."""
        return f"{TITLE}@127.0.0.1:{self.dicom}"

    def ask(self, path: str, content: Any = None, method: str | None = None) -> Any:
        """One request; ``content`` is bytes or becomes JSON."""
        data = (
            content
            if content is None or isinstance(content, bytes)
            else json.dumps(content).encode()
        )
        request = urllib.request.Request(f"{self.http}/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    def upload(self, files: list[Path]) -> None:
        for file in files:
            self.ask("instances", file.read_bytes())

    def series(self) -> dict[str, list[str]]:
        """SeriesInstanceUID -> Orthanc's names of its instances."""
        found = {}
        for each in self.ask("series"):
            facts = self.ask(f"series/{each}")
            found[facts["MainDicomTags"]["SeriesInstanceUID"]] = facts["Instances"]
        return found

    def download(self, uid: str, folder: Path) -> Path:
        """The files of a series, in a new ``folder``."""
        folder.mkdir()
        for number, each in enumerate(self.series()[uid]):
            (folder / f"{number}.dcm").write_bytes(self.ask(f"instances/{each}/file"))
        return folder

    def send(self, title: str, port: int, what: list[str]) -> dict[str, Any]:
        """Let Orthanc send its ``what`` (names of series or instances) to a node, as ORTHANC."""
        self.ask("modalities/node", {"AET": title, "Host": "127.0.0.1", "Port": port}, "PUT")
        order = {"Resources": what, "Synchronous": True, "Timeout": 20}
        return self.ask("modalities/node/store", order)

    def empty(self) -> None:
        for each in self.ask("patients"):
            self.ask(f"patients/{each}", method="DELETE")


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """An Orthanc whose data lie in ``folder``."""
    assert PROGRAM is not None
    http, dicom = free_port(), free_port()
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "data"),
        "IndexDirectory": str(folder / "data"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": TITLE,
        "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": True,
        "AuthenticationEnabled": False,
        "DicomScuTimeout": 20,
        "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder
        )
    server = Orthanc(http, dicom)
    try:
        _wait(server, process, folder / "log")
        yield server
    finally:
        process.kill()  # its data are of no more use, and it takes seconds to end
        process.wait()


def _wait(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            assert "dicom-web" in server.ask("plugins")
            return
        except (urllib.error.URLError, ConnectionError):
            ended = process.poll() is not None
            if ended or time.monotonic() > until:
                raise AssertionError(log.read_text(errors="replace")[-2000:]) from None
            time.sleep(0.1)
