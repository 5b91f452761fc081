"""Outputs appear whole or not at all, and the old one survives every failure."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from petrt.errors import UsageError
from petrt.files import atomic
from petrt.files.atomic import atomic_file, atomic_write_bytes, atomic_write_json, together
from petrt.files.outputs import check_output, check_outputs

OLD, NEW = b"old content", b"new content"


@pytest.fixture(params=["nameless", "named"])
def scratch(request, monkeypatch):
    """Both kinds of scratch file; "named" is what systems without O_TMPFILE do."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("no O_TMPFILE here")
    return request.param


@pytest.fixture
def target(tmp_path) -> Path:
    path = tmp_path / "out.bin"
    path.write_bytes(OLD)
    return path


def assert_untouched(target: Path) -> None:
    assert target.read_bytes() == OLD
    assert os.listdir(target.parent) == [target.name]


@contextmanager
def unprivileged():
    """Root may write anywhere; as another user the permissions hold."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_new_file_gets_the_usual_permissions(tmp_path, scratch):
    path = tmp_path / "new.bin"
    atomic_write_bytes(path, NEW)
    assert path.read_bytes() == NEW
    (tmp_path / "plain").write_bytes(NEW)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["new.bin", "plain"]


def test_existing_file_is_kept_without_overwrite(target, scratch):
    with pytest.raises(UsageError, match=r"out\.bin: the output exists; overwrite=True") as caught:
        atomic_write_bytes(target, NEW)
    assert caught.value.exit_code == 2
    assert_untouched(target)


def test_file_that_appeared_meanwhile_is_kept(tmp_path, scratch):
    path = tmp_path / "out.bin"
    with pytest.raises(UsageError, match="appeared meanwhile"), atomic_file(path):
        path.write_bytes(OLD)
    assert_untouched(path)


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(1)])
def test_any_exception_leaves_the_old_file(target, scratch, error):
    def fail_halfway():
        with atomic_file(target, overwrite=True) as handle:
            handle.write(NEW * 100000)
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert_untouched(target)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "reports an error"),
    ],
)
def test_failing_disk_is_a_clear_usage_error(target, scratch, monkeypatch, code, words):
    def fail(_descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError, match=words):
        atomic_write_bytes(target, NEW, overwrite=True)
    assert_untouched(target)


def test_full_disk_while_writing(target, scratch):
    """A real failed write: the process may not write files beyond 64 KiB."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(UsageError, match="larger than the system allows"):
            atomic_write_bytes(target, b"x" * (1 << 17), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_untouched(target)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), "network file system has lost the file"),
        (OSError(errno.ENOTTY, "strange"), "cannot write: strange"),
        (OSError("without a number"), "cannot write: without a number"),
    ],
)
@pytest.mark.parametrize("place", ["block", "rename"])
def test_any_error_of_the_system_is_a_clear_usage_error(
    target, scratch, monkeypatch, error, words, place
):
    def fail(*_: object) -> None:
        raise error

    def write() -> None:
        with atomic_file(target, overwrite=True) as handle:
            handle.write(NEW)
            if place == "block":
                fail()

    if place == "rename":
        monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises(UsageError, match=words):
        write()
    assert_untouched(target)


def fails_for(folders: bool, code: int):
    """``os.fsync`` that refuses folders, or files."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == folders:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    return fsync


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO, errno.EACCES])
def test_a_folder_that_cannot_be_synced_is_no_error(target, scratch, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", fails_for(True, code))
    atomic_write_bytes(target, NEW, overwrite=True)
    assert target.read_bytes() == NEW
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_fsync_is_no_error(target, scratch, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", fails_for(False, code))
    atomic_write_bytes(target, NEW, overwrite=True)
    assert target.read_bytes() == NEW


def test_file_systems_without_hard_links(tmp_path, target, scratch, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    atomic_write_bytes(target, NEW, overwrite=True)
    atomic_write_bytes(tmp_path / "other.bin", NEW)
    assert target.read_bytes() == (tmp_path / "other.bin").read_bytes() == NEW
    assert sorted(os.listdir(tmp_path)) == ["other.bin", "out.bin"]
    late = tmp_path / "late.bin"
    with pytest.raises(UsageError, match="appeared meanwhile"), atomic_file(late):
        late.write_bytes(OLD)
    assert late.read_bytes() == OLD
    assert sorted(os.listdir(tmp_path)) == ["late.bin", "other.bin", "out.bin"]


KILLED = """
import os, sys, signal
from petrt.files.atomic import atomic_file
if sys.argv[2] == "named" and hasattr(os, "O_TMPFILE"):
    del os.O_TMPFILE
with atomic_file(sys.argv[1], overwrite=True) as handle:
    handle.write(b"half of the new content" * 10000)
    handle.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_process_leaves_the_old_file_and_a_rerun_succeeds(target, scratch):
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), scratch], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == OLD
    if scratch == "nameless":
        assert_untouched(target)
    atomic_write_bytes(target, NEW, overwrite=True)
    assert target.read_bytes() == NEW


def test_read_only_folder_is_refused_before_any_work(tmp_path, scratch):
    if not hasattr(os, "geteuid"):
        pytest.skip("permissions as on POSIX are needed")
    # By a relative path: only the owner may enter the folders above tmp_path.
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    here = os.open(tmp_path, os.O_RDONLY)
    before = Path.cwd()
    os.fchdir(here)
    try:
        os.chmod(tmp_path, 0o755)
        with unprivileged(), pytest.raises(UsageError, match="no permission") as caught:
            check_output("locked/out.bin")
    finally:
        os.chdir(before)
        os.close(here)
    assert caught.value.exit_code == 2
    assert os.listdir(folder) == []


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"out\.bin: cannot write: its folder does not exist"):
        check_output(tmp_path / "missing" / "out.bin")
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(UsageError, match="not a folder"):
        check_output(tmp_path / "file" / "out.bin")


@pytest.mark.parametrize("name", ["n" * 300, "nul\0.nii", "\ud800.nii"])
def test_impossible_names_are_refused(tmp_path, name):
    with pytest.raises(UsageError):
        check_output(tmp_path / name)


@pytest.mark.parametrize("name", ["a\nb.bin", "-rf.bin", "[red].bin", "%s {} $(ls).bin", "n" * 255])
def test_hostile_names_are_written_as_they_are(tmp_path, scratch, name):
    atomic_write_bytes(tmp_path / name, NEW)
    assert os.listdir(tmp_path) == [name]


def test_output_that_is_an_input_is_refused_even_with_overwrite(tmp_path, target):
    link, hard = tmp_path / "link.bin", tmp_path / "hard.bin"
    link.symlink_to(target)
    os.link(target, hard)
    for path in (target, link, hard, tmp_path / "." / "out.bin"):
        with pytest.raises(UsageError, match="also an input"):
            check_output(path, [tmp_path / "absent", target], overwrite=True)
    check_output(tmp_path / "other.bin", [target])


def test_folder_device_and_dangling_link_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path, overwrite=True)
    with pytest.raises(UsageError, match="not a regular file"):
        check_output(os.devnull, overwrite=True)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists"):
        check_output(dangling)


def test_link_is_replaced_and_its_target_kept(tmp_path, target):
    link = tmp_path / "link.bin"
    link.symlink_to(target)
    atomic_write_bytes(link, NEW, overwrite=True)
    assert link.read_bytes() == NEW
    assert not link.is_symlink()
    assert target.read_bytes() == OLD


def test_two_outputs_at_one_path_are_refused(tmp_path):
    check_outputs([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(UsageError, match="two outputs"):
        check_outputs([tmp_path / "a", tmp_path / "b", tmp_path / "." / "a"])


def test_json(tmp_path):
    path = tmp_path / "run.json"
    atomic_write_json(path, {"name": "Müller", "scale": 1.5})
    assert path.read_text("ascii") == '{\n  "name": "M\\u00fcller",\n  "scale": 1.5\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        atomic_write_json(tmp_path / "bad.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == ["run.json"]


def test_content_is_on_disk_before_the_name(target, scratch, monkeypatch):
    """fsync of the file, then the rename, then fsync of the folder."""
    calls = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (calls.append(os.fstat(fd).st_size), real_fsync(fd))
    )
    monkeypatch.setattr(atomic.os, "replace", lambda *a: (calls.append("rename"), real_replace(*a)))
    atomic_write_bytes(target, NEW, overwrite=True)
    assert calls[:2] == [len(NEW), "rename"]
    assert len(calls) == 3


@pytest.fixture(params=["links", "no links"])
def links(request, monkeypatch):
    """File systems with and without hard links."""
    if request.param == "no links":

        def refuse(*_args, **_kwargs):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)


def write_three(folder: Path, *, overwrite: bool) -> None:
    with together():
        for name in "abc":
            atomic_write_bytes(folder / name, NEW, overwrite=overwrite)
            assert not (folder / name).exists() or (folder / name).read_bytes() == OLD


@pytest.mark.usefixtures("scratch", "links")
def test_files_written_together_appear_together(tmp_path):
    (tmp_path / "b").write_bytes(OLD)
    write_three(tmp_path, overwrite=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == dict.fromkeys("abc", NEW)
    atomic_write_bytes(tmp_path / "d", NEW)  # and outside of the block at once
    assert (tmp_path / "d").exists()


@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_a_failure_before_the_last_leaves_none(tmp_path, error):
    def fail() -> None:
        with together():
            atomic_write_bytes(tmp_path / "a", NEW)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("scratch", "links")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_cannot_be_given_takes_the_others_back(tmp_path, monkeypatch, overwrite):
    if overwrite:
        (tmp_path / "a").write_bytes(OLD)
        (tmp_path / "d").symlink_to("a")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    publish = atomic._publish

    def fail_for_c(scratch: Path, target: Path, replace: bool) -> None:
        if target.name == "c":
            raise OSError(errno.ESTALE, "Stale file handle")
        publish(scratch, target, replace)

    monkeypatch.setattr(atomic, "_publish", fail_for_c)
    with pytest.raises(UsageError, match=r"c: cannot write"):
        write_three(tmp_path, overwrite=overwrite)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.usefixtures("links")
def test_a_link_comes_back_as_a_link(tmp_path, monkeypatch):
    (tmp_path / "other").write_bytes(OLD)
    (tmp_path / "a").symlink_to("other")
    publish = atomic._publish

    def fail_for_b(scratch: Path, target: Path, replace: bool) -> None:
        if target.name == "b":
            raise OSError(errno.ESTALE, "Stale file handle")
        publish(scratch, target, replace)

    monkeypatch.setattr(atomic, "_publish", fail_for_b)

    def write() -> None:
        with together():
            for name in "ab":
                atomic_write_bytes(tmp_path / name, NEW, overwrite=True)

    with pytest.raises(UsageError):
        write()
    assert os.readlink(tmp_path / "a") == "other"
    assert (tmp_path / "other").read_bytes() == OLD
    assert sorted(os.listdir(tmp_path)) == ["a", "other"]
