"""The exact rewrites: the folded networks are the unfolded ones, in float64 to 1e-10."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from petrt.export.folding.fold import Upsample, fold
from petrt.export.folding.linear import transposed
from petrt.export.graphs import check as verify
from petrt.model.bundle import noise_bias_table
from tests.export.conftest import NETWORKS, scrambled


@pytest.mark.parametrize("upsample", ["conv", "transposed"])
@pytest.mark.parametrize("network", NETWORKS)
def test_folded_equals_unfolded(network: str, upsample: Upsample) -> None:
    model = scrambled(NETWORKS[network]).double()
    folded = fold(model, upsample)
    with torch.no_grad():
        for size in [(8, 8, 1, 1), (4, 12, 2, 1), (16, 8, 1, 4), (12, 8, 3, 2)]:
            values = verify.probe(model, *size, torch.float64)
            found = verify.run_folded(model, folded, values)
            for name, expected in verify.run_unfolded(model, values).items():
                assert found[name].shape == expected.shape
                assert expected.std() > 1e-3
                assert verify.relative_error(found[name], expected) < 1e-10


@pytest.mark.parametrize("network", ["none", "nas", "nas+spectrum"])
def test_noise_bias_table_is_the_noise_input(network: str) -> None:
    """With the NumPy table's row as film, the folded denoiser follows every level, not just one."""
    model = scrambled(NETWORKS[network])
    folded = fold(model)
    weights = {name: tensor.numpy() for name, tensor in folded.noise_bias.items()}
    levels = [0.05, 0.3, 0.999]
    table = noise_bias_table(weights, np.array(levels))
    with torch.no_grad():
        known = verify.run_folded(model, folded, verify.probe(model, 8, 8, 1, 1, torch.float32))
        features = []
        if model.guidance is not None:
            spectrum = known["spectrum"] if network == "nas+spectrum" else None
            features = model.guidance(known["nas"], spectrum)
        outputs = []
        for level, row in zip(levels, table, strict=True):
            known["film"] = torch.from_numpy(row[None].astype(np.float32))
            part = folded.parts["denoiser"]
            eps = part(*(known[name] for name in part.inputs))[0]
            expected = model.denoiser(known["x"], known["r"], torch.tensor([level]), features)
            torch.testing.assert_close(eps, expected, rtol=1e-4, atol=1e-5)
            outputs.append(eps)
    assert (outputs[0] - outputs[2]).abs().max() > 1e-2


def test_transposed_conv_is_upsample_and_conv() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 5, 3, padding=1, dtype=torch.float64)
    x = torch.randn(2, 3, 4, 7, dtype=torch.float64)
    expected = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(transposed(conv)(x), expected, rtol=1e-12, atol=1e-12)
