"""The pages of the documentation, and the commands in their blocks of code."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# A fence of a language that holds no shell lines, or of a directive of the site.
_OTHER = re.compile(r"^```(?:\{|python|mermaid|toml|json).*?^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One ``petrt ...`` of a page: its arguments, and the options that the comment of its line names.

    ``patterns``: the arguments that the shell replaces by the names of files.
    """

    page: str
    arguments: tuple[str, ...]
    named: tuple[str, ...]
    patterns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.arguments)}"


def blocks(text: str) -> list[list[str]]:
    """The lines of each indented and each fenced block, with their comments; a line that goes on is one."""
    text = _OTHER.sub("", text)
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    indented = [
        re.sub(r"^    ", "", block, flags=re.MULTILINE)
        for block in re.findall(r"(?:^    +\S.*\n)+", text, re.MULTILINE)
    ]
    return [re.sub(r"\\\n\s*", " ", block).splitlines() for block in (*indented, *fenced)]


def code_lines(text: str) -> list[str]:
    """The lines of all blocks."""
    return [line for block in blocks(text) for line in block]


def commands(page: Path) -> list[Command]:
    """Every command of petrt on ``page``, in order. Variables of the shell are 0."""
    found = []
    for line in code_lines(page.read_text(encoding="utf-8")):
        code, _, comment = line.partition(" #")
        if not re.search(r"(?:^|\s)petrt\s", code) or line.startswith("#"):
            continue
        words = shlex.split(re.sub(r"\$\w+", "0", code))
        quoted = {*re.findall(r"['\"]([^'\"]*)['\"]", code)}
        while "petrt" in words:
            words = words[words.index("petrt") + 1 :]
            end = words.index("&&") if "&&" in words else len(words)
            options = tuple(re.findall(r"--[a-z][a-z0-9-]*", comment))
            arguments = tuple(words[:end])
            patterns = tuple(word for word in arguments if "*" in word and word not in quoted)
            found.append(Command(page.name, arguments, options, patterns))
    return found


@cache
def functions_in(path: Path) -> frozenset[str]:
    """The names of the functions of a file, tests among them."""
    found = ast.parse(path.read_text(encoding="utf-8")).body
    return frozenset(node.name for node in found if isinstance(node, ast.FunctionDef))
