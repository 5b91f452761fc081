"""The application: commands, global options, logging, exit codes."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from petrt import __version__
from petrt.cli.bench import bench
from petrt.cli.build_engine import build_engine
from petrt.cli.calibrate import calibrate
from petrt.cli.demo import demo
from petrt.cli.doctor import doctor
from petrt.cli.evaluate import evaluate
from petrt.cli.export import export
from petrt.cli.flops import flops
from petrt.cli.import_official import import_official
from petrt.cli.inspect import inspect
from petrt.cli.prepare import prepare
from petrt.cli.reconstruct import reconstruct
from petrt.cli.simulate import simulate
from petrt.cli.train import train
from petrt.errors import PetrtError
from petrt.files.system import refusal

app = typer.Typer(
    name="petrt",
    help="Low-dose PET to standard-dose quality. Not for diagnostic use.",
    epilog="Exit codes: 0 ok, 2 usage, 3 input, 4 device or engine, 5 some cases failed, "
    "6 training collapsed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    reconstruct,
    demo,
    evaluate,
    inspect,
    doctor,
    simulate,
    prepare,
    train,
    export,
    calibrate,
    bench,
    flops,
)
for command in COMMANDS:
    app.command()(command)
app.command("import-official")(import_official)
app.command("build-engine")(build_engine)


class _JsonFormatter(logging.Formatter):
    """Writes each log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps({"time": self.formatTime(record), **fields})


def _version(value: bool) -> None:
    if value:
        typer.echo(f"petrt {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    log_format: Annotated[str, typer.Option(help="text or json.", metavar="FORMAT")] = "text",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Low-dose PET to standard-dose quality. Not for diagnostic use."""
    if log_format not in ("text", "json"):
        raise typer.BadParameter(f"log format is '{log_format}'; choose text or json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if log_format == "json" else logging.Formatter("petrt: %(message)s")
    )
    logger = logging.getLogger("petrt")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        app(list(arguments), prog_name="petrt")
    except SystemExit as stop:  # Typer ends with it, also after its own usage errors
        return stop.code if isinstance(stop.code, int) else 0
    except PetrtError as error:
        if "--debug" in arguments:
            raise
        _say(f"error: {error}")
        return error.exit_code
    except MemoryError:
        _say("error: out of memory; use fewer samples or a smaller volume")
        return 4
    except OSError as error:  # of a file system or machine, in a place that did not expect it
        if "--debug" in arguments:
            raise
        refused = refusal(error)
        _say(f"error: {refused}")
        return refused.exit_code
    return 0


def _say(text: str) -> None:
    print("petrt: " + " ".join(text.split()), file=sys.stderr)
