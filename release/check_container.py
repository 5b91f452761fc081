"""Runs the steps of the Containerfile without a container engine: ``python release/check_container.py cpu``.

Each stage gets an empty folder in the place of its root: /src, /wheels, /opt and /data lie there. Its files
are those of the repository that git would take. Python is the one that runs this, in a new environment.
Packages of the system are only looked up, for this machine's system need not be that of the image; users
are not made. The last line of the target, CMD, runs, too.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = re.compile(r"(?<![\w./*-])/(src|wheels|opt|data)\b")


@dataclass
class Stage:
    """One stage of a Containerfile: its base image, its name, its instructions after FROM."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages(text: str) -> dict[str, Stage]:
    """The stages of a Containerfile by their names. Raises ValueError for what this cannot read."""
    found: dict[str, Stage] = {}
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            parts = re.fullmatch(r"(\S+) AS (\S+)", rest)
            if not parts:
                raise ValueError(f"a stage without a name: {line}")
            found[parts[2]] = Stage(parts[1], parts[2])
        elif not found:
            raise ValueError(f"before any stage: {line}")
        elif word in ("RUN", "COPY", "WORKDIR", "ENV", "USER", "CMD"):
            [*found.values()][-1].steps.append((word, rest.strip()))
        else:
            raise ValueError(f"unknown instruction: {line}")
    return found


def _lines(text: str) -> Iterator[str]:
    """The instructions, each on one line, without comments."""
    kept = "\n".join(line for line in text.splitlines() if line.strip() and line[0] != "#")
    yield from re.sub(r"\\\n\s*", " ", kept).splitlines()


class Box:
    """The stand-in for one stage: a folder for its root, and the variables of its steps."""

    def __init__(self, root: Path, compiler: bool) -> None:
        self.root = self.place = root
        root.mkdir(parents=True)
        venv.create(root / "python", with_pip=True)
        path = [root / "python" / "bin", "/usr/bin", "/bin"]
        if compiler and (nvcc := shutil.which("nvcc")):
            path.append(Path(nvcc).parent)
        home = root / "home"
        home.mkdir()
        keep = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "LANG"))}
        self.variables = keep | {"PATH": os.pathsep.join(map(str, path)), "HOME": str(home)}

    def here(self, text: str) -> str:
        """``text`` with the folders of the image as those of this box."""
        return PLACES.sub(lambda found: str(self.root / found[1]), text)

    def shell(self, command: str) -> None:
        print(f"  $ {command}", flush=True)
        subprocess.run(
            ["sh", "-ec", self.here(command)], cwd=self.place, env=self.variables, check=True
        )


def run(target: str, scratch: Path) -> None:
    """Run the steps of ``target`` and of the stages that it takes files from, in ``scratch``."""
    all_stages = stages((ROOT / "Containerfile").read_text(encoding="utf-8"))
    boxes: dict[str, Box] = {}
    for name in _needed(all_stages, target):
        print(f"{name}, from {all_stages[name].base}", flush=True)
        boxes[name] = Box(scratch / name, "cuda" in name)
        for word, rest in all_stages[name].steps:
            _step(word, rest, boxes[name], boxes)


def _needed(all_stages: dict[str, Stage], target: str) -> list[str]:
    sources = [
        source
        for word, rest in all_stages[target].steps
        if word == "COPY"
        for source in re.findall(r"--from=(\S+)", rest)
    ]
    return [*(each for source in sources for each in _needed(all_stages, source)), target]


def _step(word: str, rest: str, box: Box, boxes: dict[str, Box]) -> None:
    if word == "WORKDIR":
        box.place = Path(box.here(rest))
        box.place.mkdir(parents=True, exist_ok=True)
    elif word == "COPY":
        _copy(rest, box, boxes)
    elif word == "ENV":
        name, _, value = rest.partition("=")
        box.variables[name] = box.here(value.replace(f"${name}", box.variables.get(name, "")))
    elif word == "CMD":
        box.shell(shlex.join(json.loads(rest)))
    elif word == "RUN" and "apt-get" in rest:
        _look_up(re.search(r"apt-get install ([^&]*)", rest)[1].split())  # type: ignore[index]
    elif word == "RUN" and not rest.startswith("useradd "):
        box.shell(rest)


def _copy(rest: str, box: Box, boxes: dict[str, Box]) -> None:
    *options, source, target = rest.split()
    if options:
        other = boxes[options[0].removeprefix("--from=")]
        shutil.copytree(other.here(source), box.here(target))
        return
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            place = box.place / target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place)


def _look_up(words: list[str]) -> None:
    packages = [word for word in words if not word.startswith("-")]
    if not shutil.which("apt-cache"):
        print(f"  not looked up, no apt here: {' '.join(packages)}")
        return
    subprocess.run(["apt-cache", "show", *packages], stdout=subprocess.DEVNULL, check=True)
    print(f"  packages of the system: {' '.join(packages)}")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["cpu"]:
        with tempfile.TemporaryDirectory(prefix="petrt-container-") as folder:
            run(wanted, Path(folder))
