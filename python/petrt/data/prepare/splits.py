"""Splits subjects into training, validation and test, by patient and not by slice or scan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from petrt.data.index import SPLITS
from petrt.data.prepare.scan import FoundScan
from petrt.data.prepare.table import read_rows
from petrt.errors import InputError, UsageError, called
from petrt.files.names import shown

Fractions = tuple[float, float, float]
DEFAULT: Fractions = (0.8, 0.1, 0.1)


def parse_fractions(text: str) -> Fractions:
    """The fractions of train, validation and test from text such as ``0.8,0.1,0.1``; they add up to 1."""
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"{called('split')} '{text}' is not three numbers", "as in 0.8,0.1,0.1"
        ) from None
    fractions = (train, validation, test)
    if not all(0 <= share <= 1 for share in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(
            f"{called('split')} '{text}'", "give three fractions from 0 to 1 that add up to 1"
        )
    return fractions


def groups(keys: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Id -> patient, named after its first scan. Ids that share any of their ``keys`` are one patient."""
    leader: dict[str, str] = {}

    def find(node: str) -> str:
        while leader.setdefault(node, node) != node:
            node = leader[node]
        return node

    for ident, own in keys.items():
        for key in own:
            # Prefixes keep keys and ids with the same text apart.
            leader[find(f"key {key}")] = find(f"id {ident}")
    first: dict[str, str] = {}
    return {ident: first.setdefault(find(f"id {ident}"), ident) for ident in keys}


def draw(patients: Mapping[str, str], fractions: Fractions, seed: int) -> dict[str, str]:
    """Id -> split: patients are drawn with ``seed``, as near to ``fractions`` as possible.

    A split with a fraction above 0 gets at least one patient if there are enough.
    """
    people = sorted(set(patients.values()))
    order = np.random.default_rng(seed).permutation(len(people))
    exact = [len(people) * share for share in fractions]
    count = [math.floor(n + 1e-9) for n in exact]
    by_remainder = sorted(range(3), key=lambda k: count[k] - exact[k])
    for k in by_remainder[: len(people) - sum(count)]:
        count[k] += 1
    for k in range(3):
        richest = max(range(3), key=lambda j: count[j])
        if fractions[k] > 0 and count[k] == 0 and count[richest] > 1:
            count[k], count[richest] = 1, count[richest] - 1
    names = [split for split, n in zip(SPLITS, count, strict=True) for _ in range(n)]
    of_patient = {people[k]: split for k, split in zip(order, names, strict=True)}
    return {ident: of_patient[patient] for ident, patient in patients.items()}


def read_split_file(path: Path, subjects: Mapping[str, FoundScan]) -> dict[str, str]:
    """Id -> split from a CSV ``subject,split``, which gives a subject's id or its name in the source.

    Raises InputError, with the line, for an unknown subject or split and a repeated subject, and also
    if a subject is missing.
    """
    ids: dict[str, list[str]] = {ident: [ident] for ident in subjects}
    for ident, found in subjects.items():
        if found.name != ident:
            ids.setdefault(found.name, []).append(ident)
    given: dict[str, str] = {}
    for line, row in read_rows(path, ("subject", "split")):
        name, split = row["subject"], row["split"]
        if name not in ids:
            raise InputError(f"{shown(path)}, line {line}: no such subject in the source")
        if split not in SPLITS:
            raise InputError(
                f"{shown(path)}, line {line}: split '{shown(split)}'", f"one of {', '.join(SPLITS)}"
            )
        for ident in ids[name]:
            if ident in given:
                raise InputError(f"{shown(path)}, line {line}: {ident} is listed twice")
            given[ident] = split
    if missing := [ident for ident in subjects if ident not in given]:
        raise InputError(
            f"{shown(path)}: {len(missing)} subjects are not in it, {missing[0]} first",
            "list every subject",
        )
    return given


def check(split_of: Mapping[str, str], patients: Mapping[str, str]) -> None:
    """Raise InputError if two scans of one patient are in different splits."""
    there: dict[str, str] = {}
    for ident, patient in patients.items():
        if there.setdefault(patient, split_of[ident]) != split_of[ident]:
            raise InputError(
                f"{patient} ({there[patient]}) and {ident} ({split_of[ident]}) are scans of one "
                "patient",
                "put them into one split",
            )
