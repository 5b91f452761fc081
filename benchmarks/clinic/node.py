"""The round trip through a real Orthanc: a PET series out, through ``petrt node``, and the derived one back.

Needs Orthanc (Debian packages orthanc and orthanc-dicomweb).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

QUIET_S = 1.0


def section(model: str = "demo", shape: tuple[int, int, int] = (64, 64, 8)) -> dict[str, Any]:
    """Seconds from the first object sent to the derived series in Orthanc, by C-STORE and by DICOMweb.

    They include the quiet time of ``QUIET_S``. By C-STORE the node runs already, by DICOMweb (``--once``) its
    start is included.
    """
    from tests.io.dicom.dicom_files import SERIES, write_series
    from tests.models import noisy_blob
    from tests.node.orthanc import TITLE, running

    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    common = ["--model", model, "--allow-activity-change", "--quiet-seconds", str(QUIET_S)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_series(folder / "pet", noisy_blob(shape), affine)
        (folder / "orthanc").mkdir()
        with running(folder / "orthanc") as server:
            server.upload(files)
            log = folder / "log"
            with log.open("wb") as output:
                node = _start(
                    "--queue",
                    str(folder / "q"),
                    "--port",
                    "0",
                    "--allow",
                    TITLE,
                    "--forward",
                    server.peer,
                    *common,
                    stderr=output,
                )
            port = int(_found(r"listening on \S+:(\d+)", log, node))
            began = time.perf_counter()
            server.send("PETRT", port, server.ask("series"))
            sent = time.perf_counter()
            _found("(sent), ", log, node)
            ended = time.perf_counter()
            node.terminate()
            node.wait()
            (uid,) = set(server.series()) - {SERIES}
            objects = len(server.series()[uid])
            web = time.perf_counter()
            once = _start(
                "--queue", str(folder / "q2"), "--dicomweb", server.web, "--once", *common
            )
            code = once.wait()
            web = time.perf_counter() - web
            same = code == 0 and set(server.series()) == {SERIES, uid}
    return {
        "shape": list(shape),
        "objects": objects,
        "quiet_seconds": QUIET_S,
        "c_store": {"send_seconds": round(sent - began, 2), "seconds": round(ended - began, 2)},
        "dicomweb_once_seconds": round(web, 2),
        "same_uids_by_both_ways": same,
    }


def _start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "petrt", "node", *arguments], **options)


def _found(pattern: str, log: Path, node: subprocess.Popen[bytes]) -> str:
    """What the log says, as soon as it does."""
    while (found := re.search(pattern, log.read_text())) is None:
        if node.poll() is not None:
            raise RuntimeError(log.read_text())
        time.sleep(0.02)
    return found[1]
