"""The inverse of folding: trainable networks from a bundle, which compute the same function.

A bundle holds no trainable networks: ``petrt.export.folding.fold`` combined several linear maps into one.
Any networks that fold to the same maps will do. Here the second mix passes its input through unchanged, and
the guides' shared map holds the leading singular vectors of the combined ones. The heads of the extractors,
which only training uses, are not in a bundle and keep their initial values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from petrt.model.bundle import Bundle
from petrt.nets.blocks import GuidedBlock
from petrt.nets.model import Model
from petrt.nets.unet import UNet, named_blocks

Weights = Mapping[str, Tensor]


def unfold(bundle: Bundle) -> Model:
    """Trainable networks with the function of ``bundle``'s, float32."""
    model = Model(bundle.model.network)
    parts = {graph: _weights(bundle, graph) for graph in bundle.graphs}
    state: dict[str, Tensor] = {}
    if model.guidance is not None:
        state |= _guidance(model, parts["guidance"])
    if model.coarse is not None:
        state |= _unet("coarse", model.coarse, parts["coarse"], parts["coarse"])
    if model.denoiser is not None:
        state |= _unet("denoiser", model.denoiser, parts["denoiser"], parts["guidance"])
        state |= _noise(model.denoiser, bundle)
        halves = [parts["guidance"]["x_half.weight"], parts["denoiser"]["input.weight"]]
        state["denoiser.downs.0.weight"] = torch.cat(halves, dim=1)
        state["denoiser.downs.0.bias"] = parts["guidance"]["x_half.bias"]
    own = model.state_dict()
    wanted = {name for name in own if not re.match(r"guidance\..*\.head\.", name)}
    if missing := sorted(wanted - state.keys()):
        raise ValueError(f"the bundle gives no value for {missing[0]}")
    model.load_state_dict(
        own | {name: value.reshape(own[name].shape).float() for name, value in state.items()}
    )
    return model


def _weights(bundle: Bundle, graph: str) -> dict[str, Tensor]:
    network = bundle.network(graph)
    return {name: torch.from_numpy(network.weight(name).copy()) for name in network.weights}


def _guidance(model: Model, weights: Weights) -> dict[str, Tensor]:
    """The extractors; a bundle's names lack the ``conv`` of a downsampling layer."""
    assert model.guidance is not None
    found = {}
    for name in model.guidance.state_dict():
        short = re.sub(r"(downs\.\d+)\.conv\.", r"\1.", name)
        if short in weights:
            found[f"guidance.{name}"] = weights[short]
    return found


def _unet(part: str, unet: UNet, weights: Weights, maps: Weights) -> dict[str, Tensor]:
    """One U-Net; ``maps`` holds the combined maps of the guides (``downs.3.g1.weight`` ...)."""
    found = {}
    for name in unet.state_dict():
        short = "input" + name.removeprefix("downs.0") if name.startswith("downs.0.") else name
        short = re.sub(r"^((?:downs|ups)\.\d+)\.conv\.", r"\1.", short)
        if short in weights:
            found[f"{part}.{name}"] = weights[short]
    for name, block in named_blocks(unet):
        if not isinstance(block, GuidedBlock):
            continue
        through = weights[f"{name}.mix1.weight"][:, :, 0, 0]
        halves = (("1", through), ("2", torch.eye(block.mix2.out_channels)))
        for half, own in halves:
            combined = maps[f"{name}.g{half}.weight"][:, :, 0, 0]
            inner, shares = _factors(combined, own.shape[0], block.guide1.in_channels)
            found[f"{part}.{name}.guide{half}.weight"] = inner
            found[f"{part}.{name}.guide{half}.bias"] = torch.zeros(own.shape[0])
            found[f"{part}.{name}.mix{half}.weight"] = torch.cat([own, *shares], dim=1)
            found[f"{part}.{name}.mix{half}.bias"] = maps[f"{name}.g{half}.bias"]
    return found


def _factors(combined: Tensor, width: int, features: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """W [width, features] and A_a, A_f ... [width, width] with [A_a W, A_f W ...] = ``combined``.

    ``combined`` [width, guides * features] came from such factors, so the products of the stacked ones have
    a rank of at most ``width``, and its leading singular vectors are enough.
    """
    stacked = torch.cat(combined.double().split(features, dim=1))  # [guides * width, features]
    left, values, right = torch.linalg.svd(stacked, full_matrices=False)
    rank = min(width, features, len(values))
    root = values[:rank].sqrt()
    inner = torch.zeros(width, features, dtype=torch.float64)
    inner[:rank] = root[:, None] * right[:rank]
    share = torch.zeros(len(stacked), width, dtype=torch.float64)
    share[:, :rank] = left[:, :rank] * root
    return inner, share.split(width)


def _noise(denoiser: UNet, bundle: Bundle) -> dict[str, Tensor]:
    """The noise MLP and the blocks' linear maps of its output."""
    weights = {
        k: torch.from_numpy(v.copy()).float() for k, v in bundle.noise_bias_weights().items()
    }
    found = {}
    for layer, ours in ((0, "1"), (1, "3")):
        for kind in ("weight", "bias"):
            found[f"denoiser.noise_mlp.{ours}.{kind}"] = weights[f"mlp.{layer}.{kind}"]
    blocks = list(named_blocks(denoiser))
    sizes = [block.conv1.out_channels for _, block in blocks]
    for kind in ("weight", "bias"):
        pieces = weights[f"film.{kind}"].split(sizes)
        for (name, _), piece in zip(blocks, pieces, strict=True):
            found[f"denoiser.{name}.noise.{kind}"] = piece
    return found
