"""Table 2 of the paper (Han, Wang et al., MICCAI 2023), its ablation, with our counts.

"MParam." excludes the GroupNorms. "BFLOPs" are MACs in units of 1e9 of convolutions and linear layers at
batch 1, 128 x 128, without attention's products. Row d fits the four neighbouring slices of the paper's
text; its code stacks five. The work fits the authors' code, which runs every extractor twice, once per
network, the second time with Eq. 5's heads and the downsampled target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from petrt.model.spec import NetworkSpec

SIZE = (128, 128)
FOUR = (-2, -1, 1, 2)


@dataclass(frozen=True)
class Printed:
    """A row of the paper: millions of parameters and "BFLOPs". ``preset``: the name of its networks."""

    row: str
    preset: str
    configuration: str
    steps: int
    parameters_m: float
    macs_g: float
    neighbours: tuple[int, ...] | None = None


ROWS = (
    Printed("a", "a", "SR3", 100, 128.740, 5973),
    Printed("b", "b", "coarse network", 10, 24.740, 38),
    Printed("c", "c", "b + denoiser", 10, 31.020, 132),
    Printed("d", "d", "c + neighbours, four", 10, 33.040, 140, FOUR),
    Printed("d", "d", "c + neighbours, five", 10, 33.040, 140),
    Printed("e", "e", "d + spectrum", 10, 34.100, 145),
    Printed("f", "f", "e + contrastive loss", 10, 34.100, 145),
)
STEPS = {printed.preset: printed.steps for printed in ROWS}


@dataclass(frozen=True)
class Row:
    """A counted row. ``macs``: each network as often as needed; ``macs_as_printed``: as the authors do."""

    printed: Printed
    parameters: int
    macs: int
    macs_as_printed: int

    @property
    def parameters_m(self) -> float:
        return self.parameters / 1e6

    @property
    def macs_g(self) -> float:
        return self.macs_as_printed / 1e9

    @property
    def off(self) -> tuple[float, float]:
        """Ours minus the paper's: millions of parameters, 1e9 MACs as in the authors' code."""
        return self.parameters_m - self.printed.parameters_m, self.macs_g - self.printed.macs_g


def table2() -> list[Row]:
    """All rows, counted from the networks in PyTorch."""
    return [_row(printed) for printed in ROWS]


def network(printed: Printed) -> NetworkSpec:
    """The networks of a row."""
    from petrt.nets.presets import PRESETS

    spec = PRESETS[printed.preset]
    if printed.neighbours is None:
        return spec
    guidance = spec.guidance.model_copy(update={"neighbours": printed.neighbours})
    return spec.model_copy(update={"guidance": guidance})


def _row(printed: Printed) -> Row:
    from petrt.nets.count import count, guidance_macs_as_trained

    spec = network(printed)
    total = count(spec, *SIZE).total(printed.steps)
    again = guidance_macs_as_trained(spec, *SIZE)
    return Row(printed, total.table_parameters, total.macs, total.macs + again)
