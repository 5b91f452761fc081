"""The training run: resume, steps, validation, checkpoints, log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from petrt.errors import InputError, UsageError
from petrt.nets.checkpoint import load_checkpoint, load_state, save_checkpoint
from petrt.spec import ModelSpec
from petrt.train.config import TrainConfig
from petrt.train.data import Sampler, load_pairs
from petrt.train.trainer import Trainer
from petrt.train.validate import validate

CHECKPOINT = "checkpoint"
LOG = "log.jsonl"

Progress = Callable[[int, dict[str, float]], None]


def model_spec(config: TrainConfig, sigma_r: float | None) -> ModelSpec:
    """The specification of the trained model. x0 is clamped to +-1 in units of the image, as in the
    paper, hence to +-1/sigma_r in units of the scaled residual."""
    sigma = 1.0 if sigma_r is None else sigma_r
    fields = config.model.model_dump()
    return ModelSpec(**fields, sigma_r=sigma, clip=1.0 / sigma)


def fit(
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    threads: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Train ``config`` on the dataset folder ``data``; returns the checkpoint's folder in ``out``.

    The checkpoint's weights are the moving average; beside them lie the raw weights and Adam's
    moments. Every batch and every noise depend on (seed, step) alone, so a run interrupted and
    resumed (``resume=True``) gives the weights of an uninterrupted one: to the bit on one thread; on
    several, PyTorch's sums run in no fixed order. Raises InputError for
    missing or unfit data, UsageError where ``out`` holds a run and ``resume`` is False.
    """
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise UsageError(
            f"{out} holds a training run", "continue it with --resume, or choose another --out"
        )
    torch.set_num_threads(threads)
    model = config.model
    spans = (config.data.train, config.data.validation)
    train, held_out = (
        load_pairs(data, span, config.data.dose, model.domain, model.scale) for span in spans
    )
    trainer = Trainer(config, Sampler(train, config.data, config.batch, config.seed, threads))
    if checkpoint.exists():
        restore(trainer, checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    started, record = time.monotonic(), {"threads": threads, "torch": torch.__version__}
    with (out / LOG).open("a", encoding="utf-8") as log:
        while trainer.step < config.steps:
            terms = trainer.advance()
            if progress:
                progress(trainer.step, terms)
            last = trainer.step == config.steps
            if last or trainer.step % config.validate_every == 0:
                spec = model_spec(config, trainer.sigma_r)
                scores = validate(trainer.ema, spec, held_out, threads) if held_out else {}
                seconds = time.monotonic() - started
                line = {"step": trainer.step, "seconds": round(seconds, 1), **terms, "psnr": scores}
                log.write(json.dumps(line) + "\n")
                log.flush()
                record |= {"validation": {"step": trainer.step, "psnr": scores}}
            if last or trainer.step % config.checkpoint_every == 0:
                save(trainer, checkpoint, record)
    return checkpoint


def save(trainer: Trainer, path: Path, record: dict[str, Any]) -> None:
    """Write the moving average as the model, and what is needed to go on."""
    state: dict[str, Tensor] = {}
    for name, parameter in trainer.model.named_parameters():
        state[f"weights/{name}"] = parameter
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            state[f"adam/{key}/{name}"] = value
    save_checkpoint(
        path,
        trainer.ema,
        model_spec(trainer.config, trainer.sigma_r),
        state=state,
        step=trainer.step,
        sigma_r=trainer.sigma_r,
        config=trainer.config.model_dump(mode="json"),
        **record,
    )


def restore(trainer: Trainer, path: Path) -> None:
    """Continue from ``path``. Raises InputError if it was trained on another network, seed or data."""
    averaged, _, info = load_checkpoint(path)
    wanted = trainer.config.model_dump(mode="json")
    for key in ("seed", "batch", "coarse_steps", "data", "model", "loss"):
        if info["config"][key] != wanted[key]:
            raise InputError(
                f"{path} was trained with another '{key}'", "resume with its configuration"
            )
    state = load_state(path)
    trainer.ema.load_state_dict(averaged.state_dict())
    trainer.step, trainer.sigma_r = int(info["step"]), info["sigma_r"]
    for name, parameter in trainer.model.named_parameters():
        parameter.data.copy_(state[f"weights/{name}"])
        moments = {
            key: state[f"adam/{key}/{name}"].clone()
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"adam/{key}/{name}" in state
        }
        if moments:
            trainer.optimizer.state[parameter] = moments
