"""A larger network that computes what a smaller one does, to go on training from.

A level may have more residual blocks: a new block starts as the identity, because its last convolution is
zero. P may take the neighbouring slices: the weights of the new channels start at zero (Chen et al.,
"Net2Net: accelerating learning via knowledge transfer", ICLR 2016, for the idea).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from petrt.errors import InputError
from petrt.model.spec import NetworkSpec, UNetSpec
from petrt.nets.blocks import Block
from petrt.nets.model import Model
from petrt.nets.unet import UNet


def grown(model: Model, spec: NetworkSpec) -> dict[str, torch.Tensor]:
    """The weights of ``model``, its U-Nets grown to those of ``spec`` where these have more blocks or inputs.

    Raises InputError where a U-Net of ``spec`` differs in more than that.
    """
    state, large = dict(model.state_dict()), Model(spec)
    for part in ("coarse", "denoiser"):
        small, old = getattr(model, part), getattr(model.spec, part)
        wide, new = getattr(large, part), getattr(spec, part)
        if small is None or wide is None:
            continue
        if old == new and small.downs[0].in_channels == wide.downs[0].in_channels:
            continue
        grow(part, small, old, wide, new)
        state = {k: v for k, v in state.items() if not k.startswith(f"{part}.")}
        state |= {f"{part}.{k}": v for k, v in wide.state_dict().items()}
    return state


def grow(part: str, small: UNet, old: UNetSpec, large: UNet, new: UNetSpec) -> None:
    """Set ``large`` to the function of ``small``, which is built from ``old``; ``part`` names both.

    Raises InputError where ``new`` differs in more than a larger number of blocks.
    """
    if old.model_copy(update={"blocks": new.blocks}) != new or new.blocks < old.blocks:
        raise InputError(
            f"the {part} network differs from the given one in more than a larger number of blocks",
            "use the network that the weights were trained with, or one with more blocks a level",
        )
    with torch.no_grad():
        _input(cast(nn.Conv2d, small.downs[0]), cast(nn.Conv2d, large.downs[0]))
        for part in ("noise_mlp", "mid", "head"):
            if getattr(small, part) is not None:
                getattr(large, part).load_state_dict(getattr(small, part).state_dict())
        _level_by_level(small.downs, large.downs, 1, old.blocks, new.blocks, first=False)
        _level_by_level(small.ups, large.ups, 0, old.blocks + 1, new.blocks + 1, first=True)


def _input(small: nn.Conv2d, large: nn.Conv2d) -> None:
    """The input convolution; where only ``large`` takes neighbours, its new channels are zero."""
    if large.in_channels == small.in_channels:
        large.load_state_dict(small.state_dict())
        return
    large.weight.zero_()
    large.weight[:, large.in_channels // 2] = small.weight[:, 0]
    cast(torch.Tensor, large.bias).copy_(cast(torch.Tensor, small.bias))


def _level_by_level(
    small: nn.ModuleList, large: nn.ModuleList, at: int, few: int, many: int, *, first: bool
) -> None:
    """``few`` blocks of each level of ``small`` to ``many`` of ``large``; both lists begin at ``at``.

    New blocks follow all old ones of a level, or with ``first`` the first of them alone: in the decoder the
    last block takes the skip of the level's beginning.
    """
    i, j = at, at
    while i < len(small):
        kept = 1 if first else few
        order = [*range(kept), *[None] * (many - few), *range(kept, few)]
        for k, source in enumerate(order):
            block = cast(Block, large[j + k])
            if source is None:
                _identity(block)
            else:
                block.load_state_dict(small[i + source].state_dict())
        i, j = i + few, j + many
        if i < len(small):  # the layer that halves or doubles the size
            large[j].load_state_dict(small[i].state_dict())
            i, j = i + 1, j + 1


def _identity(block: Block) -> None:
    """Make ``block`` pass on its input, of a decoder's block all but the skip."""
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(cast(torch.Tensor, block.conv2.bias))
    if isinstance(block.shortcut, nn.Conv2d):
        width = block.shortcut.out_channels
        nn.init.zeros_(cast(torch.Tensor, block.shortcut.bias))
        nn.init.zeros_(block.shortcut.weight)
        block.shortcut.weight[:, :width, 0, 0] = torch.eye(width)
