"""petrt reconstruct --dry-run: reads headers, looks at outputs, estimates time and memory, writes nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from petrt.cli.output import say
from petrt.cli.plan import InputCase, check
from petrt.cli.resume import Keys, standing
from petrt.errors import InputError, PartialFailure, PetrtError, UsageError
from petrt.files.names import printable, shown

if TYPE_CHECKING:
    from petrt.inference.reconstructor import Reconstructor


def dry_run(
    cases: Sequence[InputCase],
    sources: Sequence[Path],
    reconstructor: Reconstructor,
    keys: Keys,
    max_voxels: int,
    *,
    folders: bool,
    again: bool = False,
) -> None:
    """Print a line for each case, and one for all of them.

    Ends as the run itself would, as far as headers and outputs tell: raises UsageError if an output is
    in the way, InputError for a single bad input, PartialFailure if some of several are bad.
    """
    from petrt.inference.estimate import Estimator

    estimator = Estimator(reconstructor)
    failed: list[PetrtError] = []
    refused: list[PetrtError] = []
    seconds, gib, todo = 0.0, 0.0, 0
    for case in cases:
        where = f"{printable(str(case.source))} -> {printable(str(case.image))}"
        now = standing(case, keys, again=again) if folders or again else None
        try:
            if now is not None and now.refused is not None:
                raise now.refused
            check_unmade(now.case if now is not None and not now.done else case, sources, folders)
        except UsageError as error:
            if now is None or not now.done:
                refused.append(error)
                say(f"{where}: refused: {error}")
                continue
        if now is not None and now.done:
            say(f"{where}: done already")
            continue
        try:
            glance = case.look(max_voxels)
            estimate = estimator.of(glance.shape, glance.affine_mm, shown(case.source))
        except InputError as error:
            failed.append(error)
            say(f"{where}: would fail: {error}")
            continue
        size = " x ".join(map(str, glance.shape))
        say(
            f"{where}: {size} voxels, {estimate.slices} slices, "
            f"about {duration(estimate.seconds)}{_memory(estimate.gib)}"
        )
        seconds, gib, todo = seconds + estimate.seconds, max(gib, estimate.gib or 0.0), todo + 1
    say(f"{todo} of {len(cases)} to do: about {duration(seconds)}{_memory(gib or None)}")
    if refused:
        raise (
            refused[0]
            if len(cases) == 1
            else UsageError(
                f"{len(refused)} of {len(cases)} outputs cannot be written", "see above"
            )
        )
    if failed:
        raise (
            failed[0]
            if len(cases) == 1
            else PartialFailure(f"{len(failed)} of {len(cases)} cases would fail", "see above")
        )


def duration(seconds: float) -> str:
    """Rounded, as 0.4 s, 12 s, 3 min, 1.5 h."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _memory(gib: float | None) -> str:
    return "" if gib is None else f" and {gib:.2g} GiB of memory"


def check_unmade(case: InputCase, sources: Sequence[Path], folders: bool) -> None:
    """As for the run, but folders that are missing are not made: the one that would hold them counts."""
    if not folders:
        check([case], sources, folders=False)
        return
    for path in case.outputs:
        if path.parent.is_dir():
            continue
        above = next(each for each in path.absolute().parents if os.path.lexists(each))
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise UsageError(
                f"{shown(path.parent)}: cannot be made in {shown(above)}", "choose another folder"
            )
    there = [path for path in case.outputs if path.parent.is_dir()]
    if case.image in there:
        std, record, preview, coarse = (
            path if path in there else None
            for path in (case.std, case.record, case.preview, case.coarse)
        )
        there_only = replace(case, std=std, record=record, preview=preview, coarse=coarse)
        check([there_only], sources, folders=False)
