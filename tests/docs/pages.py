"""The pages of the documentation, and the commands in their blocks of code."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# A fence of a language that holds no shell lines, or of a directive of the site.
_OTHER = re.compile(r"^```(?:\{|python|mermaid|toml|json).*?^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One ``petrt ...`` of a page: its arguments, and the options that the comment of its line names."""

    page: str
    arguments: tuple[str, ...]
    named: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.arguments)}"


def code_lines(text: str) -> list[str]:
    """The lines of indented and fenced blocks, with their comments; a line that goes on is one."""
    text = _OTHER.sub("", text)
    fenced = [
        line
        for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    lines = "\n".join([*re.findall(r"^    ( *\S.*)$", text, re.MULTILINE), *fenced])
    return re.sub(r"\\\n\s*", " ", lines).splitlines()


def commands(page: Path) -> list[Command]:
    """Every command of petrt on ``page``, in order. Variables of the shell are 0."""
    found = []
    for line in code_lines(page.read_text(encoding="utf-8")):
        code, _, comment = line.partition(" #")
        if not re.search(r"(?:^|\s)petrt\s", code) or line.startswith("#"):
            continue
        words = shlex.split(re.sub(r"\$\w+", "0", code))
        while "petrt" in words:
            words = words[words.index("petrt") + 1 :]
            end = words.index("&&") if "&&" in words else len(words)
            options = tuple(re.findall(r"--[a-z][a-z0-9-]*", comment))
            found.append(Command(page.name, tuple(words[:end]), options))
    return found
