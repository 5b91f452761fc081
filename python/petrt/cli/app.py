"""The application: commands, global options, logging, exit codes."""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from petrt import __version__
from petrt.cli.bench import bench
from petrt.cli.bids import BidsCommand, bids
from petrt.cli.build_engine import build_engine
from petrt.cli.calibrate import calibrate
from petrt.cli.command import Command, add_command
from petrt.cli.convert import convert
from petrt.cli.demo import demo
from petrt.cli.doctor import doctor
from petrt.cli.evaluate import evaluate
from petrt.cli.export import export
from petrt.cli.flops import flops
from petrt.cli.import_official import import_official
from petrt.cli.info import info
from petrt.cli.inspect import inspect
from petrt.cli.logs import (
    Debug,
    LogFormat,
    LogOptions,
    Quiet,
    Verbose,
    before_command,
    logging_for,
    tell,
)
from petrt.cli.node import node
from petrt.cli.output import say
from petrt.cli.phantom import phantom
from petrt.cli.prepare import prepare
from petrt.cli.reconstruct import reconstruct
from petrt.cli.report import report
from petrt.cli.simulate import simulate
from petrt.cli.train import train
from petrt.errors import PetrtError, first_line
from petrt.files.system import refusal

app = typer.Typer(
    name="petrt",
    help="Low-dose PET to standard-dose quality. Not for diagnostic use.",
    epilog="Exit codes: 0 ok, 1 a fault of petrt itself, 2 usage, 3 input, 4 device, engine or system, "
    "5 some cases failed, 6 training collapsed, 130 Ctrl-C, 141 closed stdout, 143 SIGTERM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = {
    "Images": (reconstruct, demo, evaluate, report, convert, inspect, phantom),
    "Data sets, networks of machines": (bids, node),
    "This machine": (doctor, info, build_engine, bench, flops),
    "Training": (simulate, prepare, train, export, calibrate, import_official),
}
for panel, commands in COMMANDS.items():
    for command in commands:
        add_command(app, command, panel, cls=BidsCommand if command is bids else Command)

# Typer's own usage errors; the class lies in click or in Typer, as its version has it.
_Refused: type[Exception] = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)
CLOSED_PIPE = 141  # 128 + SIGPIPE


def _version(value: bool) -> None:
    if value:
        say(f"petrt {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Verbose = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Low-dose PET to standard-dose quality. Not for diagnostic use."""
    before_command(LogOptions(verbose, quiet, log_format, debug))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. The error that ends it is the last line of the log."""
    arguments, code = list(arguments), 0
    with logging_for(arguments):
        try:
            code = _run(arguments)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError as error:
            code = 1 if _nobody_reads() else tell(error, first_line(error), 1)
        except (
            OSError
        ) as error:  # no room for what stdout still held; it may have been told already
            refused = refusal(error)
            code = code or tell(error, str(refused), refused.exit_code)
    return CLOSED_PIPE if code == 1 and _nobody_reads() else code


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments, prog_name="petrt", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as stop:  # rich and Typer end this way where stdout is closed
        return CLOSED_PIPE if stop.code == 1 else stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        raise
    except _Refused as error:
        return _usage(error)
    except typer.Abort as error:
        return tell(error, "stopped by Ctrl-C", 130)
    except PetrtError as error:
        return tell(error, str(error), error.exit_code)
    except MemoryError as error:
        return tell(error, "out of memory; use fewer samples or a smaller volume", 4)
    except OSError as error:  # of a file system or machine, in a place that did not expect it
        refused = refusal(error)
        return tell(error, str(refused), refused.exit_code)
    except Exception as error:
        text = f"a fault of petrt: {type(error).__name__}: {first_line(error)}"
        return tell(error, f"{text}; run it with --debug and report what that shows", 1)


def _usage(error: Exception) -> int:
    """Tell a usage error that Typer found, in one line; or show the help, if no command is given."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        print(context.get_help(), file=sys.stderr)
        return 2
    command = context.command_path if context is not None else "petrt"
    text = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    text = text.replace(": Value error, ", ": ")  # of pydantic, which newer versions of Typer use
    return tell(error, f"{text}; see {command} --help", 2)


def _nobody_reads() -> bool:
    """Whether stdout is a pipe that was closed at its other end, as by ``head``."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):  # no descriptor; no poll on this system
        return False
