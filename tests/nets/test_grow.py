"""A grown network computes what the small one does, and all of its new weights can learn."""

import pytest
import torch

from petrt.errors import InputError
from petrt.model.spec import GuidanceSpec, NetworkSpec, UNetSpec
from petrt.nets import Model
from petrt.nets.grow import grown

SMALL = NetworkSpec(
    coarse=UNetSpec(base=8, multipliers=(1, 2, 3), blocks=1, norm_groups=4),
    denoiser=UNetSpec(base=8, multipliers=(1, 2, 3), blocks=2, norm_groups=4),
    guidance=GuidanceSpec(stem=8, widths=(8, 16)),
)


def larger(blocks: int, denoiser: int = 2, **changes: object) -> NetworkSpec:
    assert SMALL.coarse is not None
    assert SMALL.denoiser is not None
    return SMALL.model_copy(
        update={
            "coarse": SMALL.coarse.model_copy(update={"blocks": blocks}),
            "denoiser": SMALL.denoiser.model_copy(update={"blocks": denoiser}),
            **changes,
        }
    )


def outputs(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    nas = torch.rand(2, 5, 16, 24, generator=generator)
    x, r = nas[:, 2:3], torch.randn(2, 1, 16, 24, generator=generator)
    features = model.guidance(nas, torch.rand(2, 1, 16, 24, generator=generator))
    level = torch.tensor([0.3, 0.9])
    return model.coarse_of(x, nas, features), model.denoiser(x, r, level, features)


@pytest.mark.parametrize(
    "spec",
    [
        larger(2),
        larger(4, 3),
        larger(1, coarse_input="neighbours"),
        larger(3, coarse_input="neighbours"),
    ],
    ids=["one block more", "both networks", "neighbours", "blocks and neighbours"],
)
def test_a_grown_network_computes_what_the_small_one_does(spec):
    torch.manual_seed(0)
    small, large = Model(SMALL), Model(spec)
    large.load_state_dict(grown(small, spec))
    with torch.no_grad():
        for found, wanted in zip(outputs(large), outputs(small), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_new_blocks_and_neighbours_learn():
    spec = larger(2, coarse_input="neighbours")
    large = Model(spec)
    large.load_state_dict(grown(Model(SMALL), spec))
    outputs(large)[0].square().sum().backward()
    first = large.coarse.downs[0].weight.grad
    assert (first.abs().amax((0, 2, 3)) > 0).all()  # each of the five slices
    for block in (large.coarse.downs[2], large.coarse.ups[1]):  # the new ones
        assert block.conv2.weight.grad.abs().max() > 0


@pytest.mark.parametrize("changed", [{"base": 16}, {"multipliers": (1, 2, 4)}, {"blocks": 1}])
def test_a_network_that_is_not_larger_in_blocks_alone_is_refused(changed):
    spec = SMALL.model_copy(update={"denoiser": SMALL.denoiser.model_copy(update=changed)})
    with pytest.raises(InputError, match="blocks"):
        grown(Model(SMALL), spec)
