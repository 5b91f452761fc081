"""The cache of compiled models is left alone when another process does not give it back."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from petrt.engines.openvino import cache
from petrt.engines.openvino.cache import compile_cached
from tests.homeless import without_home
from tests.locks import held


class Core:
    """Plays OpenVINO: a model is compiled to its options."""

    def compile_model(self, model: str, device: str, config: dict[str, Any]) -> dict[str, Any]:
        return config


@pytest.fixture(autouse=True)
def forgetful(monkeypatch) -> None:
    monkeypatch.setattr(cache, "_told", set())
    monkeypatch.setattr(cache, "_held", set())


def test_a_lock_that_is_never_given_back_costs_seconds_once(private_cache, monkeypatch, caplog):
    compile_cached(Core(), "model", {})  # makes the folder
    lock = private_cache / "openvino" / ".lock"
    monkeypatch.setattr(cache, "LOCK_SECONDS", 0.2)
    with held(lock), caplog.at_level(logging.INFO, "petrt"):
        assert compile_cached(Core(), "model", {"a": 1}) == {"a": 1}
        monkeypatch.setattr(cache, "LOCK_SECONDS", 600.0)  # it is not waited for again
        began = time.monotonic()
        assert compile_cached(Core(), "model", {"a": 2}) == {"a": 2}
        assert time.monotonic() - began < 60
    assert [m for m in caplog.messages if "another process holds its lock" in m] == caplog.messages
    assert len(caplog.messages) == 1
    assert compile_cached(Core(), "model", {"a": 3})["CACHE_DIR"] == str(lock.parent)


def test_a_user_without_a_home_has_no_cache(monkeypatch, caplog, tmp_path):
    without_home(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO, "petrt"):
        for _ in range(2):
            assert compile_cached(Core(), "model", {"a": 1}) == {"a": 1}
    assert len(caplog.messages) == 1
    assert "no home folder" in caplog.messages[0]
    assert os.listdir(Path.cwd()) == []  # no folder named "~"
