"""A run that is stopped or killed at any moment goes on, to the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from petrt.cli.app import run
from petrt.errors import UsageError
from petrt.train import checkpoints, interrupt, validate
from petrt.train.checkpoints import FOLDER, steps_of
from petrt.train.data import Batch, Slices
from petrt.train.fit import fit
from petrt.train.interrupt import TrainingStopped
from tests.train.children import Child, fit_and_kill
from tests.train.runs import as_toml, assert_same, config, log

SETTINGS = config(8, coarse_steps=1, checkpoint_every=1, validation={"subjects": 0})

# A run that begins again where the one before was killed: before the first checkpoint has its name,
# within checkpoints 0 and 2, before the deletion of old ones, within it, on the way to the last one.
MOMENTS = [
    "Path.rename:1",
    "Path.write_bytes:2",
    "Path.write_bytes:6",
    "Path.rename:4",
    "os.rmdir:4",
    "os.fsync:12",
]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, in a child like the others."""
    out = tmp_path_factory.mktemp("whole")
    assert Child(fit, SETTINGS, data, out).wait() == 0
    return out


def test_a_killed_run_resumes_to_the_same_weights(data, whole, tmp_path):
    """One run, killed again and again: in a file, between files, around the renames, while deleting."""
    for moment in MOMENTS:
        resume = bool(steps_of(tmp_path))  # killed before the first checkpoint it begins again
        assert Child(fit_and_kill, SETTINGS, data, tmp_path, resume, moment).wait() == -9, moment
    assert Child(_resume, data, tmp_path).wait() == 0
    assert_same(tmp_path, whole)
    names = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert names == ["step-00000007", "step-00000008"]


def _resume(data: Path, out: Path) -> None:
    fit(SETTINGS, data, out, resume=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_after_a_checkpoint(data, whole, tmp_path, caplog, number, code):
    def progress(step: int, _: dict[str, float]) -> None:
        if step == 3:
            os.kill(os.getpid(), number)

    settings = SETTINGS.model_copy(update={"checkpoint_every": 1000})
    before = signal.getsignal(number)
    with pytest.raises(TrainingStopped, match=r"after step 3.*continue with --resume") as stop:
        fit(settings, data, tmp_path, progress=progress)
    assert stop.value.exit_code == code
    assert signal.getsignal(number) is before
    assert steps_of(tmp_path) == [0, 3]
    assert log(tmp_path)[-1]["step"] == 3
    fit(settings, data, tmp_path, resume=True)
    assert_same(tmp_path, whole)


def test_the_command_ends_with_the_signals_code(data, tmp_path, capsys):
    """Workers, which get the terminal's signal too, leave it to the main process."""
    (tmp_path / "unit.toml").write_text(as_toml(config(10**6, checkpoint_every=10**6)))
    arguments = ["train", str(tmp_path / "unit.toml"), "--data", str(data)]
    arguments += ["--out", str(tmp_path / "run"), "--threads", "1", "--workers", "1"]
    command = subprocess.Popen(
        [sys.executable, "-m", "petrt", *arguments], stderr=subprocess.PIPE, start_new_session=True
    )
    while not (tmp_path / "run" / "log.jsonl").exists() or not log(tmp_path / "run"):
        time.sleep(0.1)
        assert command.poll() is None
    os.killpg(command.pid, signal.SIGINT)
    _, errors = command.communicate(timeout=300)
    assert command.returncode == 130
    assert errors.decode().splitlines()[-1].endswith("continue with --resume")
    step = steps_of(tmp_path / "run")[-1]
    assert step >= 10
    capsys.readouterr()
    assert run([*arguments, "--steps", str(step), "--resume", "--workers", "0"]) == 0
    assert capsys.readouterr().out.strip().endswith(f"step-{step:08d}")


def _stuck(data: Path, out: Path, place: str) -> None:
    """SIGTERM to a run whose main thread does not come back: in a step, or in a checkpoint."""
    interrupt.STEP_S = interrupt.SAVE_S = 0.3

    def forever(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        with lock:  # a call that Python cannot interrupt, as a long step
            pass

    lock = threading.Lock()
    lock.acquire()
    if place == "saving":
        checkpoints.save = forever  # type: ignore[assignment]
    fit(SETTINGS, data, out, progress=forever)


@pytest.mark.parametrize(
    ("place", "kept"), [pytest.param("step", [0, 1], marks=pytest.mark.slow), ("saving", [])]
)
def test_sigterm_ends_a_run_that_cannot_come_to_a_checkpoint(data, whole, tmp_path, place, kept):
    assert Child(_stuck, data, tmp_path, place).wait() == 143
    assert steps_of(tmp_path) == kept[: len(steps_of(tmp_path))]
    if kept:
        assert Child(_resume, data, tmp_path).wait() == 0
        assert_same(tmp_path, whole)


def test_sigterm_ends_the_wait_for_a_batch_after_a_checkpoint(data, whole, tmp_path, monkeypatch):
    """A worker, which inherits this from here, does not come back with the batch of step 2."""
    original, home = Slices.__getitem__, os.getpid()

    def get(self: Slices, step: int) -> Batch:
        if step == 2 and os.getpid() != home:
            os.kill(home, signal.SIGTERM)
            time.sleep(600)
        return original(self, step)

    monkeypatch.setattr(Slices, "__getitem__", get)
    settings = SETTINGS.model_copy(update={"data": SETTINGS.data.model_copy(update={"workers": 1})})
    with pytest.raises(
        TrainingStopped, match=r"after step [12]"
    ):  # it is asked for two steps before
        fit(settings, data, tmp_path)
    monkeypatch.undo()
    fit(SETTINGS, data, tmp_path, resume=True)
    assert_same(tmp_path, whole)


def test_a_signal_ends_a_validation(data, tmp_path, monkeypatch):
    def predict(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return validate.predict(*arguments, **options)

    monkeypatch.setattr("petrt.train.fit.predict", predict)
    settings = config(8, coarse_steps=1, validate_every=2)
    with pytest.raises(TrainingStopped, match="after step 2"):
        fit(settings, data, tmp_path)
    assert steps_of(tmp_path)[-1] == 2
    assert "validation" not in log(tmp_path)[-1]


def test_two_processes_do_not_train_one_run(data, tmp_path):
    settings = config(1, coarse_steps=0, validation={"subjects": 0})

    def progress(*_: object) -> None:
        with pytest.raises(UsageError, match="is being trained by another process"):
            fit(settings, data, tmp_path / "run", resume=True)

    fit(settings, data, tmp_path / "run", progress=progress)
