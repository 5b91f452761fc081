"""Signals reach a process in which OpenVINO engines have come and gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino")

# Signal handlers run on a stack of their own, which Python's faulthandler gives the main thread.
PROGRAM = """
import faulthandler, os, signal, sys
import numpy as np
from petrt.engines.openvino.engine import OpenVINOEngine
from petrt.model.bundle import load_bundle

faulthandler.enable()
bundle = load_bundle(sys.argv[1])

def compiled():
    engine = OpenVINOEngine(bundle)
    inputs = {"x": (1, 1, 16, 16), "nas": (1, 5, 16, 16), "spectrum": (1, 1, 16, 16)}
    outputs = engine.output_shapes("guidance", inputs)
    inputs, outputs = (
        {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        for shapes in (inputs, outputs)
    )
    engine.bind("guidance", inputs, outputs)()
    return engine

engines = [compiled(), compiled()]
del engines[0]
del engines[0]
came = []
signal.signal(signal.SIGINT, lambda *_: came.append(1))
os.kill(os.getpid(), signal.SIGINT)
assert came
"""


def test_a_signal_after_two_engines_were_freed(tiny_bundle: Path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_bundle)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
