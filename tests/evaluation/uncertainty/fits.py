"""A fit of regions with every coefficient, and a flat map."""

from __future__ import annotations

from petrt.model.spec import MapSpec, RegionSpec, SamplerSpec, SamplesSpec

SPEC = RegionSpec(
    bias=0.02,
    bias_dose=-0.01,
    recovery=0.1,
    recovery_dose=-0.05,
    constant=-1.0,
    samples=0.3,
    volume=-0.2,
    value=0.5,
    detail=0.1,
    dose=-0.2,
    volume2=0.02,
    detail2=0.01,
    detail_volume=-0.03,
    volume_dose=0.02,
)

FIT = SamplesSpec(
    sampler=SamplerSpec(),
    samples=4,
    map=MapSpec(constant=0),
    intensity_only=MapSpec(constant=0),
    mean=SPEC,
    peak=SPEC,
    max=SPEC,
)
