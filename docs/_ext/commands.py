"""The command-line reference as Markdown, made from the application itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import typer.main

from petrt.cli.app import app


def reference() -> str:
    """A section for the options of ``petrt`` itself, then one for each command."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("petrt", [], resilient_parsing=True)
    own = _panels(group, context)
    everywhere = {row for rows in own.values() for row in rows}
    parts = ["## petrt", *_tables(own)]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        parts += [f"## petrt {name}", f"```text\n{_usage(name, command, inner)}\n```"]
        parts += [*_paragraphs(command.help or ""), *_tables(_panels(command, inner), everywhere)]
        if command.epilog:
            title, *examples = command.epilog.split("\n\n")
            parts += [title, "```text\n" + "\n".join(examples) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _usage(name: str, command: Any, context: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    names = [each.get_help_record(context)[0].split(" <")[0] for each in arguments]
    return " ".join(["petrt", name, *names, "[OPTIONS]"])


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a help text; one with lines that are indented or marked by \\b keeps its lines."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.split("\n")
        if lines[0].strip() == "\b" or any(line.startswith("    ") for line in lines):
            kept = "\n".join(line for line in lines if line.strip() != "\b")
            found.append(f"```text\n{kept}\n```")
        else:
            found.append(escaped(" ".join(line.strip() for line in lines)))
    return found


def _panels(command: Any, context: Any) -> dict[str, list[str]]:
    """Rows for arguments and options, by the panel in which the help shows them."""
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            panel = getattr(parameter, "rich_help_panel", None) or ""
            panels.setdefault(panel, []).append(_row(record))
    return panels


def _tables(panels: dict[str, list[str]], known: Collection[str] = ()) -> Iterator[str]:
    """A table for each panel, without the rows that are ``known``."""
    for panel, rows in panels.items():
        if left := [row for row in rows if row not in known]:
            title = f"**{escaped(panel)}**\n\n" if panel else ""
            yield title + "\n".join(["| option | default | |", "|---|---|---|", *left])


def _row(record: tuple[str, str]) -> str:
    """One row from what the help shows: names with the kind of value; text with ``[default: ...]``."""
    names, text = record
    noted = re.search(r"\s*\[((?:default: |required|\d|x).*)\]$", text)
    default, limits = "", ""
    for note in noted[1].split("; ") if noted else ():
        if note.startswith("default: "):
            default = f"`{note.removeprefix('default: ')}`"
        elif note == "required":
            default = note
        else:
            limits = f" `{note}`"
    names = f"`{names.replace('|', chr(92) + '|')}`"
    return f"| {names} | {default} | {escaped(text[: noted.start()] if noted else text)}{limits} |"


def escaped(text: str) -> str:
    """``text`` for a cell or paragraph of Markdown: marks become plain characters, options become code."""
    text = re.sub(r"([\\|<>*_`\[\]$#])", r"\\\1", text)
    return re.sub(r"(?<![\w-])(--?[a-z][a-z0-9-]*)", r"`\1`", text)
