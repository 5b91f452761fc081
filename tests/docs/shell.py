"""What can be told of a shell line of a page without running it: a fault in words, or none."""

from __future__ import annotations

import argparse
import importlib.util
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.docs.pages import PAGES, ROOT, blocks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ALL = (*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")))
ALL = (*ALL, ROOT / "benchmarks" / "README.md")
# The first words of blocks that hold no shell lines: trees of files, tables and formulas.
NOT_SHELL = {
    "CONTRIBUTING.md": {"export/"},
    "bids.md": {"results/"},
    "formats.md": {"<root>/demo-tensorrt-bf16-sm90-<key>.<random>/"},
    "simulation.md": {"y"},
    "training.md": {"subject,low,full,dose,patient"},
    "uncertainty.md": {"log", "centre"},
}
PLACEHOLDERS = {"IMAGE"}  # the name of an image that the reader knows
# Spans of prose with these first words are commands.
SPOKEN = ("make ", "pip install", "python -m ", "docker ", "podman ", "apptainer ", "benchmarks/")


class Fault(Exception):
    """Why a line cannot be run as it stands."""


class _Parsed(BaseException):
    """A module has understood its arguments, and goes no further."""


def lines(page: Path) -> Iterator[str]:
    """The shell lines of ``page``, and the commands that its sentences name."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(text):
        if block[0].split()[0] not in NOT_SHELL.get(page.name, ()):
            yield from (line for line in block if not line.startswith("#"))
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`([^`\n]+)`", prose):
        if span.startswith(SPOKEN) and not re.fullmatch(r"\S+", span):
            yield span


def recipes() -> Iterator[str]:
    """The modules that the Makefile runs with arguments of its own."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    yield from re.findall(r"^\t\$\(BIN\)/(python -m benchmarks[^$\n]*)$", text, re.MULTILINE)


def check(line: str) -> None:
    """Raises Fault for what does not exist. Commands of petrt are left to ``test_commands``."""
    for target in re.findall(r"--target (\w+)", line):  # also of the comment
        _must(target, stages(), "Containerfile's targets")
    code, _, comment = line.partition(" #")
    for target in re.findall(r"\bmake (\w+)", comment):
        _must(target, targets(), "targets")
    words = shlex.split(code)
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        _command(words[:end])
        words = words[end + 1 :]


def _command(words: list[str]) -> None:
    name = Path(words[0]).name
    if name not in COMMANDS:
        raise Fault(f"{words[0]} is no command that is known here")
    COMMANDS[name](words[1:])


def _must(word: str, known: Any, what: str) -> None:
    if word not in known:
        raise Fault(f"{word} is none of {what}: {', '.join(sorted(known))}")


@cache
def targets() -> frozenset[str]:
    """Of the Makefile, without those that are files."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^([a-z]+):(?!=)", text, re.MULTILINE))


@cache
def stages() -> frozenset[str]:
    """Of the Containerfile."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))


@cache
def extras() -> frozenset[str]:
    """Of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return frozenset(project["optional-dependencies"])


@cache
def own_variables() -> frozenset[str]:
    """The variables of the environment that petrt's sources name."""
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "python").rglob("*.py"))
    return frozenset(name for text in sources for name in re.findall(r"\bPETRT_[A-Z_]+", text))


def _make(words: list[str]) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, given, _ = word.partition("=")
        if given:
            _must(name, {*re.findall(r"\$\((\w+)\)", text)}, "the Makefile's variables")
        else:
            _must(name, targets(), "targets")


def _pip(words: list[str]) -> None:
    _must(words[0], {"install", "wheel"}, "pip's commands here")
    options = argparse.ArgumentParser(prog="pip", exit_on_error=False)
    options.add_argument("-w", "--wheel-dir")
    options.add_argument("what", nargs="+")
    for each in _understood(options.parse_args, words[1:]).what:
        found = re.fullmatch(r"(?:\.|petrt)(?:\[([\w,-]+)\])?", each)
        if found is None:
            raise Fault(f"{each} is not petrt")
        for extra in (found[1] or "").split(",") if found[1] else ():
            _must(extra, extras(), "petrt's extras")


def _python(words: list[str]) -> None:
    if words[0].endswith(".py"):
        if not (ROOT / words[0]).is_file():
            raise Fault(f"there is no file {words[0]}")
        _understood(_parse_only, runpy.run_path, str(ROOT / words[0]), words[1:])
        return
    _must(words[0], {"-m"}, "what is known of python")
    module, arguments = words[1], words[2:]
    if module == "petrt":
        return
    if importlib.util.find_spec(module) is None:
        raise Fault(f"there is no module {module}")
    runs_as_is = "parse_args" not in _source(module)
    if arguments and runs_as_is:
        raise Fault(f"{module} takes no arguments")
    if not runs_as_is:
        _understood(_parse_only, runpy.run_module, module, arguments)


def _source(module: str) -> str:
    """The text of what ``python -m module`` runs: of a package, of all its modules."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin)
    files = path.parent.glob("*.py") if spec.submodule_search_locations else [path]
    return "\n".join(each.read_text(encoding="utf-8") for each in files)


def _parse_only(run: Callable[..., Any], name: str, arguments: list[str]) -> None:
    """Run a module or file up to where its arguments are understood. Ends with SystemExit for others."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: Any, *given: Any, **options: Any) -> None:
        parse(parser, *given, **options)
        raise _Parsed

    argv = patch.object(sys, "argv", [name, *arguments])
    known = sys.modules.pop(name, None)  # Python warns of one that another test has imported
    try:
        with argv, patch.object(argparse.ArgumentParser, "parse_args", stop):
            run(name, run_name="__main__")
    except _Parsed:
        return
    finally:
        if known is not None:
            sys.modules[name] = known
    raise Fault(f"{name} does not read its arguments")


def _understood(call: Callable[..., Any], *arguments: Any) -> Any:
    """What ``call`` returns. An end for arguments that it does not know is a Fault."""
    said = StringIO()
    try:
        with redirect_stderr(said):
            return call(*arguments)
    except (SystemExit, argparse.ArgumentError) as error:
        text = said.getvalue().strip() or str(error)
        raise Fault(f"{' '.join(map(str, arguments))}: {text}") from error


def _container(words: list[str]) -> None:
    """``docker build`` of the Containerfile, or ``docker run`` of an image that a page builds."""
    _must(words[0], {"build", "run"}, "commands of containers here")
    options = argparse.ArgumentParser(prog="docker", exit_on_error=False)
    if words[0] == "build":
        for name in ("-f", "--target", "-t"):
            options.add_argument(name, required=True)
        options.add_argument("context")
        given = _understood(options.parse_args, words[1:])
        _must(given.f, {path.name for path in ROOT.iterdir()}, "files")
        _must(given.target, stages(), "the Containerfile's targets")
        return
    for name in ("--rm", "--nv"):
        options.add_argument(name, action="store_true")
    for name in ("--user", "-v", "-w", "--gpus", "--ipc", "--device"):
        options.add_argument(name)
    options.add_argument("image")
    options.add_argument("command", nargs=argparse.REMAINDER)
    given = _understood(options.parse_args, words[1:])
    _must(given.image, images() | PLACEHOLDERS, "images that the pages build")
    _command(given.command)


@cache
def images() -> frozenset[str]:
    """The names that the pages give to images that they build."""
    texts = (page.read_text(encoding="utf-8") for page in ALL)
    return frozenset(tag for text in texts for tag in re.findall(r"build .* -t (\S+)", text))


def _within(words: list[str]) -> None:
    """The command after the options of a scheduler, or after variables of its environment."""
    rest = [n for n, word in enumerate(words) if not re.match(r"--[a-z-]+=|[A-Z_]+=", word)]
    if not rest:
        raise Fault("runs nothing")
    _command(words[rest[0] :])


def _export(words: list[str]) -> None:
    for word in words:
        _must(word.partition("=")[0], own_variables(), "petrt's variables")


def _gpu(words: list[str]) -> None:
    text = (ROOT / "benchmarks" / "gpu.sh").read_text(encoding="utf-8")
    for word in words:
        if word.startswith("--"):
            _must(word, {*re.findall(r"^ +(--[a-z-]+)\)", text, re.MULTILINE)}, "its options")


def _accelerate(words: list[str]) -> None:
    """Its options as it reads them itself; then a module."""
    from accelerate.commands.launch import launch_command_parser

    _must(words[0], {"launch"}, "accelerate's commands here")
    numbers = [re.sub(r"^\$\w+$", "0", word) for word in words[1:]]
    given = _understood(launch_command_parser().parse_args, numbers)
    _python(["-m", given.training_script])


def _torchrun(words: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    given = _understood(get_args_parser().parse_args, words)
    _python(["-m", given.training_script])


def _tensorboard(words: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages inside it
        from tensorboard.plugins.core.core_plugin import CorePluginLoader

    options = argparse.ArgumentParser(prog="tensorboard", exit_on_error=False)
    CorePluginLoader().define_flags(options)
    _understood(options.parse_args, words)


def _ray(words: list[str]) -> None:
    """Started once in a cluster; tests/cli/test_ray.py starts one of its own."""
    if words != ["start", "--head", "--disable-usage-stats"]:
        raise Fault(f"ray {' '.join(words)} is tried by nothing")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "petrt": lambda _: None,  # test_commands
    "make": _make,
    "pip": _pip,
    "python": _python,
    **dict.fromkeys(("docker", "podman", "apptainer"), _container),
    **dict.fromkeys(("srun", "env"), _within),
    "export": _export,
    "gpu.sh": _gpu,
    "accelerate": _accelerate,
    "torchrun": _torchrun,
    "tensorboard": _tensorboard,
    "ray": _ray,
}
