"""Cases on a cluster: lost workers, errors, room. The cluster is a list of what happens; no Ray."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import fields

import pytest

from petrt.cli.cases import Written
from petrt.cli.cluster import MOST_TRIES, ClusterRunner, Ended, Lost, Room, room
from petrt.cli.outcome import Outcome
from petrt.cli.plan import InputCase
from petrt.cli.ray_cluster import QUIET, connected
from petrt.cli.setup import Setup
from petrt.errors import DeviceError, InputError, PetrtError, UsageError
from tests.cli.input_cases import cases

RECORD = {"frames": [], "seconds": {"total": 1.0}, "warnings": [], "model": {"sha256": "m"}}
End = Callable[[str, bool], Written | PetrtError | Lost]


class Workers:
    """Two workers at most. ``end`` gives the result of a case from its name and ``again``."""

    def __init__(self, end: End) -> None:
        self.end, self.running, self.alive, self.wanted = end, deque[Ended](), 0, list[int]()
        self.begun: list[tuple[str, bool]] = []

    def want(self, count: int) -> None:
        self.wanted.append(count)
        self.alive = min(2, max(count, self.alive))

    def idle(self) -> bool:
        return len(self.running) < self.alive

    def submit(self, index: int, case: InputCase, *, again: bool) -> None:
        assert self.idle()
        self.begun.append((case.source.name, again))
        self.running.append(Ended(index, self.end(case.source.name, again)))

    def wait(self) -> Ended:
        ended = self.running.popleft()
        if isinstance(ended.result, Lost):
            self.alive -= 1
        return ended


@pytest.fixture
def setup(monkeypatch) -> Callable[[str], Setup]:
    """The options of a run on a device. What connecting sets in the environment is taken back."""
    for name, value in QUIET.items():  # Ray reads them when it is imported
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    pytest.importorskip("ray")

    def on(device: str) -> Setup:
        given = {each.name: None for each in fields(Setup)}
        return Setup(**given | {"model": "demo", "device": device})  # type: ignore[arg-type]

    return on


def written(name: str) -> Written:
    return Written([(logging.INFO, f"{name} done")], RECORD)


def test_a_lost_workers_case_is_done_again_and_told_once(caplog):
    told: list[Outcome] = []
    workers = Workers(
        lambda name, again: Lost("killed") if name == "b" and not again else written(name)
    )
    with caplog.at_level(logging.INFO, "petrt"):
        assert ClusterRunner(workers).run(cases("abcd"), lambda _, row: told.append(row)) == []
    assert sorted(row.name for row in told) == ["a", "b", "c", "d"]
    assert {row.outcome for row in told} == {"done"}
    assert [name for name, again in workers.begun if again] == ["b"]
    lines = [r.message for r in caplog.records]
    assert "warning: b: its worker is lost (killed), another one does it again" in lines
    assert sorted(line for line in lines if "done" in line and "lost" not in line) == [
        f"{name} done" for name in "abcd"
    ]
    assert workers.wanted[0] == 4
    assert workers.wanted[-1] == 1


def test_a_case_that_takes_every_worker_fails_alone(caplog):
    told: list[Outcome] = []
    workers = Workers(lambda name, _: Lost("out of memory") if name == "b" else written(name))
    (failure,) = ClusterRunner(workers).run(cases("abc"), lambda _, row: told.append(row))
    assert isinstance(failure, DeviceError)
    assert failure.message == f"b: {MOST_TRIES} workers were lost with it: out of memory"
    assert [name for name, _ in workers.begun].count("b") == MOST_TRIES
    rows = {row.name: row for row in told}
    assert [rows[name].outcome for name in "abc"] == ["done", "failed", "done"]
    assert rows["b"].exit_code == 4


def test_errors_fail_their_case_and_a_single_ones_is_raised(caplog):
    bad: End = lambda name, _: InputError("bad.nii: broken") if name == "a" else written(name)  # noqa: E731
    failures = ClusterRunner(Workers(bad)).run(cases("ab"))
    assert [str(each) for each in failures] == ["bad.nii: broken"]
    with pytest.raises(InputError, match="broken"):
        ClusterRunner(Workers(bad)).run(cases("a"))


def test_the_room_of_machines():
    cpus = [{"CPU": 8.0}, {"CPU": 4.0}, {"memory": 9.0}]
    assert room(cpus, None, gpu=False) == Room(4, 3, 2)
    assert room(cpus, 3, gpu=False) == Room(3, 3, 2)
    assert room(cpus, 8, gpu=False) == Room(8, 1, 1)
    gpus = [{"CPU": 32.0, "GPU": 4.0}, {"CPU": 6.0, "GPU": 1.0}, {"CPU": 64.0}]
    assert room(gpus, None, gpu=True) == Room(6, 5, 4)
    assert room(gpus, 16, gpu=True) == Room(16, 2, 2)
    for machines, gpu, what in ((cpus, True, "4 CPUs and a GPU"), ([], False, "4 CPUs")):
        with pytest.raises(DeviceError, match=f"no machine of the Ray cluster has {what};"):
            room(machines, 4, gpu=gpu)


@pytest.mark.parametrize(
    ("address", "device", "error", "says"),
    [
        ("ray://head:10001", "auto", UsageError, "Ray Client is not used"),
        ("nowhere", "auto", UsageError, "not an address; give auto, local or HOST:PORT"),
        ("127.0.0.1:70000", "auto", UsageError, "not an address"),
        ("127.0.0.1:1", "cpu", DeviceError, "127.0.0.1:1: Connection refused"),
        ("auto", "cuda:1", UsageError, "--device cuda:1 with --ray; say --device cuda"),
    ],
)
def test_addresses_are_checked_before_ray_waits_for_ever(address, device, error, says, setup):
    with pytest.raises(error, match=says), connected(address, setup(device)):
        pass


def test_ray_auto_means_the_cluster_that_ray_address_names(monkeypatch, setup):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(DeviceError, match=r"127\.0\.0\.1:1"), connected("auto", setup("cpu")):
        pass
