"""Calibration: every call of every network counts, the reverse loop's last step too."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from petrt.build import quantize
from petrt.build.quantize import Range, convolutions
from petrt.build.quantize_ranges import Calibration, Observer
from petrt.build.verify import probed_doses, trained_doses
from petrt.bundle import GRAPHS, Bundle, load_bundle
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.errors import InputError, UsageError
from petrt.reconstructor import Reconstructor
from tests.models import noisy_blob


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(autouse=True)
def everything_is_worth_it(monkeypatch) -> None:
    monkeypatch.setattr(quantize, "WORTH", 0.0)


class Recorder(OnnxRuntimeEngine):
    """Notes what each call of the denoiser reads, and what it gives."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.calls: list[tuple[np.ndarray, np.ndarray]] = []

    def bind(self, graph, inputs, outputs):
        run = super().bind(graph, inputs, outputs)

        def recorded() -> None:
            before = inputs["r"].copy() if graph == "denoiser" else None
            run()
            if before is not None:
                self.calls.append((before, outputs["eps"].copy()))

        return recorded


def volume() -> np.ndarray:
    return noisy_blob((32, 32, 3))


def test_the_range_is_that_of_all_steps_the_last_one_included(tiny):
    recorder, observer = Recorder(tiny), Observer(tiny)
    plain = Reconstructor(tiny, engine=recorder, seed=4)(volume())
    observed = Reconstructor(tiny, engine=observer, seed=4)(volume())
    np.testing.assert_array_equal(observed.image, plain.image)
    layers = convolutions(tiny.onnx("denoiser"), "denoiser")
    first, last = layers[0], layers[-1]
    assert (first.source, last.result) == ("r", "eps")
    steps = tiny.model.sampler.steps
    assert len(recorder.calls) % steps == 0
    for index, name in enumerate(("r", "eps")):
        low = [float(call[index].min()) for call in recorder.calls]
        high = [float(call[index].max()) for call in recorder.calls]
        found = observer.ranges["denoiser"][name]
        assert found.low == pytest.approx(min(low), rel=1e-6)
        assert found.high == pytest.approx(max(high), rel=1e-6)
    # Of one image the extremes lie in different steps: neither the first nor the last one will do.
    assert len({float(call[1].max()) for call in recorder.calls}) > steps // 2


def test_every_call_can_widen_a_range(tiny):
    observer = Observer(tiny)
    sizes = {"height": 16, "width": 16}

    def shape(dims: list[object]) -> list[int]:
        parts = [str(dim).partition("/") for dim in dims]
        return [
            int(name) if name.isdigit() else sizes.get(name, 1) // int(over or 1)
            for name, _, over in parts
        ]

    names = observer.tensors("denoiser")[0]
    inputs = {name: np.zeros(shape(dims), np.float32) for name, dims in names.items()}
    run = observer.bind("denoiser", inputs, {"eps": np.empty((1, 1, 16, 16), np.float32)})
    for value in (1.0, -5.0, 3.0):
        inputs["r"][0, 0, 2, 2] = value
        run()
    assert observer.ranges["denoiser"]["r"] == Range(-5.0, 3.0)
    inputs["r"][0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"denoiser: .* not finite"):
        run()


def test_every_convolution_of_every_network_has_its_ranges_whatever_the_threads(tiny):
    found = []
    for threads in (1, 3):
        observer = Observer(tiny)
        Reconstructor(tiny, engine=observer, seed=4, threads=threads)(volume())
        found.append(observer.ranges)
    assert found[0] == found[1]
    for graph in GRAPHS:
        for layer in convolutions(tiny.onnx(graph), graph):
            for name in (layer.source, layer.result):
                assert found[0][graph][name].low <= found[0][graph][name].high


def test_given_volumes_widen_what_simulated_ones_give(tiny, tmp_path):
    path = tmp_path / "sub-secret.nii.gz"
    extreme = noisy_blob((32, 32, 40))
    extreme[12:14, 12:14, 20] *= 100
    nibabel.save(nibabel.Nifti1Image(extreme, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    steps: list[tuple[int, int]] = []
    simulated = Calibration().ranges(tiny, lambda *step: None)
    both = Calibration((path,)).ranges(tiny, lambda *step: steps.append(step))
    assert steps == [(0, 2), (1, 2), (2, 2)]
    wider = 0
    for graph, tensors in simulated.items():
        for name, before in tensors.items():
            after = both[graph][name]
            assert after.low <= before.low
            assert after.high >= before.high
            wider += after != before
    assert wider > 10


def test_the_record_names_volumes_by_their_bytes_alone(tmp_path):
    one, two = tmp_path / "sub-secret.nii", tmp_path / "sub-other.nii"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    assert Calibration().text == "simulated"
    text = Calibration((one,)).text
    assert "secret" not in text
    assert text.startswith("simulated and 1 given, sha256 ")
    assert Calibration((two,)).text != text
    renamed = one.rename(tmp_path / "sub-renamed.nii")
    assert Calibration((renamed,)).text == text
    with pytest.raises(UsageError, match=r"cannot read .*absent\.nii"):
        _ = Calibration((tmp_path / "absent.nii",)).text


@pytest.mark.parametrize(
    ("domain", "doses", "probed"),
    [
        ({}, (100,), (100,)),
        ({"dose_fraction": 0.05}, (20,), (20,)),
        ({"dose_fraction": 0.3}, (4,), (4,)),
        ({"dose_fraction": 0.05, "dose_range": (0.01, 0.25)}, (100, 50, 20, 10, 4), (100, 20, 4)),
        ({"dose_fraction": 0.02, "dose_range": (0.02, 0.05)}, (50, 20), (50, 20)),
        ({"dose_fraction": 0.6, "dose_range": (0.5, 0.7)}, (4,), (4,)),
    ],
)
def test_doses_are_those_the_model_was_trained_on(tiny, domain, doses, probed):
    model = tiny.model.model_copy(update={"domain": tiny.model.domain.model_copy(update=domain)})
    assert trained_doses(model) == doses
    assert probed_doses(model) == probed
