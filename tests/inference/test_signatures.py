"""What a user may set is listed with its default, and is the same in Python and on the command line."""

from __future__ import annotations

import inspect
import pydoc
import re
from typing import Any

import pytest

import petrt
from petrt.cli.bids import bids
from petrt.cli.node import node
from petrt.cli.reconstruct import reconstruct as command

Defaults = dict[str, Any]


def defaults(function: Any, kind: Any = inspect.Parameter.KEYWORD_ONLY) -> Defaults:
    """Parameters that have a default."""
    found = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in found if each.default is not each.empty}


MAKING = defaults(petrt.Reconstructor)
CALLING = defaults(petrt.Reconstructor.__call__)
SAVING = defaults(petrt.Reconstruction.save)
FUNCTION = defaults(petrt.reconstruct)
# On the command line under another name, or in another unit.
RENAMED = {"skip_background": ("all_slices", False), "level": ("regions_level", 0.9)}
# Of Python alone: what a command reads from files, or shows by itself.
PYTHON = {"affine", "voxel_mm", "noise", "progress", "batch", "what"}
# Of Python, as an argument of the command, and as the option of the same name that wants a path.
PLACES = {"out", "regions"}


def test_nothing_hides_behind_options():
    for function in (petrt.Reconstructor, petrt.Reconstructor.__call__, petrt.reconstruct):
        kinds = {each.kind for each in inspect.signature(function).parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


def test_the_function_takes_what_making_and_calling_take():
    parts = MAKING | CALLING | {name: SAVING[name] for name in SAVING if name != "what"}
    # Noise and regions are for those who look at more than the image.
    missing = {"noise", "regions"}
    assert {*FUNCTION} == {*parts, "out"} - missing
    # None of a call is what the Reconstructor was made with.
    ours = parts | {"allow_activity_change": MAKING["allow_activity_change"], "out": None}
    assert {name: ours[name] for name in FUNCTION} == FUNCTION


@pytest.mark.parametrize("run", [command, bids, node], ids=lambda run: run.__name__)
def test_the_commands_have_the_same_defaults(run):
    theirs = defaults(run)
    python = MAKING | CALLING | SAVING | {"allow_activity_change": False}
    shared = {name for name in theirs if name in python} - PLACES
    assert {"samples", "seed", "preset", "engine", "device", "dose", "nonfinite"} <= shared
    assert {name: theirs[name] for name in shared} == {name: python[name] for name in shared}
    assert theirs["all_slices"] is not MAKING["skip_background"]


def test_the_command_has_every_option_of_python():
    theirs = defaults(command)
    python = MAKING | CALLING | SAVING | defaults(petrt.Reconstruction.regions)
    for name in {*python} - PYTHON - PLACES:
        other, default = RENAMED.get(name, (name, theirs.get(name)))
        assert other in theirs, name
        assert theirs[other] == default, name


def test_python_has_every_option_of_the_command():
    """But for those that are about files, cases and the machine."""
    about_files = {
        *("std", "coarse", "regions_out", "record", "preview", "report", "table"),
        *("all_series", "num_parts", "part_id", "dry_run", "resume", "ray"),
    }
    theirs = {*defaults(command)} - {"verbose", "quiet", "log_format", "debug"}
    python = {*MAKING, *CALLING, *SAVING}
    renamed = {name for name, _ in RENAMED.values()}
    assert theirs - about_files - renamed <= python


def test_help_lists_options_with_their_defaults():
    text = pydoc.plain(pydoc.render_doc(petrt.reconstruct))
    for name, default in FUNCTION.items():
        assert re.search(rf"\b{name}: '[^']*' = {re.escape(repr(default))}[,)]", text), name
    for name in FUNCTION:
        assert any(
            name in line.partition(":")[0].replace(" ", "").split(",")
            for line in (petrt.reconstruct.__doc__ or "").splitlines()
        ), name


def test_help_lists_what_a_user_may_use():
    text = pydoc.plain(pydoc.render_doc(petrt))
    for name in {*petrt.__all__} - {"__version__"}:
        assert name in text
    for method in ("save", "show", "regions"):
        assert f" |  {method}(self" in text
    assert petrt.errors.PetrtError is not None
