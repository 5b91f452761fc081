"""Small networks in every configuration, with no parameter left at a value that hides a mistake."""

from __future__ import annotations

import torch

from petrt.model.spec import DomainSpec, ModelSpec, NetworkSpec, UNetSpec
from petrt.nets import PRESETS, Model
from tests.nets.conftest import one_thread

__all__ = ["one_thread"]

TINY = PRESETS["tiny"]
_ATTENTIVE = UNetSpec(base=4, multipliers=(1, 2), blocks=2, norm_groups=2, attention_levels=(1,))

NETWORKS: dict[str, NetworkSpec] = {
    "none": TINY.model_copy(update={"guides": "none"}),
    "nas": TINY.model_copy(update={"guides": "nas"}),
    "nas+spectrum": TINY,
    "dose": TINY.model_copy(update={"dose": True}),
    # The baseline: no coarse network, attention beside the middle.
    "denoiser": NetworkSpec(guides="none", coarse=None, denoiser=_ATTENTIVE),
    "coarse": NetworkSpec(guides="none", coarse=_ATTENTIVE, denoiser=None),
    "guided coarse": TINY.model_copy(update={"denoiser": None}),
    "guided denoiser": TINY.model_copy(update={"coarse": None}),
    "coarse of neighbours": TINY.model_copy(update={"coarse_input": "neighbours"}),
    "four neighbours": TINY.model_copy(
        update={"guidance": TINY.guidance.model_copy(update={"neighbours": (-2, -1, 1, 2)})}
    ),
}


def model_spec(network: NetworkSpec) -> ModelSpec:
    domain = DomainSpec(voxel_mm=(2.0, 2.0, 2.0), dose_fraction=0.05 if network.dose else None)
    return ModelSpec(name="tiny", network=network, domain=domain)


def scrambled(network: NetworkSpec) -> Model:
    """Fresh networks, every parameter moved at random: norms scale and shift, no bias is zero."""
    torch.manual_seed(0)
    model = Model(network).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model
