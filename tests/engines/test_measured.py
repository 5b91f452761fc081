"""Measured times: kept for one model, GPU and set of versions, and never in the way."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from petrt.engines.measured import FILE, Measurement, read_measured, record_measured, time_of

MODEL, OTHER = "a" * 64, "b" * 64
pytestmark = pytest.mark.usefixtures("private_cache")


def measurement(**changes: object) -> Measurement:
    fields = {
        "model": MODEL, "gpu": "NVIDIA H100", "driver": "580.1", "engine": "torch",
        "version": "2.13.0", "precision": "bf16", "milliseconds": 2.0,
    }  # fmt: skip
    return Measurement.model_validate({**fields, **changes})


def read() -> list[Measurement]:
    return read_measured(MODEL, "NVIDIA H100", "580.1")


def test_nothing_is_measured_at_first(private_cache: Path):
    assert read() == []
    assert not private_cache.exists()


def test_a_later_time_takes_the_place_of_an_earlier_one(private_cache: Path):
    record_measured(measurement())
    record_measured(measurement(engine="tensorrt", version="11.4", milliseconds=1.5))
    record_measured(measurement(milliseconds=1.8, version="2.14.0"))
    found = read()
    assert time_of(found, "torch", "2.14.0", "bf16") == 1.8
    assert time_of(found, "torch", "2.13.0", "bf16") is None
    assert time_of(found, "tensorrt", "11.4", "bf16") == 1.5
    assert stat.S_IMODE(os.stat(private_cache).st_mode) == 0o700


@pytest.mark.parametrize(
    "change",
    [{"model": OTHER}, {"gpu": "NVIDIA A100"}, {"driver": "590.2"}, {"petrt": "0.0.1"}],
    ids=str,
)
def test_what_was_measured_on_something_else_does_not_count(change):
    record_measured(measurement(**change))
    assert read() == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": "other"}', b"\xff" * 100])
def test_a_broken_file_is_as_good_as_none_and_is_replaced(private_cache: Path, content, caplog):
    record_measured(measurement())
    (private_cache / FILE).write_bytes(content)
    with caplog.at_level(logging.INFO, "petrt"):
        assert read() == []
    assert "ignored" in caplog.text
    record_measured(measurement(milliseconds=3.0))
    assert [m.milliseconds for m in read()] == [3.0]


def test_a_folder_that_others_can_reach_is_not_used(private_cache: Path, caplog):
    record_measured(measurement())
    private_cache.chmod(0o777)
    assert read() == []
    with caplog.at_level(logging.INFO, "petrt"):
        record_measured(measurement())
    assert "cannot be kept" in caplog.text
