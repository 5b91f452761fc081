"""What petrt calibrate prints and writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from petrt.cli.output import Output, cell, write_json

if TYPE_CHECKING:
    from petrt.evaluation.calibration import ErrorBin
    from petrt.inference.calibrate import Gathered
    from petrt.model.bundle import Bundle
    from petrt.model.spec import SamplerSpec, SamplesSpec


GAIN = "log-likelihood above\nthat of intensity alone"


@dataclass(frozen=True)
class Case:
    """A preset's sampler and samples to fit for; ``fitted``: what the model has for it, to judge."""

    preset: str
    sampler: SamplerSpec
    samples: int
    fitted: SamplesSpec | None


@dataclass(frozen=True)
class Done:
    """A case that was run: its fit, the subjects and doses, and the JSON-ready record."""

    case: Case
    spec: SamplesSpec
    found: list[Gathered]
    record: dict[str, Any]


def write_numbers(
    bundle: Bundle,
    content: dict[str, Any],
    done: list[Done],
    json_file: Path | None,
    plot: Path | None,
    overwrite: bool,
) -> None:
    """Write the JSON file and the plot, if they are asked for."""
    from petrt import __version__
    from petrt.evaluation.report.uncertainty import save_error_plot
    from petrt.files.atomic import together

    with together():
        if json_file is not None:
            model = {"name": bundle.model.name, "sha256": bundle.identity}
            written = {"petrt": __version__, "model": model, **content}
            write_json(json_file, written, overwrite=overwrite)
        if plot is not None:
            data = content["data"]
            title = f"{bundle.model.name}, {len(data['subjects'])} subjects ({data['split']})"
            save_error_plot(plot, curves(done), title=title, overwrite=overwrite)


def curves(done: list[Done]) -> dict[str, list[ErrorBin]]:
    """Error by predicted standard deviation, a curve a preset and dose; units of the full dose's maximum."""
    import numpy as np

    from petrt.evaluation.calibration import Voxels, error_by_std
    from petrt.evaluation.uncertainty.judge import of_map

    found: dict[str, list[ErrorBin]] = {}
    for each in done:
        model = of_map(each.spec.map)
        for dose in sorted({subject.dose for subject in each.found}):
            voxels = []
            for subject in (s for s in each.found if s.dose == dose):
                error = np.abs(subject.voxels.error) / subject.peak
                std = np.exp(0.5 * model.log_variance(subject.voxels)) / subject.peak
                voxels.append(Voxels(error.astype("f4"), std.astype("f4"), len(error)))
            found[f"{each.case.preset}, 1/{dose}"] = error_by_std(voxels)
    return found


def show(content: dict[str, Any], title: str, *, err: bool = False) -> None:
    """Print what the fit covers: voxels by dose, and means and peaks of regions by kind."""
    out = Output(err=err)
    out.print(cell(f"covered at {100 * content['level']:g} %, {title}"))
    voxels = _table(
        "active voxels", "preset", "dose", "all", "lowest\nfifth", "highest\nfifth", GAIN
    )
    regions = _table("regions", "preset", "dose", "region", "number", "mean", "peak", "max")
    level = f"{content['level']:g}"
    for preset, record in content["presets"].items():
        for dose, judged in record["doses"].items():
            seen = judged["voxels"]
            shares = (seen["coverage"][level], min(seen["by_fifth"]), max(seen["by_fifth"]))
            gain = f"{-seen['paired'][0]:+.4f}"
            voxels.add_row(preset, dose, *(f"{100 * share:.1f} %" for share in shares), gain)
            for kind, by in judged["regions"].items():
                shown = [f"{100 * by[s]['coverage']:.0f} %" for s in ("mean", "peak", "max")]
                regions.add_row(preset, dose, kind, str(by["mean"]["regions"]), *shown)
    for table in (voxels, regions):
        out.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        named = column in ("preset", "region")
        table.add_column(column, justify="left" if named else "right", vertical="bottom")
    return table
