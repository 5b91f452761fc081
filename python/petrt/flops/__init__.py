"""Counts parameters, operations and bytes of models, for ``petrt flops``. torch is optional.

``bundle_macs``: the work of each network of a bundle, from its steps.
"""

from petrt.flops.bundle import bundle_macs
from petrt.flops.network import Work
from petrt.model.size import Count, ModelCount

__all__ = ["Count", "ModelCount", "Work", "bundle_macs"]
