"""One stage of a GPU run: its steps, its result after every one of them, its time limit.

    python -m benchmarks.gpu.run --stage 1     # called by gpu.sh, which sets the environment

Standard library only, so that it can say what the rest lacks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.gpu import plan, stages
from benchmarks.gpu.steps import Runner

RESERVE = 8.0  # seconds kept for writing the last result
LOG_BYTES = 400_000  # of a step's log, from its end, that go into the result's


class Stage:
    """A stage under way: where its result goes, and what is in it so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.begun = time.monotonic()
        until = time.time() + 60 * options.minutes - RESERVE
        self.run = plan.Run(
            options.stage,
            options.minutes,
            until,
            options.work,
            options.wheels,
            options.dry_run,
            exclusive=not options.dry_run and exclusive(),
            compiling=plan.compiling(options.gpu_gib),
        )
        shutil.rmtree(self.run.results, ignore_errors=True)
        self.run.results.mkdir(parents=True)
        options.out.mkdir(parents=True, exist_ok=True)
        self.name, self.commit = options.name, commit()
        self.seen: dict[Path, int] = {}
        self.started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.runner = Runner(
            plan.plan(self.run),
            60 * options.minutes - RESERVE - options.spent,
            self.run.results / "logs",
            pools={"compile": self.run.compiling, "gpu": 1},
            changed=self.save,
            tick=self.look,
            say=lambda text: print(text, flush=True),
        )

    def record(self) -> dict[str, Any]:
        """The stage as it stands."""
        return {
            "stage": self.options.stage,
            "minutes": self.options.minutes,
            "started": self.started,
            "seconds": round(self.options.spent + time.monotonic() - self.begun, 1),
            "dry_run": self.options.dry_run,
            "commit": self.commit,
            "steps": [outcome.record() for outcome in self.runner.outcomes.values()],
        }

    def save(self) -> None:
        """This stage's result, all its logs in one file, and both stages' result if the other's is there."""
        files = sorted(self.run.results.glob("[!.]*.json"))
        parts = [part for path in files if (part := stages.read(path)) is not None]
        own = {**stages.merge(parts), "dry_run": self.options.dry_run, "stages": [self.record()]}
        write(self._path(f"_{self.options.stage}.json"), json.dumps(own, indent=2) + "\n")
        write(self._path(f"_{self.options.stage}.log"), self._logs())
        (self.options.work / f"stage{self.options.stage}.json").write_text(json.dumps(own))
        write(self._path(".json"), json.dumps(self.together(), indent=2) + "\n")

    def look(self) -> None:
        """Save what a step that still runs has found meanwhile."""
        now = {path: path.stat().st_mtime_ns for path in self.run.results.glob("[!.]*.json")}
        if now != self.seen:
            self.seen = now
            self.save()

    def together(self) -> dict[str, Any]:
        """Both stages, as far as this folder or the working folder has them of the same machine."""
        found: list[dict[str, Any]] = []
        for stage in (1, 2):
            places = [self._path(f"_{stage}.json"), self.options.work / f"stage{stage}.json"]
            each = [part for path in places if (part := stages.read(path)) is not None]
            found += [part for part in each if part.get("dry_run") == self.options.dry_run][:1]
        return stages.merge(found)

    def finish(self) -> None:
        """The bars' verdicts, and the text beside the result."""
        self.save()
        result = stages.with_rows(stages.with_reasons(self.together(), self._planned()))
        write(self._path(".json"), json.dumps(result, indent=2) + "\n")
        words = stages.text(result)
        write(self._path(".txt"), words + "\n")
        print(words, flush=True)

    def _planned(self) -> list[str]:
        """The sections of this stage."""
        stage = self.options.stage
        return [*plan.SECTIONS[stage], *(plan.CHECKED if stage == 2 else ())]

    def _path(self, ending: str) -> Path:
        return Path(self.options.out) / f"gpu_{self.name}{ending}"

    def _logs(self) -> str:
        lines = []
        for outcome in self.runner.outcomes.values():
            if outcome.log is not None and outcome.log.exists():
                with outcome.log.open("rb") as log:
                    log.seek(max(0, outcome.log.stat().st_size - LOG_BYTES))
                    kept = log.read().decode(errors="replace")
                lines.append(f"===== {outcome.step.name}: {outcome.state} =====\n{kept}\n")
        return "".join(lines)


def write(path: Path, content: str) -> None:
    """Whole or not at all."""
    scratch = path.with_name(f".{path.name}")
    scratch.write_text(content)
    scratch.replace(path)


def exclusive() -> bool:
    """Whether the GPU takes one process at a time, as clusters often set it."""
    return "exclusive" in tell("nvidia-smi", "--query-gpu=compute_mode", "--format=csv").lower()


def tell(*command: str) -> str:
    """What a command prints; nothing where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def commit() -> str | None:
    """The sources' commit, where git knows it."""
    asked = ("describe", "--always", "--dirty", "--abbrev=12")
    return tell("git", "-C", str(plan.ROOT), *asked) or None


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", type=int, choices=(1, 2), required=True)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--spent", type=float, default=0.0, help="seconds of them that are over")
    parser.add_argument("--wheels", type=Path, default=None)
    parser.add_argument("--name", default=None)
    parser.add_argument("--work", type=Path, default=plan.ROOT / "build" / "gpu")
    parser.add_argument("--out", type=Path, default=plan.ROOT / "benchmarks" / "results")
    parser.add_argument("--gpu-gib", type=float, default=None)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)
    options.minutes = options.minutes or plan.MINUTES[options.stage]
    options.work, options.out = options.work.resolve(), options.out.resolve()
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    os.chdir(plan.ROOT)
    if not options.dry_run:
        from benchmarks.gpu import needs

        gpu = needs.first_gpu()
        options.name = options.name or needs.file_name(gpu.name)
        options.gpu_gib = options.gpu_gib or gpu.memory_bytes / 2**30
    options.name = options.name or "dry_run"
    stage = Stage(options)

    def stop(number: int, frame: object) -> None:
        stage.runner.stop("it was told to stop")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        good = stage.runner.run()
        stage.finish()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
