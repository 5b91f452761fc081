"""Runs that stop, go on, meet an old data set or a full disk; the command and its exit codes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from petrt.cli.app import run
from petrt.data.dataset import open_dataset
from petrt.data.prepare import Options, prepare
from petrt.data.prepare import run as module
from petrt.data.prepare.sources import load
from petrt.errors import DeviceError, InputError, UsageError
from tests.data.prepare.scans import LOW, save, scan
from tests.helpers import contents


def test_strict_writes_nothing_and_goes_on_from_there(source, tmp_path):
    good = (source / LOW.format(2, 20)).read_bytes()
    (source / LOW.format(2, 20)).write_bytes(b"")
    out = tmp_path / "set"
    with pytest.raises(InputError, match=r"1 refused \(--strict\): sub-0002, 1/20: "):
        prepare([source], out, Options(strict=True))
    assert not out.exists()
    (source / LOW.format(2, 20)).write_bytes(good)
    assert prepare([source], out, Options(strict=True)).refused == ()
    assert open_dataset(out).doses("sub-0002") == (20, 100)


def test_no_pair_left_leaves_nothing(tmp_path):
    save(tmp_path / "source" / "a" / "normal" / "x.nii", scan(0))
    with pytest.raises(InputError, match="no pair is left: sub-0000: no low-dose volume is left"):
        prepare([tmp_path / "source"], tmp_path / "set")
    (tmp_path / "source" / "a" / "normal" / "x.nii").write_bytes(b"")
    with pytest.raises(InputError, match="no full-dose volume can be read"):
        prepare([tmp_path / "source"], tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_interrupted_run_goes_on_where_it_was(source, tmp_path, monkeypatch):
    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "set"
    with pytest.raises(KeyboardInterrupt):
        prepare([source], out, progress=stop)
    assert not out.exists()
    read: list[str] = []
    count = "petrt.data.prepare.subject.load"
    monkeypatch.setattr(count, lambda path, *rest: read.append(str(path)) or load(path, *rest))
    # The second subject has changed meanwhile, so only the first is kept.
    save(source / LOW.format(1, 20), scan(1, 10))
    prepare([source], out)
    assert len(read) == 9
    assert not [path for path in read if "290520" in path]
    fresh = tmp_path / "fresh"
    prepare([source], fresh)
    assert contents(fresh) == contents(out)


def test_a_changed_file_of_an_interrupted_run_is_written_again(clean, tmp_path):
    def stop(done: int, _: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([clean], tmp_path / "set", progress=stop)
    (volume,) = (tmp_path / "set.partial" / "volumes").glob("*_full.npy")
    volume.write_bytes(volume.read_bytes()[:-2] + b"xx")
    prepare([clean], tmp_path / "set")
    open_dataset(tmp_path / "set", verify=True)


def test_workers_change_nothing(clean, tmp_path):
    prepare([clean], tmp_path / "one")
    prepare([clean], tmp_path / "two", Options(workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_worker_that_dies_is_said(clean, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Job", Dying)
    with pytest.raises(DeviceError, match=r"lack of memory.*--workers"):
        prepare([clean], tmp_path / "set", Options(workers=2))


class Dying:
    """Stands in for a job whose process the system ends."""

    def __init__(self, *_):
        pass

    def __call__(self, *_):
        import os

        os._exit(9)


def test_an_existing_data_set_is_kept_unless_told(clean, source, tmp_path):
    out = tmp_path / "set"
    prepare([clean], out)
    before = contents(out)
    with pytest.raises(UsageError, match="set exists; overwrite=True"):
        prepare([clean], out)
    (source / LOW.format(0, 20)).write_bytes(b"")
    with pytest.raises(InputError):
        prepare([source], out, Options(overwrite=True, strict=True))
    assert contents(out) == before
    prepare([source], out, Options(overwrite=True))
    assert contents(out).keys() == before.keys() - {"volumes/sub-0000_1to20.npy"}


def test_other_folders_and_sources_are_not_replaced(clean, source, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("kept")
    for out, words in (
        ("other", "other exists and is not a data set"),
        ("file", "file exists and is not a data set"),
        ("file/set", "its folder is not a folder"),
        ("source", "is or holds a source"),
        (".", "is or holds a source"),
    ):
        with pytest.raises(UsageError, match=words):
            prepare([source], tmp_path / out, Options(overwrite=True))
    assert (tmp_path / "file").read_text() == "kept"


def test_a_full_disk_leaves_no_data_set_and_the_next_run_goes_on(clean, tmp_path, monkeypatch):
    save_array, calls = np.save, []

    def full(handle, array, **options):
        calls.append(array)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        save_array(handle, array, **options)

    with monkeypatch.context() as patch:
        patch.setattr("petrt.data.prepare.cache.np.save", full)
        with pytest.raises(UsageError, match="disk is full"):
            prepare([clean], tmp_path / "set")
    assert not (tmp_path / "set").exists()
    prepare([clean], tmp_path / "set")
    open_dataset(tmp_path / "set", verify=True)


def test_command(clean, tmp_path, capsys):
    out = str(tmp_path / "set")
    text = "--doses 100 --split 0.5,0.25,0.25 --dtype float32 --scale maximum --voxel-mm 4 4 4"
    options = f"{text} --crop :,1:21,: --seed 3 --layout challenge".split()
    assert run(["prepare", str(clean), "--out", out, *options]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == out
    assert said.err == ""
    index = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert index["scale_rule"]["kind"] == "maximum"
    assert index["dtype"] == "float32"
    dataset = open_dataset(out)
    assert dataset.doses("sub-0000") == (100,)
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [2, 1, 1]
    assert run(["prepare", str(clean), "--out", out]) == 2


def test_command_codes(source, tmp_path, capsys):
    (source / LOW.format(0, 20)).write_bytes(b"")
    out = str(tmp_path / "set")
    assert run(["prepare", str(source), "--out", out, "--strict"]) == 3
    assert run(["prepare", str(source), "--out", out]) == 5
    assert "1 refused, 4 subjects are in the data set" in capsys.readouterr().err
    assert run(["prepare", str(tmp_path / "absent"), "--out", out + "2"]) == 3


BAD = ("--doses 1", "--split 1,1", "--dtype int8", "--scale mean", "--crop 3", "--workers 0")


@pytest.mark.parametrize("option", [*BAD, "--layout dicom"])
def test_command_refuses_bad_options(clean, tmp_path, option, capsys):
    assert run(["prepare", str(clean), "--out", str(tmp_path / "set"), *option.split()]) == 2
    assert not list(tmp_path.iterdir())
