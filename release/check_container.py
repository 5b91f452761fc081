"""Runs the steps of the Containerfile without a container engine, and says what came of each.

    python release/check_container.py cpu
    python release/check_container.py cpu cuda --out benchmarks/results/container.json

Each stage gets an empty folder in the place of its root: /src, /wheels, /opt and /data lie there. Its files
are those of the repository that git would take. Python is the one that runs this, in a new environment.
Packages of the system are only looked up, for this machine's system need not be that of the image; users
are not made. The last line of the target, CMD, runs, too. A target ends with its first step that fails;
then the exit code is 1. In FILE each target replaces itself and leaves the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ABSENT = ("cmake", "ninja", "nvcc")  # from the bases, unlike g++; pip brings the first two
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
        home, system = root / "home", root / "system"
        home.mkdir()
        system.mkdir()
        for program in Path("/usr/bin").iterdir():
            if program.name not in ABSENT:
                (system / program.name).symlink_to(program)
        path = [root / "python" / "bin", system]
        keep = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "LANG"))}
        self.variables = keep | {"PATH": os.pathsep.join(map(str, path)), "HOME": str(home)}
        nvcc = shutil.which("nvcc") if compiler else None
        self.variables["CUDACXX"] = nvcc or "/bin/false"  # or cmake would look in /usr/local, too

    def here(self, text: str) -> str:
        """``text`` with the folders of the image as those of this box."""
        return PLACES.sub(lambda found: str(self.root / found[1]), text)

    def shell(self, command: str) -> None:
        print(f"  $ {command}", flush=True)
        subprocess.run(
            ["sh", "-ec", self.here(command)], cwd=self.place, env=self.variables, check=True
        )


def run(target: str, scratch: Path) -> dict[str, Any]:
    """Run the steps of ``target`` and of the stages that it takes files from, in ``scratch``.

    The result has the seconds and the outcome of each step, and no path of this machine.
    """
    date = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    all_stages = stages((ROOT / "Containerfile").read_text(encoding="utf-8"))
    boxes: dict[str, Box] = {}
    steps: list[dict[str, Any]] = []
    failed = False
    for name in _needed(all_stages, target):
        print(f"{name}, from {all_stages[name].base}", flush=True)
        # Of the bases only this one brings nvcc.
        boxes[name] = Box(scratch / name, "-devel-" in all_stages[name].base)
        for word, rest in all_stages[name].steps:
            if failed:
                break
            begun = time.monotonic()
            try:
                outcome = _step(word, rest, boxes[name], boxes)
            except subprocess.CalledProcessError as error:
                outcome, failed = f"failed with exit code {error.returncode}", True
            seconds = round(time.monotonic() - begun, 1)
            print(f"  {outcome}, {seconds} s", flush=True)
            steps.append(
                {"stage": name, "step": f"{word} {rest}", "seconds": seconds, "outcome": outcome}
            )
    return {
        "date": date,
        "python": platform.python_version(),
        "passed": not failed,
        "seconds": round(sum(step["seconds"] for step in steps), 1),
        "MB_on_the_base": round(_bytes(boxes[target].root) / 1e6),
        "steps": steps,
    }


def _bytes(folder: Path) -> int:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def _needed(all_stages: dict[str, Stage], target: str) -> list[str]:
    sources = [
        source
        for word, rest in all_stages[target].steps
        if word == "COPY"
        for source in re.findall(r"--from=(\S+)", rest)
    ]
    return [*(each for source in sources for each in _needed(all_stages, source)), target]


def _step(word: str, rest: str, box: Box, boxes: dict[str, Box]) -> str:
    """Do one step, or what stands for it here; returns what was done. Raises CalledProcessError."""
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
        return _look_up(re.search(r"apt-get install ([^&]*)", rest)[1].split())  # type: ignore[index]
    elif word == "USER" or rest.startswith("useradd "):
        return "left out: users are not made"
    else:
        box.shell(rest)
    return "done"


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


def _look_up(words: list[str]) -> str:
    packages = [word for word in words if not word.startswith("-")]
    if not shutil.which("apt-cache"):
        return "left out: no apt here"
    subprocess.run(["apt-cache", "show", *packages], stdout=subprocess.DEVNULL, check=True)
    return f"looked up: {' '.join(packages)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="+", metavar="TARGET", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, metavar="FILE")
    options = parser.parse_args()
    passed = True
    for target in options.targets:
        with tempfile.TemporaryDirectory(prefix="petrt-container-") as folder:
            result = run(target, Path(folder))
        print(f"{target}: {'passed' if result['passed'] else 'failed'}, {result['seconds']} s")
        passed = passed and result["passed"]
        if options.out:
            known = json.loads(options.out.read_text()) if options.out.exists() else {}
            options.out.write_text(json.dumps({**known, target: result}, indent=2) + "\n")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
