"""Unfolding is the inverse of folding: it gives trainable networks that fold to the same functions."""

import torch

from petrt.export.folding.fold import fold, run_part
from petrt.model.bundle import load_bundle
from petrt.nets.unfold import unfold


def test_the_shipped_model_unfolds_to_networks_that_give_its_golden_outputs():
    bundle = load_bundle("demo")
    folded, golden = fold(unfold(bundle)), bundle.golden()
    for graph in bundle.graphs:
        given, wanted = (
            {
                name.rsplit("/", 1)[1]: torch.from_numpy(value.copy()).float()
                for name, value in golden.items()
                if name.startswith(f"{graph}/{kind}/")
            }
            for kind in ("in", "out")
        )
        with torch.no_grad():
            found = run_part(folded.parts[graph], given)
        for name, value in wanted.items():
            # The shared map keeps as many singular values as it has channels; what float16 weights add
            # beyond them is lost: 1.1e-4 measured.
            assert (found[name] - value).abs().max() < 5e-4 * value.abs().max(), (graph, name)
    stored = bundle.noise_bias_weights()
    for name, value in folded.noise_bias.items():
        assert torch.equal(value, torch.from_numpy(stored[name]).float()), name
