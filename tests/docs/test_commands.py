"""Every command of the README and the pages is one: it parses, and what a small machine can run runs."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from petrt.cli.app import app, run
from petrt.train.config import TrainConfig
from tests.docs import stand_ins
from tests.docs.pages import PAGES, ROOT, Command, code_lines, commands
from tests.train.prepared import config

BY_PAGE = {page.name: commands(page) for page in PAGES}
COMMANDS = list({each.arguments: each for found in BY_PAGE.values() for each in found}.values())
# What a line of the README's shell blocks begins with.
SHELL = ("make ", "pip ", "petrt ")
OTHERS = {"--nv", "--device", "--target", "--signal"}  # of container engines and schedulers
OTHERS |= {"--install-completion", "--hostile", "--engine-old", "--engine-new"}  # Typer, benchmarks

# What is parsed only. It takes long, needs a GPU, a cluster or a network; its own tests run it.
PARSED = {
    "bench",
    "build-engine",
    "demo",
    "flops",
    "import-official",
    "node",
    "phantom",
    "simulate",
}
ELSEWHERE = {
    "cuda",
    "--ray",
    "demo",
    "demo_output",
    "checkpoint/",
}  # the demo's networks and the authors' are large
# The commands of a training run on its page, where one follows from the other.
TRAINING = {"prepare", "train", "export", "calibrate"}


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


def can_run(command: Command) -> bool:
    name = command.arguments[0]
    if name in PARSED or ELSEWHERE & {*command.arguments}:
        return False
    return name not in TRAINING or command.page == "training.md"


RUNNING = {page: [each for each in found if can_run(each)] for page, found in BY_PAGE.items()}


def test_the_training_of_the_readme_is_that_of_its_page():
    readme = {each.arguments for each in BY_PAGE["README.md"] if each.arguments[0] in TRAINING}
    assert readme < {each.arguments for each in RUNNING["training.md"]}


def small_preset(_: object) -> TrainConfig:
    """A preset for a few steps of small networks."""
    small = config(steps=2, coarse_steps=1, validation={"subjects": 1, "every": 8, "samples": 2})
    domain = small.model.domain.model_copy(update={"dose_fraction": 0.01})
    return small.model_copy(update={"model": small.model.model_copy(update={"domain": domain})})


@pytest.fixture
def here(tmp_path, monkeypatch, dose_bundle):
    """Places the stand-ins of a page; the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    # Noise is not what the demo model was trained on, and loses its activity.
    monkeypatch.setattr("petrt.inference.judgement.ALLOWED_RATIO", (0.0, math.inf))
    monkeypatch.setattr("petrt.train.config.load_config", small_preset)

    def place(page: str) -> Path:
        training = page == "training.md"
        words = {word for each in RUNNING[page] for word in each.arguments}
        if training:
            stand_ins.for_training(tmp_path)
            words -= {"scans/", "model/"}  # the page itself makes the model
        stand_ins.place(tmp_path, words, dose_bundle)
        return tmp_path

    return place


def arguments_of(command: Command, folder: Path) -> list[str]:
    """As on the page, but for the UID of the series that is there; a second run replaces the first."""
    arguments = list(command.arguments)
    if "UID" in arguments:
        arguments[arguments.index("UID")] = stand_ins.uid_of(folder / "STUDY.zip")
    if arguments[0] == "reconstruct" and not {"--resume", "--dry-run"} & {*arguments}:
        arguments.append("--overwrite")
    return arguments


@pytest.mark.parametrize("page", [page for page, found in RUNNING.items() if found])
def test_they_run(page, here, capsys):
    folder = here(page)
    for command in RUNNING[page]:
        code = run(arguments_of(command, folder))
        assert code == 0, (str(command), capsys.readouterr().err)


# The stand-ins are too small to be heads.
@pytest.mark.filterwarnings("ignore::petrt.errors.DomainWarning")
@pytest.mark.parametrize("page", ["README.md", "first.md", "python.md", "suv.md"])
def test_its_python_runs(page, here, dose_bundle):
    folder = here(page)
    if page == "python.md":  # it has no commands
        stand_ins.place(folder, {"low.nii.gz"}, dose_bundle)
    names: dict[str, Any] = {
        "array": np.random.default_rng(0).gamma(2, 300, (16, 16, 2)).astype(np.float32)
    }
    if page == "suv.md":
        from petrt.io.source import read

        names["volume"] = read(folder / "SERIES")
    text = next(each for each in PAGES if each.name == page).read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(block, page, "exec"), names)
    if page != "suv.md":
        assert names["result"].image.shape == (16, 16, 4)
