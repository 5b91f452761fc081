"""How many cores a process may use, by affinity and the quota of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from petrt.hardware import cpu


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a made-up /proc and /sys/fs/cgroup; returns the threads by them, of 8 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def threads(cgroup: str, files: dict[str, str]) -> int:
        proc, groups = tmp_path / "proc", tmp_path / "cgroup"
        content = {
            "proc/self/cgroup": cgroup,
            **{f"cgroup/{name}": text for name, text in files.items()},
        }
        for name, text in content.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return cpu.default_threads(proc, groups)

    return threads


@pytest.mark.parametrize(
    ("quota", "threads"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),  # one and a half cores keep two threads busier than one
        ("10000 100000", 1),
        ("9900000 100000", 8),  # more than there are
        ("25000 12500", 2),
        ("rubbish", 8),
        ("", 8),
        ("0 0", 8),
    ],
)
def test_version_2(system, quota, threads):
    assert system("0::/job\n", {"job/cpu.max": f"{quota}\n"}) == threads


def test_the_tightest_group_above_counts(system):
    files = {"job/cpu.max": "300000 100000\n", "job/a/cpu.max": "max 100000\n"}
    assert system("0::/job/a\n", files) == 3


def test_the_groups_own_root_where_the_path_is_the_hosts(system):
    assert system("0::/kubepods/pod7\n", {"cpu.max": "100000 100000\n"}) == 1


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_version_1(system, folder):
    files = {
        f"{folder}/x/cpu.cfs_quota_us": "400000\n",
        f"{folder}/x/cpu.cfs_period_us": "100000\n",
    }
    assert system("9:cpu,cpuacct:/x\n4:memory:/x\n", files) == 4


def test_version_1_without_a_quota(system):
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert system("9:cpu,cpuacct:/\n", files) == 8


def test_without_groups_all_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert cpu.default_threads(tmp_path, tmp_path) == 2
