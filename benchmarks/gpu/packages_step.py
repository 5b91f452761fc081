"""Install, for this run alone, the wheels that fill this Python's gaps, and say what is still missing.

    python -m benchmarks.gpu.packages_step --site FOLDER [--wheels DIR]

FOLDER is on the path of all later steps; nothing outside of it changes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu import needs


def install(site: Path, wheels: Path) -> None:
    """Those wheels of a folder that are needed; others, of packages that are here, stay out."""
    _, chosen = needs.choose(wheels)
    if not chosen:
        return
    print("installing", *(wheel.name for wheel in chosen), flush=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command = [*pip, "--no-index", "--no-deps", "--upgrade", "--target", str(site)]
    subprocess.run([*command, *map(str, chosen)], check=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args(arguments)
    if options.wheels is not None:
        install(options.site, options.wheels)
    return subprocess.run(
        [sys.executable, "-m", needs.__name__], cwd=needs.ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
