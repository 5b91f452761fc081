"""The section ``domain``: what is counted, and that its images are foreign to a model of ellipsoids."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import domain as section
from benchmarks.quality.cases import QualityCase
from benchmarks.quality.domain import domain_record, table
from benchmarks.quality.unlike import drawn, tomogram
from petrt.errors import UsageError
from tests.models import tiny_spec
from tests.population import domain, ellipsoid, scan


def case(number: int, dose: int) -> QualityCase:
    volumes = (scan(number, 1 / dose), scan(number, 1.0, 0.5), ellipsoid(number))
    low, full, truth = (np.ascontiguousarray(each.transpose(1, 2, 0)) for each in volumes)
    return QualityCase(f"sub-{number}", dose, low, full, truth, None, np.diag([2.0, 2, 2, 1]))


def test_rates_and_errors(monkeypatch):
    monkeypatch.setattr(section, "makers", lambda: {"CT of a head": tomogram})
    monkeypatch.setattr(section, "DRAWN", 1)
    spec = tiny_spec()
    spec = spec.model_copy(update={"domain": spec.domain.model_copy(update={"noise": domain()})})
    record = domain_record(spec, case, range(100, 102), (4, 100))
    assert record["false_alarms"] == record["false_alarms"] | {
        "volumes": 4,
        "outside": 0,
        "dose_doubted": 0,
    }
    assert abs(record["dose"]["1/100"]["bias_percent"]) < 50
    assert {kind: each["outside"] for kind, each in record["detected"].items()} == {
        "full dose": 1.0,
        "noise-free simulation": 1.0,
        "CT of a head": 1.0,
    }
    assert "| CT of a head | 1 | 100 | 100 |" in list(table(record))


def test_a_model_without_a_domain_is_refused():
    with pytest.raises(UsageError, match="no noise domain"):
        domain_record(tiny_spec(), case, range(1), (100,))


def test_images_are_drawn_again():
    (one, affine), (other, _) = (next(drawn(tomogram, 1, 3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.min() < -900 or one.max() > 1500
    assert affine[0, 0] == 2.0
