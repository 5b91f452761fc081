"""The dose from the noise, and what is told from the training population."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from petrt.errors import InputError
from petrt.evaluation.noise_domain import Case, doubts, fit_noise_domain, fit_signatures, judge
from petrt.evaluation.noise_level import FEATURES, signature
from petrt.model.spec import DomainSpec, NoiseDomain
from tests.population import DOSES, MM, cases, domain, ellipsoid, scan, seen

OTHERS = range(100, 106)  # subjects that the fit has not seen


def judged(volume: np.ndarray):
    return judge(signature(volume, MM), domain())


def test_the_dose_of_other_subjects():
    assert domain().dose[1] == pytest.approx(-2, abs=0.25)  # variance of counts
    for dose in DOSES:
        found = [judge(seen(subject, dose), domain()) for subject in OTHERS]
        assert np.mean([math.log(each.dose / dose) for each in found]) == pytest.approx(0, abs=0.1)
        assert all(each.dose == pytest.approx(dose, rel=0.5) for each in found)
        held = [each.interval[0] <= dose <= each.interval[1] for each in found]
        assert sum(held) >= 4
        assert not any(doubts(dose, each, domain()) for each in found)


def test_the_dose_rises_as_the_noise_falls():
    doses = [judged(scan(100, 0.05, extra)).dose for extra in (4, 2, 1, 0.5, 0.25)]
    assert doses == sorted(doses)


def test_other_subjects_lie_inside():
    found = [judge(seen(subject, dose), domain()) for subject in OTHERS for dose in DOSES]
    assert all(each.inside and each.distance <= each.usual for each in found)


def test_a_dose_between_those_of_the_fit_lies_inside():
    assert all(judged(scan(subject, 0.1)).inside for subject in OTHERS[:3])


def foreign() -> dict[str, np.ndarray]:
    noisy, rng = scan(100, 0.05), np.random.default_rng(0)
    lowered = noisy - np.float32(4000)
    return {
        "noise-free": ellipsoid(100),
        "full dose": scan(100, 1.0, 0.5),
        "smoothed": ndimage.gaussian_filter(scan(100, 0.01), 1.0),
        "below 0": lowered,
        "noise everywhere": ellipsoid(100) + 2e3 * rng.standard_normal(noisy.shape).astype("f4"),
        "a slab": np.where(np.arange(56)[:, None, None] < 40, 2e4, 0) + noisy % 3000,
    }


@pytest.mark.parametrize("kind", foreign())
def test_what_is_foreign_is_told(kind):
    found = judged(foreign()[kind].astype(np.float32))
    assert not found.inside
    assert found.unusual


def test_what_is_unusual_is_named():
    assert "less noise" in judged(foreign()["noise-free"]).unusual[0]
    assert any("negative" in each for each in judged(foreign()["below 0"]).unusual)


def test_a_wrong_dose_is_doubted_and_a_near_one_is_not():
    found = judged(scan(100, 0.05))
    assert doubts(0.25, found, domain())
    assert doubts(0.01, found, domain())
    for factor in (0.7, 1.4):
        assert not doubts(found.dose * factor, found, domain())


def test_a_cropped_volume_is_judged_by_what_is_left():
    crop = judge(signature(scan(100, 0.05)[:, 4:52, 4:52], MM), domain())
    assert crop.dose == pytest.approx(0.05, rel=0.5)


def test_what_is_unknown_in_all_volumes_of_the_fit_is_left_out():
    doses = DOSES[::2]
    plain = [(f"sub-{n}", dose, seen(n, dose)) for n in range(8) for dose in doses]
    air = [*FEATURES].index("air")
    without = [
        (
            name,
            dose,
            replace(
                each, features=np.where(np.arange(len(FEATURES)) == air, np.nan, each.features)
            ),
        )
        for name, dose, each in plain
    ]
    found = fit_signatures(*zip(*without, strict=True))
    assert {*FEATURES} - {*found.features} == {"air"}
    other = seen(OTHERS[0], 0.05)
    assert math.isfinite(judge(other, found).distance)
    assert judge(other, found).dose == pytest.approx(judge(other, domain()).dose, rel=0.2)


def test_the_scale_of_the_volumes_does_not_matter():
    doses = DOSES[::2]
    stored = (
        Case(each.subject, (each.volume / 1.7e4).astype(np.float16), each.dose)
        for each in cases(range(8), doses)
    )
    plain = [(f"sub-{n}", dose, seen(n, dose)) for n in range(8) for dose in doses]
    expected = fit_signatures(*zip(*plain, strict=True))
    assert fit_noise_domain(stored, MM).dose == pytest.approx(expected.dose, rel=1e-2)


def test_it_is_written_and_read():
    spec = DomainSpec(voxel_mm=MM, noise=domain())
    assert DomainSpec.model_validate_json(spec.model_dump_json()) == spec
    written = DomainSpec(voxel_mm=MM).model_dump(mode="json")
    del written["noise"]  # as bundles from before have it
    assert DomainSpec.model_validate(written).noise is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"expected": ((0, 0, 0),)}, "as many parabolas"),
        ({"covariance": ((1.0,),)}, "rows of the covariance"),
        ({"level": (1.0, 0.0)}, "empty"),
        ({"dose": (0.0, 2.0)}, "less than 0"),
    ],
)
def test_a_damaged_domain_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        NoiseDomain.model_validate(domain().model_dump() | change)


def test_features_of_another_version_are_refused():
    names = ("colour", *domain().features[1:])
    with pytest.raises(InputError, match="newer petrt"):
        judge(signature(scan(0, 0.05), MM), domain().model_copy(update={"features": names}))


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(InputError, match="7 subjects"):
        fit_noise_domain(cases(range(7), (0.01,)), MM)
    names = [f"sub-{n}" for n in range(8) for _ in range(2)]
    signatures = [seen(n, dose) for n in range(8) for dose in (0.01, 0.25)]
    with pytest.raises(InputError, match="several doses"):
        fit_signatures(names, [0.01] * 16, signatures)
    with pytest.raises(InputError, match="does not fall"):
        fit_signatures(names, [0.25, 0.01] * 8, signatures)
    with pytest.raises(InputError, match="sub-0: no noise level"):
        fit_noise_domain([Case("sub-0", scan(0, 0.01)[:2], 0.01)], MM)
