"""Whether a model or an engine may replace another: a table of criteria, and exit code 1 if it may not.

    python -m benchmarks.accept OLD NEW --data TEST --doses 100 20
    python -m benchmarks.accept demo demo --engine-old native --engine-new openvino

OLD and NEW are bundles or names of shipped models. TEST is a folder that ``petrt simulate TEST --seed 2023
--first 900`` wrote; without it subjects are simulated on the way. The bars stand in policy.toml beside this
file. Both sides run as a user runs them, in turn, on the same slices of each head.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.accept.judge import Criterion, accepted, judged
from benchmarks.accept.measure import Side, against_reference, measure, middle, open_side
from benchmarks.accept.policy import DEFAULT, Policy, read_policy
from benchmarks.common import write_json
from benchmarks.quality.cases import FIRST, simulated
from petrt.bench.machine import describe
from petrt.cli.output import Output, add_row
from petrt.errors import DomainWarning, NonfiniteOutput, PetrtError

REFUSED = 1


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.accept",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", metavar="OLD")
    parser.add_argument("new", metavar="NEW")
    parser.add_argument("--data", type=Path, help="folder that petrt simulate wrote")
    parser.add_argument("--subjects", type=int, default=4, help="how many")
    parser.add_argument("--first", type=int, default=FIRST, help="number of the first one")
    parser.add_argument("--doses", type=int, nargs="+", default=[100, 20], help="100 is 1/100")
    parser.add_argument("--slices", type=int, help="of the middle of each head; default: all")
    parser.add_argument("--engine-old", default="auto")
    parser.add_argument("--engine-new", default="auto")
    parser.add_argument("--device-old", default="auto")
    parser.add_argument("--device-new", default="auto")
    parser.add_argument("--precision-old")
    parser.add_argument("--precision-new")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--policy", type=Path, default=DEFAULT, help="default: the project's")
    parser.add_argument("--out", type=Path, default=Path("acceptance.json"))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 accepted, 1 refused, else that of the error."""
    options = parse(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DomainWarning)  # a part of a head is no head
            record = examined(options, read_policy(options.policy))
    except PetrtError as error:
        print(f"accept: {error}", file=sys.stderr)
        return error.exit_code
    write_json(options.out, record)
    print(f"{'accepted' if record['accepted'] else 'refused'}: {options.out}")
    return 0 if record["accepted"] else REFUSED


def examined(options: argparse.Namespace, policy: Policy) -> dict[str, Any]:
    """The record; its table is printed."""
    old, new = (
        open_side(
            getattr(options, side),
            getattr(options, f"engine_{side}"),
            getattr(options, f"device_{side}"),
            getattr(options, f"precision_{side}"),
            options.threads,
        )
        for side in ("old", "new")
    )
    criteria = _criteria(options, policy, old, new)
    show(criteria)
    date = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    return {
        "date": date,
        "machine": describe(),
        "accepted": accepted(criteria),
        "old": old.record(),
        "new": new.record(),
        "data": {
            "folder": None if options.data is None else options.data.name,
            "subjects": [options.first + number for number in range(options.subjects)],
            "doses": options.doses,
            "slices": options.slices,
        },
        "policy": policy.model_dump(),
        "criteria": [each.record() for each in criteria],
        "numbers": {"old": old.numbers, "new": new.numbers},
    }


def _criteria(options: argparse.Namespace, policy: Policy, old: Side, new: Side) -> list[Criterion]:
    source = simulated(options.data)
    numbers = range(options.first, options.first + options.subjects)

    def case(number: int, dose: int) -> Any:
        return middle(source(number, dose), options.slices)

    try:
        measure((old, new), (case(number, dose) for number in numbers for dose in options.doses))
        engine = against_reference(new, case(options.first, options.doses[0]))
    except NonfiniteOutput as error:
        return [Criterion(str(error), "all", "every voxel is finite", None, None, False)]
    return judged(policy, old.numbers, new.numbers, engine, new.run.engine.precision)


def show(criteria: list[Criterion]) -> None:
    """Print the table."""
    table = Table("criterion", "dose", "bar", "old", "new", "")
    for each in criteria:
        ends = ("" if value is None else f"{value:.4g}" for value in (each.old, each.new))
        verdict = {True: "met", False: "MISSED", None: "not measured"}[each.met]
        add_row(table, each.criterion, each.at, each.bar, *ends, verdict)
    Output().print(table)
