"""The dose in the guidance: an added input that changes nothing until it is trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from petrt.model.spec import NetworkSpec
from petrt.nets.guidance import dose_level
from petrt.nets.model import Model
from petrt.nets.presets import PRESETS


def with_dose(name: str) -> NetworkSpec:
    return PRESETS[name].model_copy(update={"dose": True})


def inputs(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    nas, spectrum = (torch.rand(batch, c, 8, 12, generator=generator) for c in (5, 1))
    return nas, spectrum


def test_the_level_falls_by_a_half_each_decade() -> None:
    fractions = torch.tensor([1.0, 0.1, 0.01, 0.25], dtype=torch.float64)
    expected = torch.tensor([0.0, -0.5, -1.0, -0.301029995663981], dtype=torch.float64)
    torch.testing.assert_close(dose_level(fractions), expected)


@pytest.mark.parametrize("guides", ["nas", "nas+spectrum"])
def test_weights_from_before_the_dose_give_the_same_features(guides: str) -> None:
    spec = PRESETS["tiny"].model_copy(update={"guides": guides})
    before, after = Model(spec), Model(spec.model_copy(update={"dose": True}))
    missing, unexpected = after.load_state_dict(before.state_dict(), strict=False)
    assert {name.split(".")[-2] for name in missing} == {"dose"}
    assert not unexpected
    nas, spectrum = inputs(3)
    second = spectrum if guides == "nas+spectrum" else None
    expected = before.guidance(nas, second)
    found = after.guidance(nas, second, torch.tensor([1.0, 0.05, 0.01]))
    for here, there in zip(found, expected, strict=True):
        for a, b in zip(here, there, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_every_extractor_learns_from_the_dose(name: str) -> None:
    """Also where a norm of one channel a group follows the stem, as in the paper's extractors."""
    torch.manual_seed(0)
    guidance = Model(with_dose(name)).guidance
    nas, spectrum = inputs(2)
    nas, spectrum = (t.repeat(1, 1, 4, 4) for t in (nas, spectrum))
    features = guidance(nas, spectrum, torch.tensor([0.25, 0.01]))
    sum(f.square().sum() for at_scale in features for f in at_scale).backward()
    for key, parameter in guidance.named_parameters():
        if ".dose." in key:
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 1e-4, key


def test_each_item_of_a_batch_has_its_own_dose() -> None:
    torch.manual_seed(0)
    guidance = Model(with_dose("tiny")).guidance
    for key, parameter in guidance.named_parameters():
        if ".dose." in key:
            torch.nn.init.normal_(parameter)
    nas, spectrum = inputs(2)
    doses = torch.tensor([0.25, 0.01])
    together = guidance(nas, spectrum, doses)
    for item in range(2):
        part = slice(item, item + 1)
        alone = guidance(nas[part], spectrum[part], doses[part])
        for here, there in zip(together, alone, strict=True):
            for a, b in zip(here, there, strict=True):
                torch.testing.assert_close(a[part], b)
    other = guidance(nas, spectrum, doses.flip(0))
    assert (other[0][0] - together[0][0]).abs().max() > 1e-3


def test_a_missing_or_unwanted_dose_is_refused() -> None:
    nas, spectrum = inputs(1)
    with_it, without = (Model(spec).guidance for spec in (with_dose("tiny"), PRESETS["tiny"]))
    with pytest.raises(ValueError, match="a dose: True; one was given: False"):
        with_it(nas, spectrum)
    with pytest.raises(ValueError, match="a dose: False; one was given: True"):
        without(nas, spectrum, torch.ones(1))
