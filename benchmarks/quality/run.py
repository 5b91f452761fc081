"""Image quality on subjects that no model saw: filters, a model, the rows of Table 2, calibration.

    python -m benchmarks.quality classical bm4d --subjects-dir TEST
    python -m benchmarks.quality model calibration --model demo --plain ROWS/c
    python -m benchmarks.quality samplers --head --every 8
    python -m benchmarks.quality uncertainty --subjects-dir TEST
    python -m benchmarks.quality shortcuts strength --head
    python -m benchmarks.quality rows --rows ROWS --doses 100 --head --every 8
    python -m benchmarks.quality phantom lesions --doses 100 20
    python -m benchmarks.quality real-classical real-bm4d real-model --model demo

Test subjects are numbers 900 … of seed 2023, which ``petrt simulate TEST --seed 2023 --first 900`` writes;
without --subjects-dir they are simulated on the way. Each section replaces itself in ``results/quality.json``
and leaves the others; bars and paired differences follow from all that are there. Every case is kept
in --work once it is measured, so that a run that was cut goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from benchmarks.quality.cases import FIRST
from benchmarks.quality.classical import BM4D, GAUSSIAN, LOW, NLM
from benchmarks.quality.figure import save_figure
from benchmarks.quality.model import COARSE, ONE, PLAIN, ams
from benchmarks.quality.report import read, write
from benchmarks.quality.samplers_figure import save_curve
from benchmarks.quality.sections import SECTIONS, Skipped, figure_arrays
from benchmarks.quality.strength import save_strength
from petrt.bench.machine import describe
from petrt.errors import PetrtError
from petrt.evaluation.calibration import ErrorBin
from petrt.evaluation.report.uncertainty import save_error_plot


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections",
        nargs="*",
        choices=[*SECTIONS, []],
        metavar="SECTION",
        help=f"{', '.join(SECTIONS)}; with none, tables and figures are only written again",
    )
    parser.add_argument("--subjects", type=int, default=8, help="how many test subjects")
    parser.add_argument("--first", type=int, default=FIRST, help="number of the first one")
    parser.add_argument("--subjects-dir", type=Path, help="folder that petrt simulate wrote")
    parser.add_argument("--doses", type=int, nargs="+", default=[100, 20], help="100 is 1/100")
    parser.add_argument("--model", default="demo", help="bundle, or name of a shipped model")
    parser.add_argument("--plain", help="bundle whose coarse network is the plain U-Net, row b")
    parser.add_argument("--rows", type=Path, help="folder of bundles or runs a … f")
    parser.add_argument("--samples", type=int, default=8, help="samples averaged (AMS)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples' noise")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--head", action="store_true", help="models see the head's box only")
    parser.add_argument(
        "--every",
        type=int,
        nargs="+",
        default=[1],
        help="models see every N-th slice only; one N, or one for each dose",
    )
    parser.add_argument("--brains", type=int, default=100, help="of the section lesions")
    parser.add_argument("--realisations", type=int, default=4, help="of the section phantom")
    parser.add_argument("--work", type=Path, default=Path("quality_work"), help="kept cases")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of quality.json")
    options = parser.parse_args()
    options.doses = tuple(options.doses)
    return options


def main() -> None:
    options = parse()
    path = options.out / "quality.json"
    try:
        for name in options.sections:
            try:
                record = {"machine": describe(), **SECTIONS[name](options)}
            except Skipped as why:
                print(f"{name} is left out: {why}")
                continue
            # Read only now: another section may have been written meanwhile.
            write(options.out, {**read(path), name: record})
        content = write(options.out, read(path))
        pictures(options, content)
    except PetrtError as error:
        raise SystemExit(f"quality: {error}") from None
    for bar in content["bars"]:
        print(f"{bar['what']:50} asked {bar['asked']:>14}  got {bar['got']}  met: {bar['met']}")
    print(path)


def pictures(options: argparse.Namespace, content: dict[str, Any]) -> None:
    """The figure, the curve of the samplers and the error plot, of what there is."""
    arrays = figure_arrays(options)
    many = ams(options.samples)
    if arrays:
        columns = [LOW, GAUSSIAN, NLM, BM4D, PLAIN, COARSE, ONE, many]
        title = f"sub-{options.first:04d}, 1/{max(options.doses)} dose"
        save_figure(options.out / "quality.png", arrays, columns, title)
    if "samplers" in content["sections"]:
        record = content["sections"]["samplers"]
        save_curve(options.out / "samplers.png", record, next(iter(record["mean_sd"])))
    if "strength" in content["sections"]:
        save_strength(options.out / "strength.png", content["sections"]["strength"])
    tables = content["sections"].get("calibration", {}).get("doses", {})
    curves = {
        f"{name}, {dose}": [ErrorBin(*each) for each in bins]
        for dose, at in tables.items()
        for name, bins in at["error_by_std"].items()
    }
    if curves:
        title = f"{many}, simulated test subjects"
        save_error_plot(options.out / "quality_std.png", curves, title=title, overwrite=True)


if __name__ == "__main__":
    main()
