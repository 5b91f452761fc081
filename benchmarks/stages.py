"""Put the stages of benchmarks/gpu.sh into its result, and print the whole as text.

python benchmarks/stages.py stages.tsv gpu_NAME.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from report import table


def read(path: Path) -> list[dict[str, Any]]:
    """Stage, seconds and exit code, with the tests' own count where there is one."""
    stages = []
    for line in path.read_text().splitlines():
        name, seconds, code = line.split("\t")
        stage: dict[str, Any] = {"stage": name, "seconds": int(seconds), "exit": int(code)}
        log = path.parent / f"{name}.log"
        counts = re.findall(
            r"^=* ?((?:\d+ \w+(?:, )?)+) in [\d.]+s", log.read_text() if log.exists() else "", re.M
        )
        if counts:
            stage["tests"] = counts[-1]
        stages.append(stage)
    return stages


def main(stages_file: Path, result_file: Path) -> None:
    stages = read(stages_file)
    measured = any(stage["stage"] == "latency" for stage in stages) and result_file.exists()
    result = json.loads(result_file.read_text()) if measured else {}
    result["stages"] = stages
    result_file.write_text(json.dumps(result, indent=2) + "\n")
    print("stage         seconds  exit")
    for stage in stages:
        tests = f"  {stage['tests']}" if "tests" in stage else ""
        print(f"{stage['stage']:12}{stage['seconds']:>9}{stage['exit']:>6}{tests}")
    if "rows" in result:
        print(f"\n{table(result)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
