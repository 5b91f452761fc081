"""Every command of the README is one: it parses, and what a small machine can run runs on small stand-ins."""

from __future__ import annotations

import functools
import math
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer.main

from petrt.cli.app import app, run
from tests.helpers import write_nifti
from tests.suv.series_files import write

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
# What a line of a shell block begins with, besides petrt itself.
SHELL = ("make ", "pip ", "export ", "srun ", "docker ")


def code_lines() -> list[str]:
    """The lines of the README's shell blocks, with their comments."""
    lines = re.findall(r"^    (\S.*)$", README, re.MULTILINE)
    return [line for line in lines if line.startswith(("petrt ", *SHELL))]


def commands() -> list[tuple[list[str], list[str]]]:
    """(arguments of petrt, options that the line's comment names) of every petrt command."""
    found = []
    for line in code_lines():
        code, _, comment = line.partition("  #")
        words = shlex.split(code)
        while "petrt" in words:
            words = words[words.index("petrt") + 1 :]
            end = words.index("&&") if "&&" in words else len(words)
            found.append((words[:end], re.findall(r"--[a-z][a-z0-9-]*", comment)))
    return found


COMMANDS = commands()


def known_options() -> dict[str, set[str]]:
    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


def test_the_readme_has_shell_blocks_of_known_kinds():
    assert len(COMMANDS) > 15
    blocks = re.findall(r"^    (\S.*)$", README, re.MULTILINE)
    unknown = [line for line in blocks if line not in code_lines()]
    assert [line for line in unknown if "-->" not in line] == []  # arrows of the diagram


@pytest.mark.parametrize(("arguments", "named"), COMMANDS, ids=lambda each: " ".join(each))
def test_it_parses(arguments, named, monkeypatch):
    called = []
    for info in app.registered_commands:

        @functools.wraps(info.callback)
        def record(*_, **values):
            called.append(values)

        monkeypatch.setattr(info, "callback", record)
    others = {"--nv", "--device"}  # of the container engines, in one comment
    assert set(named) - others <= known_options()[arguments[0]]
    flags = [o for o in named if o in ("--table2", "--resume")]
    assert run([*arguments, *flags]) == 0
    assert len(called) == 1


def test_options_in_its_prose_exist():
    known = set().union(*known_options().values()) | {"--version", "--help", "--device"}
    prose = [
        option
        for span in re.findall(r"`(petrt [^`]*|--[^`]*)`", README)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span)
    ]
    assert set(prose) <= known
    assert len(prose) > 8


@pytest.fixture
def here(tmp_path, monkeypatch, dose_bundle) -> Path:
    """Stand-ins for all that the README's commands read; the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    # Noise is not what the demo model was trained on, and loses its activity.
    monkeypatch.setattr("petrt.inference.judgement.ALLOWED_RATIO", (0.0, math.inf))
    data = np.random.default_rng(0).gamma(2, 300, (16, 16, 4)).astype(np.float32)
    (tmp_path / "scans").mkdir()
    write(tmp_path / "series", shape=(16, 16, 4))
    for name in ("low.nii.gz", "full.nii.gz", "scans/a.nii.gz"):
        write_nifti(tmp_path / name, data)
    shutil.copytree(dose_bundle, tmp_path / "model")
    return tmp_path


RUNS = ("reconstruct", "evaluate", "convert", "inspect", "flops", "doctor")


def test_it_runs(here, capsys):
    ran = 0
    for arguments, named in COMMANDS:
        if arguments[0] not in RUNS or {"cuda", "--ray"} & {*arguments}:
            continue
        again = [["--overwrite"]] if arguments[0] == "reconstruct" else [[]]
        flags = [[option] for option in named if option == "--table2"]
        for extra in (*again, *flags):
            assert run([*arguments, *extra]) == 0, (arguments, capsys.readouterr().err)
            ran += 1
    assert ran >= 9


def test_its_python_runs(here):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"array": np.random.default_rng(0).gamma(2, 300, (16, 16, 2)).astype(np.float32)}
    exec(compile(block, "README.md", "exec"), names)
    assert names["result"].image.shape == (16, 16, 4)
