"""Two runs of prepare into one folder, and folders that only have the name of an interrupted run's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from petrt.data.dataset import open_dataset
from petrt.data.prepare import Options, prepare
from petrt.errors import UsageError
from petrt.files.locks import OWNER
from tests.data.prepare.scans import challenge
from tests.helpers import contents
from tests.locks import held


def test_a_second_run_into_one_folder_is_refused_and_changes_nothing(clean, tmp_path):
    other = challenge(tmp_path / "other", 2, doses=(20,))
    refused = []

    def meanwhile(done: int, _: int) -> None:
        with pytest.raises(UsageError, match="set is being written by another process; wait"):
            prepare([other], tmp_path / "set")
        refused.append(done)

    prepare([clean], tmp_path / "set", progress=meanwhile)
    assert refused == [1, 2, 3, 4]
    prepare([clean], tmp_path / "alone")
    assert contents(tmp_path / "set") == contents(tmp_path / "alone")
    assert {path.name for path in tmp_path.iterdir()} == {"other", "set", "alone"}


def test_of_several_processes_one_writes_the_set(clean, tmp_path):
    other = challenge(tmp_path / "other", 4, doses=(20, 100))
    code = "import sys; from petrt.cli import main; main()"
    out = str(tmp_path / "set")
    calls = [
        subprocess.Popen(
            [sys.executable, "-c", code, "prepare", str(source), "--out", out],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for source in (clean, other)
    ]
    said = [call.communicate(timeout=120)[1] for call in calls]
    codes = [call.returncode for call in calls]
    assert sorted(codes) == [0, 2], said
    loser = said[codes.index(2)]
    assert "being written by another process" in loser or "exists" in loser
    open_dataset(out)


def test_the_lock_of_another_process_is_respected_and_that_of_a_dead_one_is_not(clean, tmp_path):
    partial = tmp_path / "set.partial"
    partial.mkdir()
    with held(partial / OWNER), pytest.raises(UsageError, match="another process"):
        prepare([clean], tmp_path / "set")
    assert [path.name for path in partial.iterdir()] == [OWNER]
    prepare([clean], tmp_path / "set")
    assert not partial.exists()
    assert not (tmp_path / "set" / OWNER).exists()


def test_folders_with_names_like_those_of_prepare_are_left_alone(clean, tmp_path):
    for name in ("set.partial", "set.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match=r"set\.partial exists and is not an interrupted run's"):
        prepare([clean], tmp_path / "set")
    (tmp_path / "set.partial").rename(tmp_path / "away")
    prepare([clean], tmp_path / "set")
    prepare([clean], tmp_path / "set", Options(overwrite=True))
    for name in ("away", "set.replaced"):
        assert (tmp_path / name / "mine.txt").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"away", "set", "set.replaced"}
