"""Writes a model as the authors' code would: their file names and keys, from method.md section 6.

Written by walking the networks, so that it shares nothing with the importer's table of rules.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from petrt.model.spec import NetworkSpec, UNetSpec
from petrt.nets import Model
from petrt.nets.blocks import Attention, Block, Down, GuidedBlock, Up
from petrt.nets.guidance import Extractor
from petrt.nets.unet import UNet

State = dict[str, Any]
# The smallest U-Nets that the authors' 32 norm groups allow.
SMALL = NetworkSpec(coarse=UNetSpec(base=32, blocks=1), denoiser=UNetSpec(base=32, blocks=1))
STEMS = ["PreNet", "DenoiseNet"] + [
    f"guide_{guide}_{k}" for guide in ("3D", "spectrum") for k in (1, 2, 3)
]


def put(state: State, at: str, layer: nn.Module) -> None:
    state |= {f"{at}.{leaf}": value.detach().clone() for leaf, value in layer.named_parameters()}


def put_block(state: State, at: str, block: nn.Module) -> None:
    assert isinstance(block, Block)
    put(state, f"{at}.res_block.block1.block.0", block.norm1)
    put(state, f"{at}.res_block.block1.block.3", block.conv1)
    put(state, f"{at}.res_block.block2.block.0", block.norm2)
    put(state, f"{at}.res_block.block2.block.3", block.conv2)
    put(state, f"{at}.res_block.res_conv", block.shortcut)  # an Identity has no parameters
    if block.noise is not None:
        put(state, f"{at}.res_block.noise_func.noise_func.0", block.noise)
    if isinstance(block, GuidedBlock):
        put(state, f"{at}.res_block.conv1", block.guide1)
        put(state, f"{at}.res_block.conv2", block.guide2)
        put(state, f"{at}.res_block.conv_aff1", block.mix1)
        put(state, f"{at}.res_block.conv_aff2", block.mix2)
    if isinstance(block.attention, Attention):
        put(state, f"{at}.attn.norm", block.attention.norm)
        put(state, f"{at}.attn.qkv", block.attention.qkv)
        put(state, f"{at}.attn.out", block.attention.out)


def unet_state(net: UNet) -> State:
    state: State = OrderedDict()
    if net.noise_mlp is not None:
        put(state, "noise_level_mlp.1", net.noise_mlp[1])
        put(state, "noise_level_mlp.3", net.noise_mlp[3])
    put(state, "downs.0", net.downs[0])
    for group, layers in (("downs", net.downs), ("mid", net.mid), ("ups", net.ups)):
        for index, layer in enumerate(layers):
            if isinstance(layer, Down | Up):
                put(state, f"{group}.{index}.conv", layer.conv)
            elif isinstance(layer, Block):
                put_block(state, f"{group}.{index}", layer)
    put(state, "final_conv.block.0", net.head.norm)
    put(state, "final_conv.block.3", net.head.conv)
    return state


def extractor_state(net: nn.Module) -> State:
    assert isinstance(net, Extractor)
    state: State = OrderedDict()
    for index, down in enumerate(net.downs):
        assert isinstance(down, Down)
        put(state, f"downs.{index}.conv", down.conv)
    put(state, "block.0", net.stem)
    for index, block in enumerate(net.blocks):
        put_block(state, f"block.{index + 1}", block)
    put(state, "conv", net.head)
    return state


def schedule_buffers() -> State:
    """What sits beside the denoiser in its file: 2000 training steps of a schedule, no parameters."""
    names = (
        "betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod "
        "sqrt_one_minus_alphas_cumprod log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod "
        "sqrt_recipm1_alphas_cumprod posterior_variance posterior_log_variance_clipped "
        "posterior_mean_coef1 posterior_mean_coef2"
    )
    return {name: torch.rand(2000) for name in names.split()}


def write_official(model: Model, prefix: Path) -> None:
    """Save the eight files ``{prefix}_{stem}_gen.pth`` of ``model``."""
    inner = unet_state(model.denoiser)
    states = [
        unet_state(model.coarse),
        schedule_buffers() | {f"denoise_fn.{key}": value for key, value in inner.items()},
        *map(extractor_state, (*model.guidance.nas, *model.guidance.spectrum)),
    ]
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for stem, state in zip(STEMS, states, strict=True):
        torch.save(state, f"{prefix}_{stem}_gen.pth")
