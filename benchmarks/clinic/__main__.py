"""What a hospital sees: series in and out, SUV, and the round trip through a DICOM server.

    python -m benchmarks.clinic [series] [suv] [node] [--data FOLDER]

Without names it runs all sections. FOLDER holds the reference objects and the real series of ``suv``; what is
absent there is left out. ``node`` needs Orthanc. The others stay in results/clinic.json as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.clinic import node, series, suv
from benchmarks.common import RESULTS, save

PATH = RESULTS / "clinic.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.clinic", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help="series, suv, node; default: all"
    )
    parser.add_argument("--data", type=Path, default=Path(), help="folder with data for suv")
    options = parser.parse_args()
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "series": series.section,
        "suv": lambda: suv.section(options.data),
        "node": node.section,
    }
    if unknown := set(options.sections) - set(sections):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(sections)}")
    for name in options.sections or sections:
        found = sections[name]()
        print(name, json.dumps(found, indent=2), flush=True)
        known = json.loads(PATH.read_text()) if PATH.exists() else {}
        known.pop("machine", None)
        save("clinic", known | {name: found})


if __name__ == "__main__":
    main()
