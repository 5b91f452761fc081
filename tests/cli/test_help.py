"""The help of commands: panels, examples, words to choose from, what completion offers."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main

import petrt
from petrt.bench.plan import SECTIONS
from petrt.cli import options
from petrt.cli.app import app, run
from petrt.cli.choices import OneOf, enumerated, offering_list, plain
from petrt.cli.examples import EXAMPLES
from petrt.data.index import SPLITS
from petrt.data.prepare.sources import LAYOUTS
from petrt.diffusion.presets import KINDS, PRESETS
from petrt.engines.select import ENGINES, PRECISIONS
from petrt.evaluation.nema import KINDS as PHANTOMS
from petrt.io.output import FORMATS
from petrt.model.bundle import shipped_models
from petrt.suv.formulas import KINDS as SUVS

NAMES = sorted(EXAMPLES)
TRAINING = Path(petrt.__path__[0]) / "train" / "presets"


def command(name: str) -> Any:
    group: Any = typer.main.get_command(app)
    return group.commands[name]


def words_of(name: str, option: str) -> list[str]:
    """The words that an option of a command takes."""
    of = command(name)
    (found,) = (each for each in of.params if option in each.opts)
    context = of.make_context(name, [], resilient_parsing=True)
    return [item.value for item in found.shell_complete(context, "")]


def test_every_command_has_examples():
    group: Any = typer.main.get_command(app)
    assert {*group.commands} == {*EXAMPLES}


@pytest.mark.parametrize("name", NAMES)
def test_the_help_fits_80_columns_and_cuts_nothing(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for example in EXAMPLES[name]:
        assert re.sub(r"\s+", "", example) in re.sub(r"\s+", "", text)


@pytest.mark.parametrize("example", [each for lines in EXAMPLES.values() for each in lines])
def test_an_example_is_a_command(example, monkeypatch):
    called = []
    for info in app.registered_commands:

        @functools.wraps(info.callback)
        def record(*_: Any, **values: Any) -> None:
            called.append(values)

        monkeypatch.setattr(info, "callback", record)
    program, *arguments = shlex.split(example)
    assert program == "petrt"
    assert run(arguments) == 0
    assert len(called) == 1


def test_options_of_a_run_stand_in_panels():
    panels: dict[str, set[str]] = {}
    for each in command("reconstruct").params:
        if each.param_type_name == "option":
            panels.setdefault(each.rich_help_panel, set()).add(max(each.opts, key=len))
    assert panels.keys() == {
        *(options.OUTPUTS, options.INPUT, options.IMAGE, options.MACHINE, options.CASES),
        "Log",
    }
    assert {"--samples", "--dose", "--preset"} <= panels[options.IMAGE]
    assert {"--verbose", "--quiet", "--debug", "--log-format"} == panels["Log"]


@pytest.mark.parametrize(
    ("name", "option", "known"),
    [
        ("reconstruct", "--engine", ENGINES),
        ("reconstruct", "--precision", PRECISIONS),
        ("reconstruct", "--preset", PRESETS),
        ("reconstruct", "--sampler", KINDS),
        ("reconstruct", "--out-format", FORMATS),
        ("evaluate", "--suv", SUVS),
        ("prepare", "--layout", LAYOUTS),
        ("calibrate", "--split", SPLITS),
        ("calibrate", "--preset", [name for name, each in PRESETS.items() if each.samples]),
        ("phantom", "--kind", PHANTOMS),
        ("build-engine", "--precision", PRECISIONS),
    ],
)
def test_an_option_takes_the_words_that_petrt_knows(name, option, known):
    assert {*words_of(name, option)} == {*known}


def test_other_words_are_refused_with_those_to_choose_from(capsys):
    assert run(["reconstruct", "a.nii", "b.nii", "--preset", "turbo"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'--preset': 'turbo' is not one of 'fast', 'paper', 'coarse'" in line
    assert line.endswith("see petrt reconstruct --help")
    assert "Value error" not in line


def test_commands_get_plain_texts(monkeypatch):
    given = {}
    monkeypatch.setattr(
        "petrt.cli.setup.Setup.given", lambda values: given.update(values) or stop()
    )

    def stop() -> Any:
        raise typer.Exit(0)

    assert run(["reconstruct", "a.nii", "b.nii", "--preset", "coarse", "--engine", "native"]) == 0
    assert [type(given[each]) for each in ("preset", "engine", "nonfinite")] == [str] * 3
    assert (given["preset"], given["precision"]) == ("coarse", None)


def test_words_of_a_list_and_of_no_known_type():
    words = OneOf("a", "b-c")
    (inner,) = get_args(enumerated(options.Annotated[list[str], words]))
    assert [each.value for each in inner] == ["a", "b-c"]
    assert plain([*inner]) == ["a", "b-c"]
    with pytest.raises(TypeError, match="no choices of"):
        enumerated(options.Annotated[int, words])


@pytest.mark.parametrize(
    ("name", "argument", "offered"),
    [
        ("train", "config", {path.stem for path in TRAINING.glob("*.toml")}),
        ("train", "--init", shipped_models()),
        ("inspect", "what", shipped_models()),
        ("reconstruct", "--model", shipped_models()),
        ("bench", "model", shipped_models()),
        ("bench", "--engine", {*ENGINES, "all"} - {"auto"}),
        ("bench", "--precision", {*PRECISIONS, "own"}),
        ("bench", "--sections", {*SECTIONS, "all"}),
        ("calibrate", "model", shipped_models()),
        ("export", "--from", shipped_models()),
        ("build-engine", "model", shipped_models()),
        ("doctor", "--model", shipped_models()),
        ("flops", "subject", shipped_models()),
    ],
)
def test_completion_knows_models_and_presets(name, argument, offered):
    assert {*words_of(name, argument)} == {*offered}


def test_completion_goes_on_after_a_comma():
    complete = offering_list("all", "native", "torch")
    assert complete("") == ["all", "native", "torch"]
    assert complete("native,") == ["native,torch"]
    assert complete("native,to") == ["native,torch"]
    assert complete("native,x") == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("petrt train ", {"demo", "default", "paper", "official"}),
        ("petrt reconstruct --engine ", {*ENGINES}),
        ("petrt reconstruct --preset pa", {"paper"}),
        ("petrt reconstruct --device cu", {"cuda", "cuda:0", "cuda:1"}),
        ("petrt reconstruct --log-format ", {"text", "json"}),
        ("petrt bids in out ", {"participant", "group"}),
        ("petrt build", {"build-engine"}),
    ],
)
def test_completion_offers_words(typed, offered):
    words = typed.split(" ")
    environment = {
        "_PETRT_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "from petrt.cli.app import app; app(prog_name='petrt')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert {*done.stdout.split()} == offered, done.stderr
