"""What the site says of commands and configuration keys is made from the code, and complete."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from petrt.cli.app import app
from petrt.model.spec import ModelSpec
from petrt.train.config import TrainConfig
from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def generators() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        import card
        import commands
        import settings

        yield commands, settings, card
    finally:
        sys.path.pop(0)
        for name in ("card", "commands", "settings"):
            sys.modules.pop(name, None)


def test_every_command_with_every_option(generators):
    text = generators[0].reference()
    sections = dict(part.split("\n", 1) for part in text.split("## petrt ")[1:])
    group: Any = typer.main.get_command(app)
    assert {*sections} == {*group.commands}
    for name, command in group.commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.rich_help_panel != "Log":
                option = max(parameter.opts, key=len)
                assert f"{option}" in sections[name], (name, option)


def test_defaults_stand_beside_the_options(generators):
    text = generators[0].reference()
    assert "| `--model <str>` | `demo` |" in text
    assert "| `OUT <path>` | required |" in text


def keys(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Name and default of every key that ``model`` reaches, as the reference should tell them."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind)
        elif field.is_required():
            yield name, "required"
        else:
            default = field.get_default(call_default_factory=True)
            if isinstance(default, (int, float)) and not isinstance(default, bool):
                yield name, f"`{default}`"


def test_every_key_with_its_default(generators):
    text = generators[1].training() + generators[1].bundle()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {(row[0].strip("`"), row[-1]) for row in rows}
    wanted = {*keys(TrainConfig), *keys(ModelSpec)}
    assert len(wanted) > 40
    assert wanted <= told


def test_the_card_of_a_bundle(generators):
    card = SimpleNamespace(
        population="12 brains.",
        training="Long.",
        numbers=("7 dB.", "2 %."),
        refusals=(),
        biases=("Smooth.",),
    )
    text = generators[2].told(card)
    assert "### Numbers\n\n- 7 dB.\n- 2 %.\n" in text
    assert "refuses" not in text
    assert generators[2].shipped()


def test_types_are_told_in_words(generators):
    kind = generators[1].kind
    assert kind(dict[int, float]) == "table of whole number to number"
    assert kind(tuple[int, ...]) == "list of whole number"
    assert kind(float | None) == "number or none"
    assert generators[1].toml({100: 1.0, "a": [True, "b"]}) == '{ 100 = 1.0, a = [true, "b"] }'
