"""Threads inside one call of an engine: the same values, however many."""

from __future__ import annotations

import pytest
import torch

from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.select import choose, select_engine
from petrt.engines.torch.engine import TorchEngine
from petrt.errors import UsageError
from petrt.model.bundle import Bundle, load_bundle
from tests.engines.golden import forward, golden_inputs, worst_error

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.mark.parametrize("model", ["tiny", "demo"])
@pytest.mark.parametrize(("kind", "bar"), [(OnnxRuntimeEngine, 0.0), (TorchEngine, 1e-6)])
def test_values_do_not_depend_on_threads(tiny: Bundle, model, kind, bar):
    """ONNX Runtime splits outputs, never a sum: the same bits.

    PyTorch's oneDNN blocks by threads; measured: 5e-7.
    """
    bundle = tiny if model == "tiny" else load_bundle(model)
    one, two = kind(bundle), kind(bundle, threads=2)
    assert (one.threads, two.threads) == (1, 2)
    assert worst_error(bundle, two, one) <= bar


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_the_number_asked_for_reaches_the_engine(tiny: Bundle, name):
    assert choose(tiny, name, "cpu").engine.threads == 1
    assert choose(tiny, name, "cpu", threads=2).engine.threads == 2
    assert select_engine(tiny, name, "cpu", None, 3).threads == 3


def test_torch_computes_on_the_number(tiny: Bundle, monkeypatch):
    """Seen from inside a call, on the calling thread."""
    seen = []
    engine = TorchEngine(tiny, threads=2)
    real = torch.nn.functional.conv2d

    def conv2d(*arguments, **options):
        seen.append(torch.get_num_threads())
        return real(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)
    forward(engine, "denoiser", golden_inputs(tiny, "denoiser"))
    assert set(seen) == {2}


def test_no_threads_are_refused(tiny: Bundle):
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        choose(tiny, threads=0)
