"""The checkpoints of a run: which are kept, and what becomes of damaged and unwritable ones."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from petrt.cli.app import run
from petrt.errors import InputError, UsageError
from petrt.nets.checkpoint import load_checkpoint
from petrt.train.checkpoints import FOLDER, OLD_FOLDER, newest, path_of, steps_of
from petrt.train.fit import fit
from tests.train.runs import as_toml, assert_same, config, log

SETTINGS = config(6, coarse_steps=1, checkpoint_every=2, validation={"subjects": 0})


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of steps 4 and 6."""
    out = tmp_path_factory.mktemp("trained")
    fit(SETTINGS, data, out)
    return out


@pytest.fixture
def mine(trained: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x04
    path.write_bytes(content)


def test_the_newest_two_are_kept(trained):
    assert steps_of(trained) == [4, 6]
    assert newest(trained) == path_of(trained, 6)
    assert newest(path_of(trained, 4)) == path_of(trained, 4)
    assert load_checkpoint(newest(trained))[2]["step"] == 6


def test_runs_of_the_first_release_are_found(trained, tmp_path):
    shutil.copytree(path_of(trained, 6), tmp_path / OLD_FOLDER)
    assert newest(tmp_path) == tmp_path / OLD_FOLDER
    with pytest.raises(InputError, match="holds no checkpoint"):
        newest(tmp_path / "nothing")


def test_what_a_kill_left_half_done_is_cleaned_up(mine, data):
    stale = mine / FOLDER / ".petrt-half" / "new"
    stale.mkdir(parents=True)
    (stale / "model.safetensors").write_bytes(b"half")
    with (mine / "log.jsonl").open("a") as file:
        file.write('{"step": 7}\n{"step": 8, "sec')
    fit(SETTINGS, data, mine, resume=True)
    assert [path.name for path in (mine / FOLDER).iterdir() if path.name[0] == "."] == []
    assert [line["step"] for line in log(mine)] == [6]


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "checkpoint.json"])
def test_a_corrupted_checkpoint_is_refused_by_its_hash(mine, trained, data, name, tmp_path, capsys):
    flip(path_of(mine, 6) / name)
    (tmp_path / "unit.toml").write_text(as_toml(SETTINGS))
    arguments = ["train", str(tmp_path / "unit.toml"), "--data", str(data), "--out", str(mine)]
    arguments += ["--threads", "1"]
    assert run([*arguments, "--resume"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "step-00000006" in line
    assert name in line
    assert "go back with --resume-from 4, or delete step-00000006" in line
    assert run([*arguments, "--resume-from", "5"]) == 2
    assert "no checkpoint of step 5; it has 4, 6" in capsys.readouterr().err
    assert run([*arguments, "--resume-from", "4"]) == 0
    assert_same(mine, trained)


def test_going_back_is_to_a_run_without_the_later_steps(mine, data):
    with pytest.raises(UsageError, match="holds a training run"):
        fit(SETTINGS, data, mine)
    again = SETTINGS.model_copy(update={"steps": 5})
    assert fit(again, data, mine, resume_from=4) == path_of(mine, 5)
    assert steps_of(mine) == [4, 5]


def test_a_full_disk_leaves_the_checkpoint_before(mine, trained, data, monkeypatch):
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "training.safetensors":
            write(path, content[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    longer = SETTINGS.model_copy(update={"steps": 8})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UsageError, match=r"step-00000008: .*the disk is full.*--resume"):
            fit(longer, data, mine, resume=True)
    names = sorted(path.name for path in (mine / FOLDER).iterdir())
    assert names == ["step-00000004", "step-00000006"]
    assert_same(mine, trained)
    assert fit(longer, data, mine, resume=True) == path_of(mine, 8)


def test_a_log_that_cannot_be_written_is_a_clear_error(mine, data, monkeypatch):
    original = Path.open

    def full(path: Path, mode: str = "r", *arguments: object, **options: object):
        # Read, /dev/full has no end.
        if path.name == "log.jsonl" and "a" in mode:
            return original(Path("/dev/full"), mode, *arguments, **options)
        return original(path, mode, *arguments, **options)

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UsageError, match=r"log\.jsonl: cannot write: the disk is full"):
        fit(SETTINGS.model_copy(update={"steps": 8}), data, mine, resume=True)
