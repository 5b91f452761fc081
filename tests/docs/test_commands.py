"""Every command of the README and the pages parses, and runs on small data where a small machine can."""

from __future__ import annotations

import functools
import glob
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from petrt.cli.app import app, run
from tests.docs import stand_ins
from tests.docs.pages import PAGES, ROOT, Command, code_lines, functions_in
from tests.docs.selection import BY_PAGE, COMMANDS, ELSEWHERE, RUNNING, words
from tests.docs.small import keep_to_this_machine, make_small

# What a line of the README's shell blocks begins with.
SHELL = ("make ", "pip ", "petrt ")
OTHERS = {"--nv", "--device", "--target", "--signal"}  # of container engines and schedulers
OTHERS |= {"--install-completion", "--hostile", "--engine-old", "--engine-new"}  # Typer, benchmarks
# Commands that a page shows several times with one output.
REPLACING = {"reconstruct", "simulate", "phantom", "export"}


@functools.cache
def known_options() -> dict[str, set[str]]:
    group: Any = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()
    }


def test_the_readme_has_shell_blocks_of_known_kinds():
    readme = (ROOT / "README.md").read_text()
    assert len(BY_PAGE["README.md"]) >= 10
    assert [line for line in code_lines(readme) if not line.startswith(SHELL)] == []


def test_a_newcomer_finds_a_dicom_folder_on_the_first_screen():
    first = (ROOT / "README.md").read_text().splitlines()[:12]
    assert any(line.startswith("    petrt reconstruct series/ ") for line in first)
    assert len((ROOT / "README.md").read_text().splitlines()) < 90  # a screen and a half


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_it_parses(command: Command, monkeypatch):
    called = []
    for info in app.registered_commands:

        @functools.wraps(info.callback)
        def record(*_: Any, **values: Any) -> None:
            called.append(values)

        monkeypatch.setattr(info, "callback", record)
    assert {*command.named} - OTHERS <= known_options()[command.arguments[0]]
    flags = [option for option in command.named if option in ("--table2", "--resume")]
    assert run([*command.arguments, *flags]) == 0
    assert len(called) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_its_prose_exist(page: Path):
    options = known_options()
    known = set().union(*options.values()) | {"--version", "--help"} | OTHERS
    for span in re.findall(r"`(petrt [^`\n]*|--[^`\n]*)`", page.read_text()):
        words = span.split()
        names = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span))
        if words[0] == "petrt" and len(words) > 1 and words[1] in options:
            assert names <= options[words[1]] | {"--help"}, span
        else:
            assert names <= known, span


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_runs_elsewhere_is_on_a_page_and_its_test_exists(command: str):
    assert command in {words(each) for each in COMMANDS}
    path, name = ELSEWHERE[command].test.split("::")
    assert name in functions_in(ROOT / "tests" / path)


def test_every_other_command_runs_with_a_page():
    run_here = {each.arguments for found in RUNNING.values() for each in found}
    assert {words(each) for each in COMMANDS if each.arguments not in run_here} == {*ELSEWHERE}


@pytest.fixture
def here(tmp_path, monkeypatch, dose_bundle):
    """Places the stand-ins of a page; the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    # Noise is not what the demo model was trained on, and loses its activity.
    monkeypatch.setattr("petrt.inference.judgement.ALLOWED_RATIO", (0.0, math.inf))
    make_small(monkeypatch)
    keep_to_this_machine(monkeypatch)

    def place(page: str) -> Path:
        stand_ins.place(tmp_path, page, [each.arguments for each in RUNNING[page]], dose_bundle)
        return tmp_path

    return place


def arguments_of(command: Command, folder: Path) -> list[str]:
    """As on the page, but for the UID of the series that is there, and for what the shell replaces.

    Absolute paths lie in ``folder``. A second run replaces the first.
    """
    arguments: list[str] = []
    for word in command.arguments:
        if word in command.patterns:
            arguments += sorted(glob.glob(word)) or [word]
        elif word == "UID":
            arguments.append(stand_ins.uid_of(folder / "STUDY.zip"))
        else:
            arguments.append(f"{folder}{word}" if word.startswith("/") else word)
    if arguments[0] in REPLACING and not {"--resume", "--dry-run"} & {*arguments}:
        arguments.append("--overwrite")
    return arguments


@pytest.mark.parametrize("page", [page for page, found in RUNNING.items() if found])
def test_they_run(page, here, capsys):
    folder = here(page)
    for command in RUNNING[page]:
        code = run([*arguments_of(command, folder)])
        assert code == 0, (str(command), capsys.readouterr().err)


# The stand-ins are too small to be heads.
@pytest.mark.filterwarnings("ignore::petrt.errors.DomainWarning")
@pytest.mark.parametrize("page", ["README.md", "first.md", "python.md", "suv.md"])
def test_its_python_runs(page, here, dose_bundle):
    folder = here(page)
    if page == "python.md":  # it has no commands
        stand_ins.place(folder, page, [["reconstruct", "low.nii.gz"]], dose_bundle)
    array = np.random.default_rng(0).gamma(2, 300, (16, 16, 2)).astype(np.float32)
    names: dict[str, Any] = {"array": array, "low": array, "full": array, "affine": np.eye(4)}
    if page == "suv.md":
        from petrt.io.source import read

        names["volume"] = read(folder / "SERIES")
    text = next(each for each in PAGES if each.name == page).read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, page, "exec"), names)
    if page != "suv.md":
        assert names["result"].image.shape == (16, 16, 4)
