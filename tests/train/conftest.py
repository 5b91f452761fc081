"""What tests of training share: tiny data, one thread, no GPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On the CPU, whose sums come in a fixed order on one thread; without the log of a command before."""
    monkeypatch.setattr(logging.getLogger("petrt"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("petrt"), "propagate", True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state()  # the next test's precision is its own


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated subjects, 32 x 32 x 16 voxels of 6 mm, at 1/100 and 1/20 dose."""
    from petrt.data.simulate import write_dataset

    folder = tmp_path_factory.mktemp("simulated")
    write_dataset(folder, range(3), 1, (100, 20), shape=(32, 32, 16), voxel_mm=6.0)
    return folder


@pytest.fixture(scope="session")
def data(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same prepared in float32: two subjects to train on, one to validate on."""
    from petrt.data.prepare import Options, prepare
    from petrt.model.spec import ScaleRule

    split = tmp_path_factory.mktemp("split") / "split.csv"
    names = {"sub-0000": "train", "sub-0001": "train", "sub-0002": "validation"}
    split.write_text("subject,split\n" + "".join(f"{k},{v}\n" for k, v in names.items()))
    out = split.parent / "data"
    rule = ScaleRule(volume_ml=200.0)
    prepare([simulated], out, Options(split_file=split, rule=rule, dtype="float32"))
    return out
