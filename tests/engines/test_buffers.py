"""What every engine on a CPU does with the buffers that it is given, and the precisions it lacks."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.engines.native.engine import NativeEngine
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.openvino.engine import OpenVINOEngine
from petrt.engines.torch.engine import TorchEngine
from petrt.errors import DeviceError, InputError, UsageError
from petrt.model.bundle import Bundle
from tests.engines.golden import golden_inputs

pytestmark = pytest.mark.usefixtures("private_cache")
KINDS = {
    "native": NativeEngine,
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVINOEngine,
    "torch": TorchEngine,
}
engines = pytest.mark.parametrize("name", KINDS)


def inputs_of(tiny: Bundle, name: str) -> dict[str, np.ndarray]:
    """Of the coarse network; features of the native engine have their channels last."""
    arrays = {key: array.copy() for key, array in golden_inputs(tiny, "coarse").items()}
    if name == "native":
        for key in arrays.keys() - {"x"}:
            arrays[key] = np.ascontiguousarray(arrays[key].transpose(0, 2, 3, 1))
    return arrays


@engines
def test_a_call_reads_what_the_inputs_hold_then_and_writes_in_place(tiny: Bundle, name):
    engine, inputs = KINDS[name](tiny, precision="fp32"), inputs_of(tiny, name)
    output = np.full_like(inputs["x"], np.nan)
    run = engine.bind("coarse", inputs, {"x_cp": output})
    run()
    first = output.copy()
    inputs["x"] *= 2
    run()
    assert np.abs(output - first).max() > 1e-3
    inputs["x"] /= 2
    run()
    np.testing.assert_array_equal(output, first)


@engines
def test_buffers_that_do_not_fit_are_refused(tiny: Bundle, name):
    engine, inputs = KINDS[name](tiny, precision="fp32"), inputs_of(tiny, name)
    x, output = inputs["x"], {"x_cp": np.empty_like(inputs["x"])}
    for bad in (x.astype(np.float64), x.swapaxes(2, 3).copy().swapaxes(2, 3)):
        with pytest.raises(ValueError, match="x must be C-contiguous float32"):
            engine.bind("coarse", inputs | {"x": bad}, output)
    # ONNX Runtime notices as it runs.
    with pytest.raises((ValueError, InputError, DeviceError), match=r"of shape|on buffers"):
        engine.bind("coarse", inputs, {"x_cp": np.empty((1, 1, 2, 2), np.float32)})()
    with pytest.raises(InputError, match="outputs do not match"):
        engine.bind("coarse", inputs, {"eps": output["x_cp"]})
    del inputs["x"]
    with pytest.raises(InputError, match="inputs do not match: lacks x"):
        engine.bind("coarse", inputs, output)


@pytest.mark.parametrize(("name", "precision"), [("native", "bf16"), ("openvino", "fp16")])
def test_precisions_that_an_engine_lacks_are_refused(tiny: Bundle, name, precision):
    with pytest.raises(UsageError, match=f"does not run {precision}"):
        KINDS[name](tiny, precision=precision)
