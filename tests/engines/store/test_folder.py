"""The engine folder: private, checked before every load, changed by one rename at a time."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import stat
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from petrt.engines.store import folder as cache
from petrt.engines.store.folder import (
    build_lock,
    cache_root,
    check_files,
    install,
    installed,
    load_graphs,
    load_timing_cache,
    private_root,
    record_verification,
)
from petrt.engines.store.record import dump_record
from petrt.errors import DeviceError
from tests.engines.store.records import FILES, H100, VERIFIED, make_record, of_bundle, put
from tests.homeless import without_home
from tests.locks import held


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_where_engines_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path))
    assert cache_root() == tmp_path / "engines"
    monkeypatch.delenv("PETRT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "petrt" / "engines"


def test_looking_makes_nothing(private_cache):
    assert private_root() is None
    assert installed() == ([], [])
    assert not private_cache.parent.exists()


def test_what_is_installed_is_private_and_comes_back(private_cache, tiny):
    old = os.umask(0)
    try:
        entry = put(model=of_bundle(tiny))
    finally:
        os.umask(old)
    assert mode(private_cache) == 0o700
    assert mode(entry.folder) == 0o700
    assert {mode(path) for path in entry.folder.iterdir()} == {0o600}
    assert installed() == ([entry], [])
    plans = load_graphs(entry, tiny)
    assert plans == {graph: FILES[f"{graph}.plan"] for graph in ("guidance", "coarse", "denoiser")}
    assert load_timing_cache(entry) == FILES["timing.cache"]
    assert entry.folder.name.startswith("tiny-tensorrt-bf16-sm90-")


@pytest.mark.parametrize("bits", [0o755, 0o701, 0o770])
def test_a_folder_that_others_can_reach_is_refused_with_the_remedy(private_cache, bits):
    put()
    private_cache.chmod(bits)
    for use in (installed, put):
        with pytest.raises(DeviceError) as caught:
            use()
        assert f"mode {bits:o}" in caught.value.message
    subprocess.run(caught.value.hint, shell=True, check=True)
    assert len(installed()[0]) == 1


def test_a_link_to_a_folder_is_refused_with_the_remedy(private_cache, tmp_path):
    real = tmp_path / "elsewhere"
    real.mkdir(mode=0o700)
    private_cache.parent.mkdir()
    private_cache.symlink_to(real)
    with pytest.raises(DeviceError, match="is a link or a file") as caught:
        private_root(create=True)
    subprocess.run(caught.value.hint, shell=True, check=True)
    assert private_root(create=True) == private_cache
    assert real.exists()


def test_a_folder_of_another_user_is_refused(private_cache, monkeypatch):
    put()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(DeviceError, match="another user; set PETRT_CACHE"):
        installed()


def test_a_place_that_cannot_be_used_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DeviceError, match="set PETRT_CACHE"):
        private_root(create=True)


GOOD = FILES["coarse.plan"]


def link(path: Path) -> None:
    path.rename(path.parent.parent / "kept")
    path.symlink_to(path.parent.parent / "kept")


def another_record(path: Path) -> None:
    model = json.loads(path.read_text())["model"]
    path.write_bytes(dump_record(make_record(model=model, precision="fp32")))


def replaced(old: str, new: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(path.read_text().replace(old, new))


# What becomes of a file of the engine's folder, and what is said.
DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("coarse.plan", lambda p: p.write_bytes(GOOD[:-1]), "has 599 instead of 600 bytes"),
    ("coarse.plan", lambda p: p.write_bytes(GOOD + b"x"), "has more instead of 600 bytes"),
    ("coarse.plan", lambda p: p.write_bytes(GOOD[:-1] + b"x"), "was altered"),
    ("coarse.plan", lambda p: p.unlink(), "cannot be read: No such file"),
    ("coarse.plan", link, "cannot be read"),
    ("coarse.plan", lambda p: (p.unlink(), p.mkdir()), "cannot be read: Is a directory"),
    ("coarse.plan", lambda p: (p.unlink(), os.mkfifo(p)), "is not a file of this user"),
    ("extra.plan", lambda p: p.write_bytes(b"x"), "is not listed"),
    ("engine.json", replaced("bf16", "fp32"), "was edited"),
    ("engine.json", another_record, "belongs to another engine"),
    ("engine.json", replaced('"version": 1', '"version": 7'), "has version 7"),
    ("", lambda p: p.rename(p.parent / "gone"), "not a folder"),
]


@pytest.mark.parametrize(("name", "damage", "says"), DAMAGE)
@pytest.mark.usefixtures("private_cache")
def test_damage_is_refused_in_one_line_with_the_next_command(tiny, name, damage, says):
    entry = put(model=of_bundle(tiny))
    other = put(model=of_bundle(tiny), precision="fp16")
    damage(entry.folder / name)
    with pytest.raises(DeviceError, match=f"{name} {says}".strip()) as caught:
        load_graphs(entry, tiny)
    assert caught.value.hint == f"petrt build-engine {tiny.source}"
    assert "\n" not in str(caught.value)
    assert load_graphs(other, tiny)
    assert other in installed()[0]
    if name.endswith(".plan"):
        assert name in (check_files(entry) or "")
        assert load_timing_cache(entry) == b""
    elif name:
        assert [broken.folder for broken in installed()[1]] == [entry.folder]


@pytest.mark.usefixtures("private_cache")
def test_an_engine_of_another_model_or_of_other_networks_is_refused(tiny):
    with pytest.raises(DeviceError, match="built from another model"):
        load_graphs(put(), tiny)
    part = {name: data for name, data in FILES.items() if name != "coarse.plan"}
    with pytest.raises(DeviceError, match="lists other networks"):
        load_graphs(put(part, model=of_bundle(tiny)), tiny)


def test_a_folder_that_is_a_link_is_broken(private_cache, tmp_path):
    entry = put()
    entry.folder.rename(tmp_path / "moved")
    entry.folder.symlink_to(tmp_path / "moved")
    assert installed()[0] == []
    assert installed()[1][0].reason == "not a folder"


def test_a_new_engine_replaces_the_one_of_its_key_alone(private_cache):
    first, other = put(), put(precision="fp32")
    second = put(engine_version="12.0", built="2026-02-02T00:00:00+00:00")
    assert not first.folder.exists()
    assert {e.folder for e in installed()[0]} == {second.folder, other.folder}
    folders = {path for path in private_cache.iterdir() if path.is_dir()}
    assert folders == {second.folder, other.folder}


def test_after_a_crash_before_the_removal_the_newest_counts(private_cache, monkeypatch):
    put()
    with monkeypatch.context() as patch:
        patch.setattr(cache.shutil, "rmtree", lambda *a, **k: None)
        second = put(built="2026-02-02T00:00:00+00:00")
    assert len([p for p in private_cache.iterdir() if p.is_dir()]) == 2
    assert installed()[0] == [second]
    put(built="2026-03-03T00:00:00+00:00")
    assert len([p for p in private_cache.iterdir() if p.is_dir()]) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("call", ["rename", "fsync", "open"])
def test_a_failure_before_the_rename_leaves_the_old_engine_and_nothing_new(
    private_cache, monkeypatch, tiny, error, call
):
    old = put(model=of_bundle(tiny))

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        if call == "rename":
            patch.setattr(Path, "rename", fail)
        elif call == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(cache, "_write", fail)
        record = make_record(model=of_bundle(tiny), engine_version="12.0")
        expected = KeyboardInterrupt if error is KeyboardInterrupt else DeviceError
        with pytest.raises(expected), build_lock(record.key):
            install(record, FILES)
    assert installed() == ([old], [])
    assert load_graphs(old, tiny)
    assert [path for path in private_cache.iterdir() if path.is_dir()] == [old.folder]


@pytest.mark.usefixtures("private_cache")
def test_the_second_builder_waits_and_says_so(caplog):
    key = make_record().key
    order, entered = [], threading.Event()

    def second() -> None:
        entered.set()
        with build_lock(key):
            order.append("second")

    with caplog.at_level(logging.INFO, "petrt"):
        with build_lock(key):
            thread = threading.Thread(target=second)
            thread.start()
            entered.wait()
            thread.join(0.3)
            order.append("first")
        thread.join()
    assert order == ["first", "second"]
    assert "another process is building this engine; waiting for it" in caplog.text
    with build_lock(key), build_lock("f" * 64):  # other engines are built side by side
        pass


def test_a_builder_that_is_never_done_is_told_of_again_and_again(
    private_cache, monkeypatch, caplog
):
    key = make_record().key
    private_root(create=True)
    monkeypatch.setattr(cache, "SAY_SECONDS", 0.1)

    class Enough(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(caplog.messages) == 3:
                raise KeyboardInterrupt  # the user's

    handler = Enough()
    logging.getLogger("petrt").addHandler(handler)

    def build(**options: bool) -> None:
        with build_lock(key, **options):
            pytest.fail("entered")

    lock = private_cache / f".{key[:12]}.lock"
    try:
        with held(lock), caplog.at_level(logging.INFO, "petrt"):
            with pytest.raises(KeyboardInterrupt):
                build()
            with pytest.raises(DeviceError, match=r"another process is building.*--no-wait"):
                build(wait=False)
    finally:
        logging.getLogger("petrt").removeHandler(handler)
    assert len(caplog.messages) == 3
    assert all(f"delete {lock}" in message for message in caplog.messages)
    with build_lock(key, wait=False):  # free again
        pass


@pytest.mark.usefixtures("private_cache")
def test_a_folder_that_cannot_be_locked_is_refused_in_one_line(monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    def build() -> None:
        with build_lock(make_record().key, wait=False):
            pytest.fail("entered")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DeviceError, match=r"cannot lock.*Stale file handle.*PETRT_CACHE"):
        build()


def test_a_user_without_a_home_has_no_engines_and_is_told_what_to_set(monkeypatch):
    without_home(monkeypatch)
    assert private_root() is None
    assert installed() == ([], [])
    for use in (cache_root, lambda: private_root(create=True)):
        with pytest.raises(cache.NoHome, match=r"no home folder.*set PETRT_CACHE") as caught:
            use()
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.usefixtures("private_cache")
def test_a_verification_is_kept_in_the_record(tiny, caplog):
    entry = put(model=of_bundle(tiny))
    assert not entry.record.verified_on(H100)
    done = record_verification(entry, VERIFIED)
    assert installed()[0] == [done]
    assert done.record.verified_on(H100)
    assert not done.record.verified_on(H100.model_copy(update={"driver": "600.0"}))
    assert load_graphs(done, tiny)
    with pytest.raises(DeviceError, match="changed meanwhile"):
        load_graphs(entry, tiny)
    gone = replace(entry, folder=entry.folder.parent / "gone")
    with caplog.at_level(logging.INFO, "petrt"):
        assert record_verification(gone, VERIFIED) == gone
    assert "cannot be saved" in caplog.text
