"""The networks in PyTorch, unfolded, as in the paper. Needs torch."""

from petrt.nets.checkpoint import load_checkpoint, load_state, save_checkpoint
from petrt.nets.model import Model
from petrt.nets.presets import PRESETS

__all__ = ["PRESETS", "Model", "load_checkpoint", "load_state", "save_checkpoint"]
