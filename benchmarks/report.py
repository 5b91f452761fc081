"""The page of a case: the seconds that it adds to a reconstruction, its size, and when a browser shows it.

    python -m benchmarks.report             # a simulated subject of 128^3; some minutes on two cores
    python -m benchmarks.report VOLUME --dose 1/20

Commands with and without ``--report`` take turns. The browser is Chromium without a window and with a new
profile each time; it draws in software, without a GPU. "Painted" is the first text, "loaded" the event of the
page, "drawn" when the output's planes are there, "complete" when every layer is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.common import save
from petrt.data.simulate import write_dataset
from tests.browser import ABSENT, Browser

PAGE_S, OPEN_S, PAGE_MB = 10.0, 2.0, 15.0
TIMES = (
    "JSON.stringify([performance.getEntriesByType('paint')[0].startTime,"
    " performance.getEntriesByType('navigation')[0].loadEventEnd])"
)
DRAWN = "document.documentElement?.matches('.ready, .still')"
COMPLETE = "document.documentElement?.matches('.all-ready, .still')"


def seconds(what: Callable[[], object]) -> float:
    begun = time.monotonic()
    what()
    return time.monotonic() - begun


def command(volume: Path, folder: Path, dose: str, *more: str) -> None:
    """``petrt reconstruct`` as a user runs it."""
    words = ("reconstruct", str(volume), str(folder / "out.nii.gz"), "--dose", dose, "--overwrite")
    subprocess.run([sys.executable, "-m", "petrt", *words, "-q", *more], check=True)


def opened(page: Path) -> dict[str, float]:
    """Seconds from the navigation until the page is painted, loaded, drawn and complete."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        browser.size(1200, 1000)
        begun = time.monotonic()
        drawn = browser.open(page, DRAWN)
        browser.wait(COMPLETE)
        complete = time.monotonic() - begun
        painted, loaded = (each / 1000 for each in json.loads(browser.run(TIMES)))
    return {"painted": painted, "loaded": loaded, "drawn": drawn, "complete": complete}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("volume", type=Path, nargs="?")
    parser.add_argument("--dose", default="1/100")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if ABSENT:
        raise SystemExit("report: needs Selenium, and chromium and chromedriver on the PATH")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        volume = args.volume
        if volume is None:
            write_dataset(folder / "scans", range(900, 901), 2023, (100,))
            (volume,) = (folder / "scans").glob("*1to100_pet.nii.gz")
        page = folder / "case.html"
        ways: dict[str, tuple[str, ...]] = {"plain": (), "report": ("--report", str(page))}
        times: dict[str, list[float]] = {key: [] for key in ways}
        for _ in range(args.repeats):
            for key, more in ways.items():
                times[key].append(seconds(lambda m=more: command(volume, folder, args.dose, *m)))
        shown = [opened(page) for _ in range(args.repeats)]
        size = page.stat().st_size / 1e6
    added = median(b - a for a, b in zip(*times.values(), strict=True))
    path = save(
        "report",
        {
            "what": "page of a case: seconds beyond the reconstruction, MB, seconds until it is shown",
            "command_s": {key: [round(each, 2) for each in v] for key, v in times.items()},
            "added_s": {"median": round(added, 2), "bar": PAGE_S, "met": added <= PAGE_S},
            "page_MB": {"size": round(size, 2), "bar": PAGE_MB, "met": size <= PAGE_MB},
            "opened_s": {
                **{key: round(median(each[key] for each in shown), 2) for key in shown[0]},
                "bar": OPEN_S,
                "met": median(each["drawn"] for each in shown) <= OPEN_S,
            },
        },
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
