"""The dose of a volume: read, checked, given to the networks, and compared with the training's."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from petrt.diffusion.dose import dose_text, dose_warnings, parse_dose, reduction
from petrt.errors import UsageError
from petrt.export.bundle import export_model
from petrt.inference.reconstruction import Reconstruction
from petrt.model.bundle import load_bundle
from petrt.model.spec import DomainSpec, ModelSpec
from petrt.nets import load_checkpoint, save_checkpoint
from tests.export.conftest import NETWORKS, model_spec, scrambled
from tests.models import Reconstructor, noisy_blob, tiny_model, tiny_spec

OPTIONS = {"samples": 2, "steps": 3, "threads": 1, "seed": 7}


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob((24, 29, 5))


@pytest.fixture(scope="module")
def dosed(dose_bundle) -> Reconstructor:
    return Reconstructor(dose_bundle, **OPTIONS)


@pytest.fixture(scope="module")
def plain(tiny_bundle) -> Reconstructor:
    return Reconstructor(tiny_bundle, **OPTIONS)


def equal(found: Reconstruction, expected: Reconstruction) -> None:
    for part in ("image", "std", "coarse"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part), err_msg=part)


def about_dose(result: Reconstruction) -> list[str]:
    """The warnings about the dose; networks that were not trained earn others."""
    return [warning for warning in result.stats["warnings"] if "dose" in warning]


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("1/20", 0.05), ("0.05", 0.05), ("1", 1.0), ("5e-2", 0.05), ("3/4", 0.75)],
)
def test_a_dose_is_a_quotient_or_a_number(text, fraction):
    assert parse_dose(text) == fraction


BAD = ["0", "-0.1", "1.01", "20", "nan", "inf", "x/y", "1/0", "1/", "/20", "1/2/3", "5%", "", "D20"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_dose_is_refused(text):
    with pytest.raises(UsageError, match=r"dose .* such as 1/20 or 0\.05"):
        parse_dose(text)


@pytest.mark.parametrize("dose", [0.0, -0.05, 1.5, math.nan, math.inf])
def test_a_call_with_a_bad_dose_is_refused(dosed, plain, volume, dose):
    for reconstructor in (dosed, plain):
        with pytest.raises(UsageError, match=r"not in \(0, 1\]"):
            reconstructor(volume, dose=dose)


@pytest.mark.parametrize("given", [20, 20.0, np.int64(20), 0.05, "1/20", "0.05", np.float32(0.05)])
def test_a_reduced_dose_is_a_reduction_or_a_fraction(given):
    assert reduction(given) == 20


@pytest.mark.parametrize(
    "given", [0, 1, "1", 1.5, "20", "2/3", 0.7, -20, math.nan, "x", None, True]
)
def test_what_is_no_reduced_dose_is_refused(given):
    with pytest.raises(UsageError, match=r"dose|1/20"):
        reduction(given)


@pytest.mark.parametrize("dose", ["1/20", 0.05])
def test_on_the_grid_a_dose_is_a_quotient_or_a_number(dosed, volume, dose):
    scaled = (volume / volume.max()).transpose(2, 0, 1)
    expected = dosed.on_grid(scaled, dose=1 / 20)
    np.testing.assert_array_equal(dosed.on_grid(scaled, dose=dose), expected)
    mean, _, _ = dosed.drawn_on_grid(scaled, dose=dose)
    np.testing.assert_array_equal(mean, expected[0])


def test_doses_in_words():
    words = {0.01: "1/100", 0.05: "1/20", 0.333: "1/3", 0.3: "0.3", 0.75: "0.75", 1.0: "1"}
    assert {fraction: dose_text(fraction) for fraction in words} == words


def test_doses_unlike_the_training():
    several = DomainSpec(voxel_mm=(2, 2, 2), dose_fraction=0.01, dose_range=(0.01, 0.25))
    unknown = DomainSpec(voxel_mm=(2, 2, 2))
    one = unknown.model_copy(update={"dose_fraction": 0.01})
    for dose in (None, 0.01, 1 / 20, 0.25):
        assert dose_warnings(dose, several) == []
    for dose in (None, 0.005, 0.01, 0.02):
        assert dose_warnings(dose, one) == []
    assert dose_warnings(0.3, unknown) == []
    assert dose_warnings(0.5, several) == ["the dose fraction is 1/2, trained on 1/100 to 1/4"]
    assert dose_warnings(0.005, several) == ["the dose fraction is 1/200, trained on 1/100 to 1/4"]
    for dose in (0.05, 0.004):
        text = f"the dose fraction is {dose_text(dose)}, trained on 1/100"
        assert dose_warnings(dose, one) == [text]


def test_the_dose_reaches_the_networks_and_the_record(dosed, volume):
    results = {dose: dosed(volume, dose=dose) for dose in (0.25, 0.05, 0.01)}
    for dose, result in results.items():
        assert result.stats["dose_fraction"] == dose
        assert about_dose(result) == []
        json.dumps(result.stats, allow_nan=False)
    images = [result.image for result in results.values()]
    for a, b in itertools.pairwise(images):
        assert np.abs(a - b).max() > 1e-3 * a.max()
    equal(dosed(volume, dose=0.25), results[0.25])


def test_by_default_the_dose_is_the_models_own(dosed, volume):
    result = dosed(volume)
    assert result.stats["dose_fraction"] == 0.05
    equal(result, dosed(volume, dose=0.05))


def test_a_dose_beyond_the_range_is_used_with_a_warning(dosed, volume):
    result = dosed(volume, dose=1.0)
    assert about_dose(result) == ["the dose fraction is 1, trained on 1/100 to 1/4"]
    assert not np.array_equal(result.image, dosed(volume, dose=0.25).image)


def test_threads_and_batches_change_nothing(dosed, dose_bundle, volume):
    cut = Reconstructor(dose_bundle, **(OPTIONS | {"threads": 3, "batch": (2, 1)}))
    for dose in (0.25, 0.01):  # buffers are kept between the volumes
        equal(cut(volume, dose=dose), dosed(volume, dose=dose))


def test_a_model_without_the_input_only_compares_the_dose(plain, tiny_bundle, volume):
    expected = plain(volume)
    assert expected.stats["dose_fraction"] is None
    found = plain(volume, dose=0.3)
    assert (found.stats["dose_fraction"], about_dose(found)) == (0.3, [])
    equal(found, expected)
    bundle = load_bundle(tiny_bundle)
    domain = bundle.model.domain.model_copy(update={"dose_fraction": 0.01})
    model = bundle.model.model_copy(update={"domain": domain})
    manifest = bundle.manifest.model_copy(update={"model": model})
    known = Reconstructor(replace(bundle, manifest=manifest), **OPTIONS)
    before, after = known(volume), known(volume, dose=0.25)
    equal(after, before)
    assert set(after.stats["warnings"]) - set(before.stats["warnings"]) == {
        "the dose fraction is 1/4, trained on 1/100"
    }


def test_a_model_that_names_no_dose_wants_one(volume, tmp_path):
    spec = model_spec(NETWORKS["dose"])
    domain = spec.domain.model_copy(update={"dose_fraction": None})
    model = scrambled(spec.network)
    export_model(model, spec.model_copy(update={"domain": domain}), tmp_path / "bundle")
    reconstructor = Reconstructor(tmp_path / "bundle", **OPTIONS)
    with pytest.raises(UsageError, match="needs the dose"):
        reconstructor(volume)
    assert about_dose(reconstructor(volume, dose=0.5)) == []


def test_specifications_from_before_the_dose_are_read(tmp_path):
    """``model.json`` and ``checkpoint.json`` without the keys: networks without the input."""
    written = tiny_spec().model_dump(mode="json")
    del written["network"]["dose"], written["domain"]["dose_range"], written["calibration"]
    assert ModelSpec.model_validate(written) == tiny_spec()
    save_checkpoint(tmp_path / "checkpoint", tiny_model(), tiny_spec())
    file = tmp_path / "checkpoint" / "checkpoint.json"
    header = json.loads(file.read_text())
    del header["sha256"], header["spec"]["network"]["dose"], header["spec"]["domain"]["dose_range"]
    file.write_text(json.dumps(header | {"version": 1}))
    model, spec, _ = load_checkpoint(tmp_path / "checkpoint")
    assert spec == tiny_spec()
    for name, tensor in tiny_model().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
