"""The checkpoints of a run: ``RUN/checkpoints/step-00001000``, of which the newest few are kept.

A folder gets its name when all its files are on disk, and is renamed before it is deleted. So a run can be
resumed from every checkpoint with a name, even if it was killed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from petrt.errors import InputError, TrainingCollapsed, UsageError
from petrt.files.names import shown
from petrt.files.outputs import explained
from petrt.model.bundle import MANIFEST, load_bundle, shipped_models
from petrt.model.spec import ModelSpec
from petrt.nets import Model
from petrt.nets.checkpoint import HEADER, load_checkpoint, load_state, save_checkpoint
from petrt.nets.grow import grown
from petrt.nets.unfold import unfold
from petrt.train.config import TrainConfig
from petrt.train.trainer import Trainer

FOLDER = "checkpoints"
OLD_FOLDER = "checkpoint"  # the only checkpoint in runs of the first release
KEEP = 2
# Configuration keys that may change when a run is resumed.
FREE = ("steps", "checkpoint_every", "validate_every", "precision", "validation", "data.workers")


def steps_of(run: Path) -> list[int]:
    """Steps of the checkpoints in ``run``, rising."""
    names = [re.fullmatch(r"step-(\d{8,})", path.name) for path in (run / FOLDER).glob("step-*")]
    return sorted(int(name[1]) for name in names if name)


def path_of(run: Path, step: int) -> Path:
    """Folder of the checkpoint of ``step``, which need not exist."""
    return run / FOLDER / f"step-{step:08d}"


def newest(source: Path) -> Path:
    """The newest checkpoint of the run ``source``, or ``source`` itself if it is a checkpoint.

    Raises InputError if it is neither.
    """
    if (source / HEADER).is_file():
        return source
    if steps := steps_of(source):
        return path_of(source, steps[-1])
    if (source / OLD_FOLDER / HEADER).is_file():
        return source / OLD_FOLDER
    raise InputError(
        f"{shown(source)} holds no checkpoint", "give the folder of a checkpoint or training run"
    )


def model_spec(config: TrainConfig, sigma_r: float | None) -> ModelSpec:
    """The specification of the trained model. x0 is clamped to +-1 in units of the image, as in the
    paper, which is +-1/sigma_r in units of the scaled residual."""
    sigma = 1.0 if sigma_r is None else sigma_r
    fields = config.model.model_dump(exclude={"residual_std"})
    return ModelSpec(**fields, sigma_r=sigma, clip=1.0 / sigma)


def save(trainer: Trainer, run: Path, info: Mapping[str, Any]) -> Path:
    """Write the checkpoint of this step: the averaged weights as the model, and the training state.

    Older ones beyond ``KEEP`` are deleted. Raises TrainingCollapsed for weights that are not finite
    and UsageError if the disk refuses; earlier checkpoints then remain.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in trainer.model.named_parameters():
        if trainer.ema is not None:
            state[f"weights/{name}"] = parameter
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            state[f"adam/{key}/{name}"] = value
    path = path_of(run, trainer.step)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise _not_finite(trainer.step)
    try:
        save_checkpoint(
            path,
            trainer.averaged,
            model_spec(trainer.config, trainer.sigma_r),
            state=state,
            step=trainer.step,
            sigma_r=trainer.sigma_r,
            config=trainer.config.model_dump(mode="json"),
            **info,
        )
    except InputError as error:
        raise _not_finite(trainer.step) from error
    except UsageError as error:
        raise UsageError(
            error.message, "earlier checkpoints remain: make room, then continue with --resume"
        ) from error
    for step in steps_of(run)[:-KEEP]:
        remove(run, step)
    return path


def _not_finite(step: int) -> TrainingCollapsed:
    return TrainingCollapsed(
        f"the weights are not finite at step {step}",
        "the last checkpoint is good; lower optimizer.rate",
    )


def remove(run: Path, step: int) -> None:
    """Delete a checkpoint. If this is interrupted, ``clean`` deletes the rest."""
    with explained(path_of(run, step)):
        grave = Path(tempfile.mkdtemp(prefix=".petrt-", dir=run / FOLDER))
        path_of(run, step).rename(grave / "old")
    shutil.rmtree(grave, ignore_errors=True)


def clean(run: Path) -> None:
    """Delete incomplete checkpoints of a killed process."""
    for path in (run / FOLDER).glob(".petrt-*"):
        shutil.rmtree(path, ignore_errors=True)


def restore(trainer: Trainer, run: Path, step: int, dataset: str) -> dict[str, Any]:
    """Load the checkpoint of ``step`` into ``trainer`` and return its info. ``dataset``: hash of the data.

    Raises InputError for a damaged checkpoint, naming the one before it, and for a run with other data
    or another configuration, except the keys in ``FREE``.
    """
    path = path_of(run, step)
    try:
        averaged, _, info = load_checkpoint(path)
        state = load_state(path)
        _check_same(trainer.config, info, dataset)
        _take(trainer, averaged.state_dict(), state)
    except InputError as error:
        raise _with_way_back(error, run, step) from error
    trainer.step, trainer.sigma_r = int(info["step"]), info["sigma_r"]
    return info


def start_from(trainer: Trainer, source: Path) -> tuple[int, int]:
    """Load the weights of a checkpoint, of a run's newest one, or of a bundle for a new run.

    A U-Net of the new run may have more blocks a level, or take neighbouring slices as well: it starts with
    the function of the smaller one (petrt.nets.grow). Tensors that only the new networks have keep their
    initial values. Returns the numbers of tensors loaded and kept. Raises InputError if none has the same
    name or one has another shape.
    """
    given = grown(_weights_of(source), trainer.config.model.network)
    own = trainer.model.state_dict()
    common = given.keys() & own.keys()
    for name in sorted(common):
        if given[name].shape != own[name].shape:
            raise InputError(
                f"{shown(source)}: {name} is {tuple(given[name].shape)}, "
                f"the configuration's is {tuple(own[name].shape)}",
                "use the network that the checkpoint was trained with",
            )
    if not common:
        raise InputError(f"{shown(source)} shares no weights with the configuration's networks")
    for model in (trainer.model, trainer.ema):
        if model is not None:
            model.load_state_dict({name: given[name] for name in common}, strict=False)
    return len(common), len(own) - len(common)


def _weights_of(source: Path) -> Model:
    """The networks of a checkpoint, of a run's newest one, or of a bundle."""
    if (source / MANIFEST).is_file() or source.suffix == ".zip" or str(source) in shipped_models():
        return unfold(load_bundle(source))
    return load_checkpoint(newest(source))[0]


def _check_same(config: TrainConfig, info: Mapping[str, Any], dataset: str) -> None:
    """Raise InputError, naming the first key, unless the checkpoint belongs to this run."""
    try:  # keys newer than the checkpoint get their defaults
        written = TrainConfig.model_validate(info["config"])
    except ValidationError as error:
        raise InputError(
            "the run was trained with another release's configuration",
            "resume with that release, or start a new run with --init",
        ) from error
    then, now = (dict(_flat(each.model_dump(mode="json"))) for each in (written, config))
    for key in sorted(then.keys() | now.keys()):
        free = any(key == name or key.startswith(f"{name}.") for name in FREE)
        if not free and then.get(key) != now.get(key):
            raise InputError(
                f"the run was trained with {key} = {then.get(key)}, not {now.get(key)}",
                "resume with its configuration, or start a new run with --init",
            )
    if info.get("dataset") != dataset:
        raise InputError(
            "the run was trained on another data set or split",
            "resume with its data, or start a new run with --init",
        )


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of nested tables."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _take(trainer: Trainer, averaged: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Load weights, their average and Adam's moments. Raises InputError for a missing or wrong tensor."""
    weights: Mapping[str, Tensor] = averaged
    if trainer.ema is not None:
        trainer.ema.load_state_dict(averaged)
        weights = {k.removeprefix("weights/"): v for k, v in state.items() if k[:8] == "weights/"}
    try:
        trainer.model.load_state_dict(weights)
        for name, parameter in trainer.model.named_parameters():
            if f"adam/step/{name}" not in state:
                continue
            moments = {
                # In the parameter's own memory format, which determines the order of sums.
                key: torch.empty_like(parameter, requires_grad=False).copy_(
                    state[f"adam/{key}/{name}"]
                )
                for key in ("exp_avg", "exp_avg_sq")
            }
            count = state[f"adam/step/{name}"].to(parameter.device)
            trainer.optimizer.state[parameter] = {"step": count, **moments}
    except (KeyError, RuntimeError) as error:
        raise InputError("the checkpoint's training state does not fit its networks") from error


def _with_way_back(error: InputError, run: Path, step: int) -> InputError:
    """The same error with a hint to the previous checkpoint."""
    older = [s for s in steps_of(run) if s < step]
    if not older or "--init" in error.hint:
        return error
    name = path_of(run, step).name
    return InputError(
        f"{name}: {error.message}", f"go back with --resume-from {older[-1]}, or delete {name}"
    )
