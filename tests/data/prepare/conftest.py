"""A source of clean pairs; log lines reach caplog, whatever a command run before did to the logger."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from tests.data.prepare.scans import challenge


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    logger = logging.getLogger("petrt")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return challenge(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def source(clean, tmp_path) -> Path:
    return shutil.copytree(clean, tmp_path / "source")
