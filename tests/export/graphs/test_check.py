"""The verification notices what it is there for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from petrt.errors import InputError
from petrt.export import export_model
from petrt.export.folding.fold import Folded, Upsample, fold
from petrt.export.graphs import check as verify
from petrt.nets import Model
from tests.export.conftest import NETWORKS, model_spec, scrambled


def test_relative_error() -> None:
    reference = np.array([0.0, -4.0, 2.0])
    assert verify.relative_error(reference + np.array([0.0, 0.0, 0.1]), reference) == pytest.approx(
        0.025
    )
    assert verify.relative_error(np.zeros(2), np.zeros(2)) == 0
    assert verify.relative_error(np.array([np.nan]), np.ones(1)) == float("inf")
    assert verify.relative_error(np.ones(1), np.array([np.inf])) == float("inf")
    with pytest.raises(ValueError, match=r"shapes differ: \(1,\) and \(2,\)"):
        verify.relative_error(np.ones(1), np.ones(2))


def test_a_wrong_fold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(model: Model, upsample: Upsample) -> Folded:
        folded = fold(model, upsample)
        folded.noise_bias["film.bias"] = folded.noise_bias["film.bias"] * (1 + 1e-6)
        return folded

    model = scrambled(NETWORKS["nas+spectrum"])
    with torch.no_grad():
        assert verify.fold_error(model, "conv")["eps"] < 1e-12
        monkeypatch.setattr(verify, "fold", careless)
        with pytest.raises(InputError, match="folding: eps differs too much"):
            verify.fold_error(model, "conv")


def test_a_wrong_graph_is_refused(tmp_path: Path) -> None:
    """Graphs of other weights: the check must not pass for any network of the same shape."""
    model = scrambled(NETWORKS["nas"])
    export_model(model, model_spec(model.spec), tmp_path / "bundle")
    with torch.no_grad():
        assert verify.runtime_error(model, fold(model), tmp_path / "bundle")["denoiser"] < 1e-5
        model.denoiser.head.conv.weight[0, 0] += 0.5
        with pytest.raises(InputError, match="ONNX Runtime against PyTorch: denoiser differs"):
            verify.runtime_error(model, fold(model), tmp_path / "bundle")
