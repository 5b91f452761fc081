"""What a command takes by default, made so small that the commands of the pages run in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petrt.bench.plan import Settings
from petrt.data.simulate import write_dataset
from petrt.inference.phantom_report import Simulation
from petrt.nets import PRESETS
from petrt.node.scp import Listen, receiving
from petrt.node.work import Node
from tests.docs.stand_ins import small_training
from tests.helpers import leave_undrawn

SIMULATED = 1  # subjects of a data set


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few voxels, subjects and repetitions, networks of a few channels, nothing drawn, and one thread.

    Other tests run beside, and threads that wait for each other take long on busy cores.
    """
    monkeypatch.setattr("petrt.hardware.cpu.default_threads", lambda: 1)
    monkeypatch.setattr("petrt.train.config.load_config", small_training)
    monkeypatch.setitem(PRESETS, "paper", PRESETS["tiny"])
    monkeypatch.setattr("petrt.cli.demo.SHAPE", (32, 40, 16))
    measured = {"size": (32, 32), "slices": 2, "repeats": 1, "engines": ("native",)}
    measured["sections"] = ("volume",)
    monkeypatch.setattr("petrt.bench.plan.Settings", lambda **given: Settings(**given | measured))
    monkeypatch.setattr("petrt.inference.phantom_report.Simulation", _one_phantom)
    _simulate_little(monkeypatch)
    leave_undrawn(monkeypatch)


def keep_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """``petrt node`` listens on the loopback, finds nothing on a server, and ends with its queue."""

    def here(queue: Any, listen: Listen, limits: Any) -> AbstractContextManager[int]:
        return receiving(queue, replace(listen, host="127.0.0.1", port=0), limits)

    def once(node: Node, **_: object) -> None:
        work(node, once=True)

    def nothing(*_: object) -> Iterator[object]:
        return iter(())

    work = Node.run
    monkeypatch.setattr("petrt.node.scp.receiving", here)
    monkeypatch.setattr("petrt.node.work.Node.run", once)
    monkeypatch.setattr("petrt.node.web.WebServer.find", nothing)


def _one_phantom(kinds: Sequence[str], doses: Sequence[int], _: int, *others: Any) -> Simulation:
    """The last kind and the last dose of those asked for, drawn once."""
    return Simulation(kinds[-1:], doses[-1:], 1, *others)


def _simulate_little(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(out: Path, numbers: Iterable[int], *arguments: Any, **given: Any) -> Path:
        few = [*numbers][:SIMULATED]
        given |= {
            "shape": (24, 24, 24),
            "voxel_mm": given["voxel_mm"] and 8.0,
        }  # None: its own grid
        return write_dataset(out, few, *arguments, **given)

    monkeypatch.setattr("petrt.cli.simulate.write_dataset", write)
    varied = "petrt.data.simulate.varied"
    monkeypatch.setattr(f"{varied}.subject.HEAD_MM", 8.0)
    monkeypatch.setattr(f"{varied}.parameters.PIXELS_MM", {8.0: 1.0})
    monkeypatch.setattr(f"{varied}.parameters.SLICES_MM", (16.0,))
