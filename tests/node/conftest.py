"""Series, a queue, and a real Orthanc where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from petrt.node.limits import Limits
from petrt.node.queue import Queue
from tests.io.dicom.dicom_files import write_series
from tests.models import noisy_blob
from tests.node import orthanc as server

SHAPE = (16, 16, 4)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, -2, 0, 40], [0, 0, 2, -10], [0, 0, 0, 1]])


@pytest.fixture
def pet(tmp_path) -> list[Path]:
    """The files of a small PET series."""
    return write_series(tmp_path / "pet", noisy_blob(SHAPE), AFFINE)


@pytest.fixture
def queue(tmp_path) -> Iterator[Queue]:
    with Queue(tmp_path / "queue", Limits()).opened() as opened:
        yield opened


@pytest.fixture(scope="session")
def _orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Orthanc]:
    if server.PROGRAM is None or not (server.PLUGINS / "libOrthancDicomWeb.so").exists():
        pytest.skip("needs Orthanc: apt-get install orthanc orthanc-dicomweb")
    with server.running(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def orthanc(_orthanc: server.Orthanc) -> Iterator[server.Orthanc]:
    """An empty Orthanc."""
    _orthanc.empty()
    yield _orthanc
    _orthanc.empty()
