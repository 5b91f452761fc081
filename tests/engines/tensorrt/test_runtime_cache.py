"""Compiled kernels beside an engine: private, of this engine and GPU, and never the reason for a failure."""

from __future__ import annotations

import logging
import os
import shutil
import stat

import pytest

from petrt.engines.store.folder import check_files, installed, load_graphs
from petrt.engines.tensorrt import runtime_cache
from petrt.engines.tensorrt.runtime_cache import FORMAT, KernelFile
from tests.engines.store.records import FILES, H100, RTX4090, of_bundle, put

KERNELS = b"kernels of sm_89" * 100


@pytest.fixture
def entry(private_cache):
    return put(engine="tensorrt-rtx")


@pytest.fixture
def file(entry) -> KernelFile:
    file = KernelFile(entry, RTX4090)
    file.save(KERNELS)
    return file


def test_what_is_saved_is_private_and_comes_back_in_the_next_process(entry, file):
    assert KernelFile(entry, RTX4090).load() == KERNELS
    assert file.path.parent == entry.folder
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.save(KERNELS * 2)
    assert KernelFile(entry, RTX4090).load() == KERNELS * 2


@pytest.mark.parametrize("kernels", [False, True])
def test_the_engine_is_as_sound_as_without(tiny, private_cache, kernels):
    entry = put(model=of_bundle(tiny), engine="tensorrt-rtx")
    if kernels:
        KernelFile(entry, RTX4090).save(KERNELS)
        (entry.folder / ".petrt-0123456789abcdef.tmp").write_bytes(b"of a killed process")
    assert check_files(entry) is None
    assert installed() == ([entry], [])
    assert load_graphs(entry, tiny)["coarse"] == FILES["coarse.plan"]
    (entry.folder / "runtime.cache").write_bytes(b"")
    assert check_files(entry) == "runtime.cache is not listed in engine.json"


def test_kernels_of_other_plans_or_another_gpu_are_not_used(entry, file, caplog):
    content = file.path.read_bytes()
    others = [
        KernelFile(entry, H100),
        KernelFile(put(engine="tensorrt-rtx", precision="fp16"), RTX4090),
        KernelFile(put(FILES | {"coarse.plan": b"other"}, engine="tensorrt-rtx"), RTX4090),
        KernelFile(put(engine="tensorrt-rtx", engine_version="11.5.0"), RTX4090),
    ]
    for other in others:
        other.path.parent.mkdir(exist_ok=True)  # one of the key is installed at a time
        other.path.write_bytes(content)
        with caplog.at_level(logging.INFO, "petrt"):
            assert other.load() == b""
    assert caplog.text.count("is damaged or of another engine") == len(others)


def _flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: FORMAT,
        lambda data: data.replace(b"cache 1", b"cache 2", 1),
    ],
)
def test_a_damaged_file_is_said_and_replaced(file, caplog, damage):
    file.path.write_bytes(damage(file.path.read_bytes()))
    with caplog.at_level(logging.INFO, "petrt"):
        assert file.load() == b""
    assert "compiled kernels are not used: runtime-" in caplog.text
    file.save(KERNELS)
    assert file.load() == KERNELS


def test_links_pipes_and_giants_are_not_read(file, tmp_path, monkeypatch, caplog):
    content = file.path.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(content)
    for make in (lambda: file.path.symlink_to(elsewhere), lambda: os.mkfifo(file.path)):
        file.path.unlink()
        make()
        assert file.load() == b""
    file.path.unlink()
    file.path.write_bytes(content)
    monkeypatch.setattr(runtime_cache, "MOST_BYTES", len(content) - 2)
    assert file.load() == b""


def test_a_folder_that_is_gone_or_full_is_said_and_nothing_more(file, monkeypatch, caplog):
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.INFO, "petrt"):
        with monkeypatch.context() as patch:
            patch.setattr(runtime_cache, "atomic_file", full)
            file.save(KERNELS)
        assert file.load() == KERNELS
        shutil.rmtree(file.path.parent)  # another process installed a newer engine
        file.save(KERNELS)
        assert file.load() == b""
    assert caplog.text.count("compiled kernels cannot be saved") == 2
    assert not file.path.parent.exists()
