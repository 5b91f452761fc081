"""petrt info: what this installation can do, for programs that call it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from petrt.cli.output import Output, add_row, print_json


def info(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what petrt can do here: engines, devices, presets, formats, models.

    The JSON is for programs: "format" and "version" change when the meaning of a key does. petrt doctor
    says more, and how to add what is missing.
    """
    parent: Any = context.parent
    found = capabilities(parent.command.list_commands(parent))
    if as_json:
        print_json(found)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in lines(found):
        add_row(table, key, value)
    Output().print(table)


def capabilities(commands: Sequence[str]) -> dict[str, Any]:
    """The capabilities of a petrt with these ``commands``, JSON-ready. No engine is opened, and no package of
    one imported."""
    from petrt import __version__
    from petrt.cli.find import SUFFIXES
    from petrt.diffusion.presets import DEFAULT, PRESETS
    from petrt.engines.select import ENGINES, PRECISIONS
    from petrt.hardware import machine
    from petrt.io.output import FORMATS
    from petrt.model.bundle import VERSION

    module, driver = machine.cuda_module(), machine.driver()
    rows = machine.gpu_rows(module)
    parts = machine.engines(machine.place(driver, module, rows))
    return {
        "format": "petrt-info",
        "version": 1,
        "petrt": __version__,
        "label": "not for diagnostic use",
        "commands": sorted(commands),
        "devices": ["cpu", *(f"cuda:{row.index}" for row in rows if row.code)],
        "engines": [
            {"name": part.name, "device": part.device, "version": part.version}
            for part in parts
            if part.state == "ready"
        ],
        "engine_names": [*ENGINES],
        "precisions": [*PRECISIONS],
        "presets": {"default": DEFAULT, "names": [*PRESETS]},
        "formats": {
            "input": ["nifti", "dicom", "bids"],
            "output": [*FORMATS],
            "nifti_suffixes": [*SUFFIXES],
            "dicom_compression": ["rle", "jpegls"],
            "bundle_versions": [*range(1, VERSION + 1)],
        },
        "models": _models(),
        "exit_codes": _exit_codes(),
    }


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The capabilities for people, as rows."""
    engines: dict[str, list[str]] = {}
    for each in found["engines"]:
        engines.setdefault(f"{each['name']} {each['version']}", []).append(each["device"])
    formats = found["formats"]
    return [
        ("petrt", f"{found['petrt']}, {found['label']}"),
        ("devices", ", ".join(found["devices"])),
        ("engines", ", ".join(f"{name} ({', '.join(on)})" for name, on in engines.items())),
        ("presets", ", ".join(found["presets"]["names"])),
        ("formats", f"in: {', '.join(formats['input'])}; out: {', '.join(formats['output'])}"),
        ("models", ", ".join(model["name"] for model in found["models"])),
    ]


def _models() -> list[dict[str, Any]]:
    """The shipped models: name, identity, the doses that they were trained on."""
    from petrt.model.bundle import load_bundle, shipped_models

    rows = []
    for name in shipped_models():
        bundle = load_bundle(name)
        domain = bundle.model.domain
        rows.append(
            {
                "name": name,
                "sha256": bundle.identity,
                "label": bundle.model.label,
                "tracer": domain.tracer,
                "dose_fraction": domain.dose_fraction,
                "dose_range": domain.dose_range,
                "tells_dose": bundle.model.network.dose and domain.noise is not None,
                "calibrated": bundle.model.uncertainty is not None
                or bundle.model.calibration is not None,
            }
        )
    return rows


def _exit_codes() -> dict[str, int]:
    from petrt import errors

    return {
        "done": 0,
        "fault": errors.PetrtError.exit_code,
        "usage": errors.UsageError.exit_code,
        "input": errors.InputError.exit_code,
        "device": errors.DeviceError.exit_code,
        "some_failed": errors.PartialFailure.exit_code,
        "training_collapsed": errors.TrainingCollapsed.exit_code,
    }
