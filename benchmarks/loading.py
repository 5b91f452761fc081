"""Whether loading keeps up with training: items per second, and the share of a step spent waiting.

    python -m benchmarks.loading [--data PREPARED] [--configs demo paper] [--workers 0 1 2]

Without --data, a few subjects are simulated and prepared first. Each configuration is measured on its
own crops, guides and negatives: loading alone, a training step on a batch that is already there, and
both together, as ``petrt train`` runs them. The files stay in the page cache; ``read_MB`` per item
says what a disk would have to deliver.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.common import gpu, save
from petrt.bench.timing import Times, wall
from petrt.data.dataset import Dataset, open_dataset
from petrt.data.prepare.run import prepare
from petrt.data.simulate import write_dataset
from petrt.train.config import TrainConfig, load_config
from petrt.train.data import Batch, make_batch
from petrt.train.loader import loader
from petrt.train.record import Clock
from petrt.train.trainer import Trainer

BAR = 0.05
SUBJECTS = 12
PREFETCHED = 2  # batches a worker


def simulated(folder: Path) -> Dataset:
    """A prepared data set of a few simulated subjects at 1/100 and 1/20 dose."""
    write_dataset(folder / "source", range(SUBJECTS), 4, (100, 20))
    prepare([folder / "source"], folder / "prepared")
    return open_dataset(folder / "prepared")


def with_workers(config: TrainConfig, workers: int) -> TrainConfig:
    data = config.data.model_copy(update={"workers": workers})
    return config.model_copy(update={"data": data})


def started(dataset: Dataset, config: TrainConfig) -> Iterator[Batch]:
    """Batches after those that were loaded while the workers started."""
    ids, pin = dataset.split("train"), torch.cuda.is_available()
    batches = iter(loader(dataset, ids, config, first_step=0, pin=pin))
    ahead = 1 + PREFETCHED * config.data.workers
    return itertools.islice(batches, ahead, None)


def items_per_second(dataset: Dataset, config: TrainConfig, batches: int) -> float:
    """How fast items come when nothing else runs."""
    source = started(dataset, config)
    next(source)
    begun = time.perf_counter()
    for _ in itertools.islice(source, batches):
        pass
    return batches * config.batch / (time.perf_counter() - begun)


def training_step(trainer: Trainer, batch: Batch) -> None:
    """All of a step but its batch; waits for the device, as the loop's reading of the losses does."""
    trainer.gradients(batch.to(trainer.accelerator.device))
    trainer.update()


def share_waiting(trainer: Trainer, dataset: Dataset, config: TrainConfig, steps: int) -> float:
    """Share of the time of ``steps`` training steps in which the next batch was not there yet."""
    clock = Clock()
    source = clock.timed(started(dataset, config))
    training_step(trainer, next(source))
    clock.stepped()
    clock.waiting()  # forget the first
    for batch in itertools.islice(source, steps):
        training_step(trainer, batch)
        clock.stepped()
    return clock.waiting()


def measure(
    dataset: Dataset, config: TrainConfig, workers: list[int], batches: int, steps: int
) -> dict[str, Any]:
    """One configuration's row."""
    ids = dataset.split("train")
    trainer = Trainer(config, Accelerator())
    trainer.step, trainer.sigma_r = config.coarse_steps, 1.0  # all terms of the objective
    batch = make_batch(dataset, ids, config, 0)
    training_step(trainer, batch)
    step = Times([wall(lambda: training_step(trainer, batch)) for _ in range(steps)])
    row: dict[str, Any] = {
        "batch": config.batch,
        "negatives": 0 if batch.negatives is None else config.data.negatives,
        "read_MB": round(read_bytes(dataset, config, batch) / 1e6, 3),
        "step": step.record(),
        "step_items_per_s": round(config.batch / step.median, 2),
        "workers": {},
    }
    for count in workers:
        chosen = with_workers(config, count)
        row["workers"][count] = {
            "items_per_s": round(items_per_second(dataset, chosen, batches), 1),
            "share_waiting": round(share_waiting(trainer, dataset, chosen, steps), 4),
        }
    best = min(each["share_waiting"] for each in row["workers"].values())
    return row | {"lowest_share_waiting": best, "holds": best <= BAR}


def read_bytes(dataset: Dataset, config: TrainConfig, batch: Batch) -> int:
    """Bytes of the slices of one item: five at each dose, and the negatives."""
    pair = dataset.pair(dataset.split("train")[0], next(iter(config.data.doses)))
    slices = 10 + (0 if batch.negatives is None else config.data.negatives)
    return slices * int(pair.low[0].nbytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a prepared data set; simulated if not given")
    parser.add_argument("--configs", nargs="+", default=["demo", "paper"], help="presets or files")
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=50, help="loaded alone, per worker count")
    parser.add_argument("--steps", type=int, default=10, help="trained, per worker count")
    parser.add_argument("--name", default="loading", help="of the result in benchmarks/results")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(options.data) if options.data else simulated(Path(folder))
        for name in options.configs:
            config = load_config(name)
            rows[name] = measure(dataset, config, options.workers, options.batches, options.steps)
            print(name, rows[name], flush=True)
    result = {
        "what": "loading beside training; share_waiting: of a training step's time",
        "bar": BAR,
        "gpu": gpu(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "data": "given" if options.data else f"{SUBJECTS} simulated subjects",
        "subjects": len(dataset.split("train")),
        "dtype": dataset.index.dtype,
        "configs": rows,
    }
    print(save(options.name, result))


if __name__ == "__main__":
    main()
