"""What is available to a process, by meminfo and control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from petrt.hardware import memory

GIB = 1 << 30


@pytest.fixture
def system(tmp_path: Path):
    """Writes a made-up /proc and /sys/fs/cgroup; returns what is available by them."""

    def available(cgroup: str, files: dict[str, str], free: int = 8 * GIB) -> int | None:
        proc, groups = tmp_path / "proc", tmp_path / "cgroup"
        content = {
            "proc/meminfo": f"MemTotal: 99 kB\nMemAvailable:   {free >> 10} kB\n",
            "proc/self/cgroup": cgroup,
            **{f"cgroup/{name}": text for name, text in files.items()},
        }
        for name, text in content.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return memory.available(proc, groups)

    return available


def test_without_a_group_what_the_system_has(system):
    assert system("", {}) == 8 * GIB
    assert system("0::/\n3:cpu:/x\nrubbish\n", {}) == 8 * GIB


def test_version_2_files_in_cache_count_as_free(system):
    files = {
        "job/a/memory.max": f"{4 * GIB}\n",
        "job/a/memory.current": f"{3 * GIB}\n",
        "job/a/memory.stat": f"anon 5\ninactive_file {GIB}\n",
    }
    assert system("0::/job/a\n", files) == 2 * GIB


def test_the_tightest_group_above_counts(system):
    files = {
        "job/memory.max": f"{2 * GIB}\n",
        "job/memory.current": f"{GIB}\n",
        "job/a/memory.max": "max\n",
        "job/a/memory.current": "1\n",
    }
    assert system("0::/job/a\n", files) == GIB


def test_version_1(system):
    files = {
        "memory/x/memory.limit_in_bytes": f"{GIB}\n",
        "memory/x/memory.usage_in_bytes": f"{GIB // 4}\n",
        "memory/memory.limit_in_bytes": f"{1 << 62}\n",
        "memory/memory.usage_in_bytes": f"{GIB}\n",
    }
    assert system("9:cpu:/\n4:memory:/x\n", files) == GIB - GIB // 4


def test_the_groups_own_root_where_the_path_is_the_hosts(system):
    """In a container the path may name folders that are not mounted there."""
    files = {"memory.max": f"{GIB}\n", "memory.current": "0\n"}
    assert system("0::/kubepods/pod7\n", files) == GIB


def test_more_used_than_allowed_is_nothing_left(system):
    files = {"memory.max": "5\n", "memory.current": f"{GIB}\n"}
    assert system("0::/\n", files) == 0


def test_a_system_that_tells_nothing_is_no_bound(tmp_path):
    assert memory.available(tmp_path, tmp_path) is None


def test_this_process_is_in_memory():
    found = memory.resident()
    assert found is None or 1 << 20 < found < 1 << 40
