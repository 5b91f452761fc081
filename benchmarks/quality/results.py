"""The sections measured so far, and what they hold for one method, dose and metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.quality.classical import BM4D, GAUSSIAN, LOW, NLM
from benchmarks.quality.model import COARSE
from benchmarks.quality.statistics import Summary, Values, paired

Record = dict[str, Any]

AT = "1/100"  # the dose of the bars
METRICS = ("standard.psnr", "standard.ssim", "standard.nmse", "truth.psnr")
# filter -> its section
FILTERS = {LOW: "classical", GAUSSIAN: "classical", NLM: "classical", BM4D: "bm4d"}
# later row - earlier row: what is added
ADDED = (
    ("b", "c", "residual diffusion"),
    ("c", "d", "neighbouring slices"),
    ("d", "e", "spectrum"),
    ("e", "f", "contrastive term"),
)


@dataclass(frozen=True)
class Results:
    """The sections measured so far: quality.json's ``sections``."""

    sections: Record

    def values(self, section: str, dose: str, method: str, metric: str) -> Values:
        """subject -> value; empty where there is none."""
        record = self.sections.get(section, {})
        column = record.get("values", {}).get(dose, {}).get(method, {}).get(metric, [])
        return dict(zip(record.get("subjects", []), column, strict=False))

    def row(self, name: str, method: str, metric: str) -> Values:
        """The same of a row of Table 2. Row b is the coarse prediction of row c unless it was trained."""
        rows = self.sections.get("rows", {}).get("rows", {})
        if name == "b":
            name, method = ("b" if "b" in rows else "c"), COARSE
        return Results({"row": rows.get(name, {})}).values("row", AT, method, metric)

    def samples(self, section: str) -> int:
        return int(self.sections.get(section, {}).get("settings", {}).get("samples", 8))

    def doses(self, section: str) -> list[str]:
        return list(self.sections.get(section, {}).get("values", {}))

    def alike(self, section: str, other: str, dose: str, metric: str) -> bool:
        """Whether ``metric`` of two sections was taken over the same voxels.

        The head's box holds all that PSNR and NMSE of ``standard`` look at, so that it is as good as the
        whole volume; SSIM is a mean over all there is. Every n-th slice is another thing for all three.
        """
        views = []
        for name in (section, other):
            view = self.sections.get(name, {}).get("settings", {}).get("view", "")
            view = view.get(dose, "") if isinstance(view, dict) else view
            views.append(view if metric.endswith("ssim") else view.partition(", ")[2])
        return views[0] == views[1]

    def gain(
        self, section: str, method: str, other: str, than: str, dose: str, metric: str
    ) -> Summary | None:
        """Paired difference of ``method`` of ``section`` to ``than`` of ``other``, where they compare."""
        if not self.alike(section, other, dose, metric):
            return None
        return paired(
            self.values(section, dose, method, metric), self.values(other, dose, than, metric)
        )
