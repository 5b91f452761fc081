"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from petrt.errors import UsageError
from petrt.files import atomic
from petrt.files.atomic import atomic_write_bytes, together
from petrt.files.folder import atomic_folder


def test_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with atomic_folder(target) as new:
        (new / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert list(target.parent.iterdir()) == [target]


def test_replaces_its_own_kind_only(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target, replaces="marker") as new:
        (new / "marker").write_text("1")
    with pytest.raises(UsageError, match="folder exists"), atomic_folder(target):
        pytest.fail("entered")
    with pytest.raises(UsageError), atomic_folder(target, replaces="other"):
        pytest.fail("entered")
    with atomic_folder(target, replaces="marker") as new:
        (new / "marker").write_text("2")
        assert (target / "marker").read_text() == "1"
    assert (target / "marker").read_text() == "2"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_keeps_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as new:
        (new / "marker").write_text("old")

    def interrupted() -> None:
        with atomic_folder(target, replaces="marker") as new:
            (new / "marker").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (target / "marker").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_exchange_restores_the_old_folder(tmp_path, monkeypatch):
    target, rename = tmp_path / "folder", Path.rename
    with atomic_folder(target) as new:
        (new / "marker").write_text("old")

    def fail_for_the_new(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise OSError("out of luck")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(UsageError, match="luck"), atomic_folder(target, replaces="marker") as new:
        (new / "marker").write_text("new")
    assert (target / "marker").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_never_follows_or_replaces_a_dangling_link(tmp_path: Path) -> None:
    target = tmp_path / "link"
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError), atomic_folder(target, replaces="marker"):
        pytest.fail("entered")
    assert target.is_symlink()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch, code):
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_folder(tmp_path / "folder") as new:
        (new / "file").write_text("content")
        (new / "inner").mkdir()
    assert (tmp_path / "folder" / "file").read_text() == "content"


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_modes_are_those_of_the_umask(tmp_path: Path, umask: int) -> None:
    """Writers of temporary files make them with mode 0600."""
    before = os.umask(umask)
    try:
        with atomic_folder(tmp_path / "folder") as new:
            (new / "sub").mkdir(0o700)
            for name in ("private", "sub/private"):
                os.close(os.open(new / name, os.O_CREAT, 0o600))
            (new / "usual").write_text("")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "folder").rglob("*")}
    file = 0o666 & ~umask
    assert modes == {"sub": 0o777 & ~umask, "private": file, "usual": file}
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "folder"

    def late() -> None:
        with atomic_folder(target) as new:
            (new / "file").write_text("second")
            with atomic_folder(target) as other:
                (other / "file").write_text("first")

    with pytest.raises(UsageError, match="folder exists"):
        late()
    assert (target / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_files_and_folders_appear_together_or_not_at_all(tmp_path, monkeypatch):
    """The last output cannot get its name: the folder before it is as it was."""
    target, image = tmp_path / "series", tmp_path / "image"
    target.mkdir()
    (target / "mark").write_text("old")

    def write() -> None:
        with together():
            with atomic_folder(target, replaces="mark") as new:
                (new / "mark").write_text("new")
            assert (target / "mark").read_text() == "old"
            atomic_write_bytes(image, b"new")

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "_publish", _refused)
        with pytest.raises(UsageError, match="image: cannot write"):
            write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["series"]
    assert (target / "mark").read_text() == "old"
    write()
    assert ((target / "mark").read_text(), image.read_bytes()) == ("new", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "series"]


def _refused(scratch: Path, target: Path, overwrite: bool) -> None:
    raise OSError(errno.ESTALE, "Stale file handle")


def test_an_empty_folder_is_filled_only_if_wanted(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(UsageError, match="folder exists"), atomic_folder(target):
        pass
    with atomic_folder(target, into_empty=True) as new:
        (new / "x").touch()
    with pytest.raises(UsageError), atomic_folder(target, into_empty=True):
        pass
    with atomic_folder(target, replaces=lambda folder: (folder / "x").exists()) as new:
        (new / "y").touch()
    assert [path.name for path in target.iterdir()] == ["y"]
