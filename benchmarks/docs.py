"""The documentation site: the seconds of its build and of the check of its links, as ``make docs`` runs them.

    python -m benchmarks.docs               # three builds from nothing; a minute

The environment is installed already. What of the pages' commands the tests run stands beside the times.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.common import ROOT, save
from tests.docs.selection import COMMANDS, ELSEWHERE

BAR_S = 120.0


def seconds(*words: str) -> float:
    """Of a command of this Python. Raises CalledProcessError if it fails."""
    begun = time.monotonic()
    subprocess.run([sys.executable, *words], check=True, cwd=ROOT)
    return time.monotonic() - begun


def built(site: Path) -> dict[str, float]:
    """Seconds of both steps of ``make docs`` into the new folder ``site``."""
    sphinx = ("-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(site))
    return {"build": seconds(*sphinx), "links": seconds("docs/_ext/built_links.py", str(site))}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    runs = []
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as name:
            site = Path(name) / "site"
            runs.append(built(site))
            pages = sum(1 for _ in site.glob("*.html"))
    total = [sum(run.values()) for run in runs]
    median = statistics.median(total)
    path = save(
        "docs",
        {
            "what": "make docs in an installed environment: Sphinx, and the check of the built links",
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": {key: [round(run[key], 2) for run in runs] for key in runs[0]},
            "total_s": {"median": round(median, 1), "bar": BAR_S, "met": median <= BAR_S},
            "pages": pages,
            "commands": {
                "different": len(COMMANDS),
                "run by tests/docs": len(COMMANDS) - len(ELSEWHERE),
                "parsed there, run elsewhere": {k: v.why for k, v in ELSEWHERE.items()},
            },
        },
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
