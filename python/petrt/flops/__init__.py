"""Parameters, operations and bytes of models: ``petrt flops``. Needs no torch, uses it where it is.

``bundle_macs``: the work of each part of a bundle, from its steps.
"""

from petrt.flops.bundle import bundle_macs
from petrt.flops.network import Work
from petrt.model.size import Count, ModelCount

__all__ = ["Count", "ModelCount", "Work", "bundle_macs"]
