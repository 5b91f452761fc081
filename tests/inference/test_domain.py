"""The dose that a run is told where none is given, and what is said of volumes outside the domain."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from petrt.cli.app import run
from petrt.diffusion.dose import told
from petrt.errors import DomainWarning, UsageError
from petrt.inference.domain import dose_line
from petrt.inference.settings import settings_of
from petrt.model.bundle import load_bundle
from petrt.model.bundle_writer import write_bundle
from tests.helpers import write_nifti
from tests.models import Reconstructor
from tests.population import domain, ellipsoid, scan

OPTIONS = {"samples": 1, "steps": 1, "threads": 1}


def volume(dose: float, subject: int = 100) -> np.ndarray:
    """[X, Y, Z], as users have it."""
    return np.ascontiguousarray(scan(subject, dose).transpose(1, 2, 0))


def with_noise(path, **domain_changes):
    bundle = load_bundle(path)
    own = bundle.model.domain.model_copy(
        update={"noise": domain(), "dose_range": (0.02, 0.25), "matrix": None} | domain_changes
    )
    model = bundle.model.model_copy(update={"domain": own})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"model": model}))


@pytest.fixture(scope="module")
def able(dose_bundle):
    return Reconstructor(with_noise(dose_bundle), **OPTIONS)


@pytest.fixture(scope="module")
def bundle(dose_bundle, tmp_path_factory):
    """The same model as a file."""
    path = tmp_path_factory.mktemp("domain") / "model.zip"
    write_bundle(load_bundle(dose_bundle), with_noise(dose_bundle).model, path)
    return path


def about_domain(result) -> list[str]:
    """Networks that were not trained earn warnings of another kind."""
    return [each for each in result.stats["warnings"] if "domain" in each or "the noise" in each]


def test_without_a_dose_the_noise_tells_it(able):
    result = able(volume(0.05))
    dose = result.stats["dose_fraction"]
    assert dose == pytest.approx(0.05, rel=0.5)
    assert result.stats["dose"]["source"] == "estimated"
    low, high = result.stats["dose"]["interval95"]
    assert low < result.stats["dose"]["estimate"] < high
    assert result.stats["frames"][0]["noise"]["inside"]
    assert about_domain(result) == []
    json.dumps(result.stats, allow_nan=False)
    np.testing.assert_array_equal(result.image, able(volume(0.05), dose=dose).image)
    np.testing.assert_array_equal(result.image, able(volume(0.05), dose="auto").image)
    assert dose_line(result.stats).startswith("dose from the noise: about 1/")


def test_the_estimate_keeps_to_the_doses_trained_on(able):
    result = able(volume(0.01))
    assert result.stats["dose_fraction"] == 0.02
    assert result.stats["dose"]["estimate"] < 0.02
    assert dose_line(result.stats).endswith("; the model is told 1/50")


def test_a_given_dose_is_used_and_compared(able):
    near = able(volume(0.05), dose=0.05)
    assert near.stats["dose"]["source"] == "given"
    assert (about_domain(near), dose_line(near.stats)) == ([], "")
    with pytest.warns(DomainWarning, match="the noise is that of a dose of about 1/") as caught:
        wrong = able(volume(0.05), dose="1/4")
    assert [each.category for each in caught].count(DomainWarning) == 1
    assert wrong.stats["dose_fraction"] == 0.25
    [line] = about_domain(wrong)
    assert line.endswith("; 1/4 is given")


def test_what_is_foreign_is_told_once(able):
    clean = np.ascontiguousarray(ellipsoid(100).transpose(1, 2, 0))
    with pytest.warns(DomainWarning, match="array: outside the model's domain: unlike") as caught:
        result = able(clean)
    assert [each.category for each in caught].count(DomainWarning) == 1
    assert not result.stats["frames"][0]["noise"]["inside"]
    assert len(about_domain(result)) == 1


def test_each_frame_of_a_series_has_its_dose(able):
    series = np.stack([volume(0.05), np.zeros_like(volume(0.05)), volume(0.25)], axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DomainWarning)
        result = able(series)
    first, empty, last = result.stats["frames"]
    assert first["dose_fraction"] < last["dose_fraction"]
    assert "dose_fraction" not in empty
    assert result.stats["dose_fraction"] == first["dose_fraction"]  # the lower of two medians
    with pytest.warns(DomainWarning, match="in 1 of 2 frames, most in frame 2"):
        able(np.stack([volume(0.05), ellipsoid(100).transpose(1, 2, 0)], axis=-1))


def test_too_little_tissue_means_the_models_own_dose(able, dose_bundle):
    small = volume(0.05)[:, :, 27:30]
    with pytest.warns(DomainWarning, match="does not tell the dose"):
        result = able(small)
    assert result.stats["dose_fraction"] == 0.05
    assert result.stats["dose"] == {"source": "model", "estimate": None, "interval95": None}
    nameless = Reconstructor(with_noise(dose_bundle, dose_fraction=None), **OPTIONS)
    with pytest.raises(UsageError, match="does not tell its dose"):
        nameless(small)


def test_on_the_grid_the_dose_is_estimated_too(able):
    grid = scan(100, 0.05)
    dose = able(volume(0.05)).stats["dose_fraction"]
    mean, _, _ = able.on_grid(grid / np.float32(2e4))
    same, _, _ = able.on_grid(grid / np.float32(2e4), dose=dose)
    np.testing.assert_allclose(mean, same, atol=2e-3)


def test_a_model_without_a_noise_domain_has_its_own_dose(dose_bundle, tiny_bundle):
    plain = Reconstructor(dose_bundle, **OPTIONS)
    result = plain(volume(0.25))
    assert result.stats["dose_fraction"] == 0.05
    assert result.stats["dose"]["source"] == "model"
    assert "noise" not in result.stats["frames"][0]
    for path, why in ((dose_bundle, "cannot tell"), (tiny_bundle, "takes no dose")):
        with pytest.raises(UsageError, match=f"dose auto: .* {why}"):
            Reconstructor(path, **OPTIONS)(volume(0.25), dose="auto")


def test_a_model_without_a_dose_judges_the_volume(tiny_bundle):
    judging = Reconstructor(with_noise(tiny_bundle), **OPTIONS)
    result = judging(volume(0.05))
    assert result.stats["dose_fraction"] is None
    assert result.stats["dose"]["source"] is None
    assert result.stats["frames"][0]["noise"]["inside"]
    assert about_domain(result) == []


def test_keys_hold_what_the_run_is_told(able):
    model = able.bundle.model
    assert (told(None, model), told("auto", model), told("1/20", model)) == ("auto", "auto", 0.05)
    keys = [json.loads(settings_of(able, told(d, model), "refuse"))["dose"] for d in (None, 0.05)]
    assert keys == ["auto", 0.05]


def test_the_command_tells_of_it(bundle, tmp_path, capsys):
    write_nifti(tmp_path / "low.nii.gz", volume(0.05))
    write_nifti(tmp_path / "clean.nii.gz", np.ascontiguousarray(ellipsoid(100).transpose(1, 2, 0)))
    common = ["--model", str(bundle), "--threads", "1", "--steps", "1", "--allow-activity-change"]

    def call(name: str, *more: str) -> tuple[list[str], dict]:
        record = tmp_path / f"{name}.json"
        out = tmp_path / f"{name}_out.nii"
        arguments = [
            str(tmp_path / f"{name}.nii.gz"),
            str(out),
            "--json",
            str(record),
            "--overwrite",
        ]
        assert run(["reconstruct", *arguments, *common, *more]) == 0
        return capsys.readouterr().err.splitlines(), json.loads(record.read_text())

    lines, record = call("low")
    assert sum("dose from the noise: about 1/" in line for line in lines) == 1
    assert not any("domain" in line for line in lines)
    assert record["dose"]["source"] == "estimated"
    lines, record = call("low", "--dose", "1/4")
    assert sum("1/4 is given" in line for line in lines) == 1
    assert record["frames"][0]["noise"]["dose_doubted"]
    lines, record = call("clean", "--dose", "auto")
    assert sum("outside the model's domain" in line for line in lines) == 1
    assert any("outside the model's domain" in each for each in record["warnings"])
