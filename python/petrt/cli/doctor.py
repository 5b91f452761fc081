"""petrt doctor: reports what this machine can run, and the command for each missing part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from petrt.cli.choices import shipped
from petrt.cli.output import Output, add_row, cell, print_json

COLOURS = {"ready": "green", "verified": "green", "missing": "dim", "broken": "red"}


def doctor(
    model: Annotated[
        str,
        typer.Option(
            help="Bundle, or name of a shipped model, to choose an engine for.",
            autocompletion=shipped,
        ),
    ] = "demo",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show driver, GPUs, engines, models, what 'auto' picks, and commands for missing parts.

    The report names neither the machine nor its user. The exit code is 0 even if parts are missing,
    unless MODEL cannot be read.
    """
    from petrt.engines.doctor import examine

    report = examine(model).as_json()
    if as_json:
        print_json(report)
        return
    console = Output()
    console.print(_grid(_facts(report)))
    console.print()
    console.print(_engines(report))
    if report["installed"]:
        console.print()
        console.print(_installed(report))
    console.print()
    console.print(_grid([("auto picks", _choice(report["auto"]))]))
    _print_fixes(console, report)


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True, min_width=12)
    table.add_column(overflow="fold")
    for key, value in rows:
        add_row(table, key, value)
    return table


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    cpu, driver, module, cache = (report[k] for k in ("cpu", "driver", "cuda_module", "cache"))
    built = " ".join(f"sm_{name}" for name in module["architectures"])
    rows = [
        ("petrt", report["petrt"]),
        ("Python", f"{report['python']} on {report['system']}"),
        ("CPU", ", ".join([f"{cpu['cores']} cores", *cpu["isa"]])),
        ("driver", _driver(driver)),
        *((f"GPU {gpu['index']}", _gpu(gpu)) for gpu in report["gpus"]),
        ("CUDA module", "; ".join(filter(None, [module["state"], built, module["detail"]]))),
        ("engine cache", _cache(cache)),
        ("models", ", ".join(m["name"] + _problem(m) for m in report["models"])),
    ]
    return rows


def _driver(driver: dict[str, Any]) -> str:
    parts = [driver["version"], f"CUDA {driver['cuda']}" if driver["cuda"] else None]
    if driver["problem"]:
        parts.append(driver["problem"])
        parts.append("an NVIDIA card is built in" if driver["card"] else "no NVIDIA card seen")
    return ", ".join(dict.fromkeys(filter(None, parts)))


def _gpu(gpu: dict[str, Any]) -> str:
    runs = f"runs petrt's {gpu['code']}" if gpu["code"] else "not covered by petrt's CUDA module"
    memory = f"{gpu['memory_bytes'] / 2**30:.0f} GiB, " if gpu["memory_bytes"] else ""
    return f"{gpu['name']}, compute capability {gpu['compute_capability']}, {memory}{runs}"


def _cache(cache: dict[str, Any]) -> str:
    if cache["problem"]:
        return str(cache["problem"])
    if not cache["exists"]:
        return f"{cache['path']}, not created yet"
    return f"{cache['path']}, {cache['bytes'] / 2**20:.0f} MiB, mode {cache['mode']}"


def _problem(model: dict[str, str]) -> str:
    return f" ({model['problem']})" if "problem" in model else ""


def _engines(report: dict[str, Any]) -> Table:
    rows = [
        (p["name"], p["device"], p["state"], p["version"], p["detail"])
        for p in [*report["engines"], *report["libraries"]]
    ]
    return _table(("engine", "device", "state", "version", ""), rows)


def _installed(report: dict[str, Any]) -> Table:
    rows = [
        (
            e["model"] or e["folder"],
            e["engine"],
            e["state"],
            e["precision"],
            e["built_for"],
            e["problem"] or (f"{e['psnr_db']:.1f} dB" if e["psnr_db"] is not None else ""),
        )
        for e in report["installed"]
    ]
    return _table(("model", "installed engine", "state", "precision", "built for", ""), rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Table:
    """A table whose third column is a state, shown in its colour."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = [cell(each or "") for each in row]
        cells[2] = cell(row[2] or "", style=COLOURS.get(str(row[2]), "yellow"))
        add_row(table, *cells)
    return table


def _choice(auto: dict[str, Any]) -> str:
    if auto["problem"]:
        return f"nothing for model {auto['model']}: {auto['problem']}"
    text = f"{auto['engine']} on {auto['device']}, {auto['precision']}, for model {auto['model']}"
    return f"{text}: {auto['reason']}" if auto["reason"] else text


def _print_fixes(console: Output, report: dict[str, Any]) -> None:
    """Print each command on its own line, so that it can be copied."""
    here = [fix for fix in report["fixes"] if fix["needed"]]
    others = [fix for fix in report["fixes"] if not fix["needed"]]
    if not here:
        console.print("\nnothing is missing for this machine")
    for title, fixes in (("to add here", here), ("optional, or for other machines", others)):
        if fixes:
            console.print(f"\n{title}:")
        for fix in fixes:
            console.print(cell(f"  {fix['part']} ({fix['why']})"), soft_wrap=True)
            console.print(cell(f"    {fix['command']}"), soft_wrap=True)
