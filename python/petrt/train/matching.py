"""Checks that a configuration, a prepared data set and the number of processes fit together."""

from __future__ import annotations

from collections.abc import Sequence

from petrt.data.dataset import Dataset
from petrt.errors import InputError, UsageError
from petrt.train.config import TrainConfig


def check(dataset: Dataset, ids: Sequence[str], config: TrainConfig, world: int = 1) -> None:
    """Raise InputError, which names the key, if ``config`` does not fit the data set or the networks.

    Raises UsageError for a batch that ``world`` processes cannot share evenly.
    """
    if not ids:
        raise InputError("no training subjects", "list some in train.txt of the data set")
    data, granule = config.data, 2**config.model.network.scales
    for size in data.crops:
        if min(size) < granule or any(extent % granule for extent in size):
            raise InputError(
                f"data.crops: {size[0]} x {size[1]} does not fit the networks",
                f"use multiples of {granule}",
            )
    for name in ids:
        _check_doses(dataset, name, config)
    if config.loss.contrastive != "none" and not others_than(dataset, ids, ids[:1]):
        raise InputError(
            "loss.contrastive compares with slices of other people, and there is only one person",
            'train on more subjects, or set contrastive = "none"',
        )
    if config.batch % world:
        raise UsageError(
            f"a batch of {config.batch} cannot be shared evenly by {world} processes",
            "change batch or the number of processes",
        )


def _check_doses(dataset: Dataset, name: str, config: TrainConfig) -> None:
    """Raise InputError if subject ``name`` lacks the doses to draw, or a second one to mix."""
    count = len(doses_of(dataset, name, config))
    hint = "change data.doses, or prepare the data set with more doses"
    there = ", ".join(f"1/{dose}" for dose in dataset.doses(name))
    if not count:
        raise InputError(f"{name} has no dose of data.doses, only {there}", hint)
    if config.data.blend and count < 2:
        raise InputError(f"data.blend mixes two of data.doses, and {name} has only {there}", hint)


def doses_of(dataset: Dataset, name: str, config: TrainConfig) -> list[int]:
    """The reductions that subject ``name`` has and the configuration draws."""
    return [dose for dose in dataset.doses(name) if config.data.doses.get(dose, 0) > 0]


def others_than(dataset: Dataset, ids: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those of ``ids`` that are scans of other people than ``names``."""
    people = {dataset.subject(name).patient for name in names}
    return [name for name in ids if dataset.subject(name).patient not in people]
