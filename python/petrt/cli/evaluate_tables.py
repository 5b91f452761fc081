"""What petrt evaluate found in a frame, and the tables that it prints of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from petrt.evaluation.activity import Change, RoiStatistics
from petrt.evaluation.metrics import PROTOCOLS, WINDOWS
from petrt.evaluation.organs import OrganError

METRICS = {"psnr": ("PSNR (dB)", ".2f"), "ssim": ("SSIM", ".4f")} | {
    name: (name.upper(), ".5f") for name in ("nmse", "nrmse")
}


@dataclass(frozen=True)
class Frame:
    """All results of one frame; ``rois`` is None without labels, ``organs`` without their names."""

    metrics: dict[str, dict[str, float]]
    scale: float
    change: Change
    rois: list[RoiStatistics] | None
    organs: list[OrganError] | None = None


def print_frame(console: Console, frame: Frame) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in frame.metrics:
        table.add_column(name, justify="right")
    for key, (label, form) in METRICS.items():
        numbers = (m[key] for m in frame.metrics.values())
        table.add_row(label, *("-" if math.isnan(n) else format(n, form) for n in numbers))
    console.print(table)
    if undefined := [name for name, m in frame.metrics.items() if math.isnan(m["ssim"])]:
        console.print(
            f"SSIM of {' and '.join(undefined)} undefined: an axis is shorter than its window "
            f"({', '.join(str(WINDOWS[name]) for name in undefined)} voxels)",
            highlight=False,
        )
    if set(frame.metrics) - {"standard"}:
        console.print(f"scale of paper and inference: {frame.scale:.6g}", highlight=False)
    console.print(
        f"against the reference: activity ratio {_number(frame.change.activity_ratio, '.4f')}, "
        f"SUVmax shift {_number(frame.change.suvmax_shift_percent, '+.2f')} %",
        highlight=False,
    )
    if frame.rois is not None:
        console.print(_roi_table(frame.rois))
    if frame.organs is not None:
        console.print(_organ_table(frame.organs))


def rules_of(protocols: list[str]) -> Table:
    """A table with the definition of each protocol, printed below the results."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), style="dim")
    for name in protocols:
        rules = PROTOCOLS[name]
        text = f"mask {rules.mask}; PSNR {rules.psnr}; SSIM {rules.ssim}; NMSE {rules.nmse}"
        table.add_row(f"{name}:", text)
    return table


def _roi_table(rois: list[RoiStatistics]) -> Table:
    columns = {
        "ml": ("volume_ml", ".4g"),
        "mean": ("mean", ""),
        "max": ("max", ""),
        "peak": ("peak", ""),
        "mean\nbias %": ("mean_bias_percent", "+.1f"),
        "max\nbias %": ("max_bias_percent", "+.1f"),
        "peak\nbias %": ("peak_bias_percent", "+.1f"),
        "COV": ("cov", ".2f"),
        "CNR": ("cnr", ".2f"),
        "CRC": ("contrast_recovery", ".2f"),
    }
    if all(roi.cnr is None for roi in rois):
        del columns["CNR"], columns["CRC"]
    # With contrast the numbers of a volume in Bq/ml leave no room for more than a space between columns.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, int("CNR" not in columns), 0, 0))
    for heading in ("label", *columns):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for roi in rois:
        cells = (_number(getattr(roi, key), form) for key, form in columns.values())
        table.add_row(str(roi.label), *cells)
    return table


def _organ_table(organs: list[OrganError]) -> Table:
    """The challenge's errors, absolute and in per cent."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("organ", vertical="bottom")
    for heading in ("SUVmean", "SUVmax", "SUVmean\nerror %", "SUVmax\nerror %"):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for organ in organs:
        errors = (organ.suvmean_error_percent, organ.suvmax_error_percent)
        values = [_number(value, "") for value in (organ.suvmean, organ.suvmax)]
        table.add_row(organ.name, *values, *(_number(error, ".2f") for error in errors))
    return table


def _number(value: float | None, form: str) -> str:
    """``value`` in ``form``, or with at least four digits and no exponent in usual units."""
    if value is None:
        return "-"
    return format(value, form or (".0f" if 1e3 <= abs(value) < 1e7 else ".4g"))
