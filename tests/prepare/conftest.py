"""Log lines reach caplog, whatever a command run before did to the logger."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    logger = logging.getLogger("petrt")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
