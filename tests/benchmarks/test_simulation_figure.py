"""The sheet of simulated subjects."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import simulation_figure
from petrt.data.simulate import write_dataset
from petrt.data.simulate.subject import drawn_parameters
from petrt.data.simulate.varied import subject


def test_sheet_of_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(subject, "HEAD_SHAPE", (64, 64, 64))
    monkeypatch.setattr(subject, "HEAD_MM", 4.0)
    write_dataset(tmp_path / "set", (2000,), 2023, (20,), scanner="varied", voxel_mm=None)
    command = ["figure", str(tmp_path / "set"), str(tmp_path / "sheet.png")]
    monkeypatch.setattr(sys, "argv", command)
    simulation_figure.main()
    with image.open(tmp_path / "sheet.png") as sheet:
        width, height = sheet.size
        assert width > 3 * height
        assert len(sheet.convert("L").getcolors()) > 20


def test_captions_name_what_was_drawn() -> None:
    assert simulation_figure.caption(drawn_parameters(2023, 2000)).startswith("amyloid +, 4 x 4 mm")
