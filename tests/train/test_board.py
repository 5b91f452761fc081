"""TensorBoard: what can be read back, which way up pictures are, and life without it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from petrt.data.dataset import Pair
from petrt.train.board import ERROR_GAIN, FOLDER, Board, panel
from petrt.train.fit import fit
from petrt.train.validate import ValidationSlices
from tests.train.runs import Stopped, config, stop_at


def read(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / FOLDER))
    events.Reload()
    return events


def test_curves_and_pictures_of_a_run_that_was_resumed(data, tmp_path):
    settings = config(8, validate_every=2, checkpoint_every=4, coarse_steps=7)
    with pytest.raises(Stopped):
        fit(settings, data, tmp_path, progress=stop_at(7))
    fit(settings, data, tmp_path, resume=True)
    events = read(tmp_path)
    scalars = set(events.Tags()["scalars"])
    assert {"train/terms/coarse", "train/terms/denoiser", "train/norm", "train/rate"} <= scalars
    assert {"train/waiting", "psnr standard/low", "psnr standard/ams"} <= scalars
    # Step 6 was done twice and shows once.
    assert [e.step for e in events.Scalars("psnr standard/coarse")] == [2, 4, 6, 8]
    before, after = sorted(events.Tags()["images"])  # the denoiser joined
    assert before == f"sub-0002: low | coarse | full | {ERROR_GAIN:g} x error"
    assert after == f"sub-0002: low | coarse | sample | ams | full | {ERROR_GAIN:g} x error"
    picture = events.Images(after)[-1]
    assert (picture.step, picture.width) == (8, 6 * 32)


def test_pictures_are_radiological_and_on_one_scale():
    full = np.zeros((1, 4, 6), np.float32)
    full[0, 3, 5] = 2.0  # rightmost and most anterior: up on the left
    pair = Pair("sub-0000", 100, full, full, 1.0, np.ones(1), 1.0)
    picture = panel(ValidationSlices(pair, (0,), 2.0), {"low": full / 2, "ams": full * 0.9})
    low, ams, truth, error = np.split(picture[0], 4, axis=1)
    assert picture.shape == (1, 6, 16)
    assert (low[0, 0], ams[0, 0], truth[0, 0]) == pytest.approx((0.5, 0.9, 1.0))
    assert error[0, 0] == pytest.approx(0.1 * ERROR_GAIN, rel=1e-5)
    assert np.count_nonzero(truth) == 1


def test_without_tensorboard_a_run_says_so_and_goes_on(data, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level("INFO", "petrt"):
        board = Board(tmp_path, 1)
    assert "TensorBoard is not installed" in caplog.text
    board.curves(1, {"a": 1.0})
    board.close()
    assert not (tmp_path / FOLDER).exists()


def test_a_disk_that_takes_no_curves_does_not_end_a_run(tmp_path, monkeypatch, caplog):
    board = Board(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    board.curves(1, {"a": 1.0, "b": 2.0})
    board.close()
    (record,) = caplog.records  # said once
    assert "No space left on device" in record.getMessage()
