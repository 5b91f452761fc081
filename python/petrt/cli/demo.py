"""petrt demo: simulates a low-dose brain, reconstructs it, and writes a table and a picture."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from petrt.cli.options import Strength
from petrt.cli.output import Output, not_stdout
from petrt.diffusion.presets import SAMPLES
from petrt.files.names import shown
from petrt.values import MOST, MOST_WORKERS

logger = logging.getLogger("petrt")

# Subjects of this seed are not used for training; see petrt/train/presets/demo.toml.
SEED = 4242
DOSE = 100
SHAPE = (96, 112, 64)
COLUMNS = ("psnr", "ssim", "nmse")
PROTOCOLS = ("paper", "inference", "standard")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for volumes, picture and numbers.")] = Path(
        "demo_output"
    ),
    model: Annotated[str, typer.Option(help="Bundle, or name of a shipped model.")] = "demo",
    samples: Annotated[
        int, typer.Option(min=2, max=MOST, help="Samples to average (AMS).")
    ] = SAMPLES,
    preset: Annotated[
        str | None,
        typer.Option(help="fast or paper. Default: that of petrt reconstruct.", show_default=False),
    ] = None,
    strength: Strength = 1.0,
    subject: Annotated[int, typer.Option(min=0, help="Number of the simulated subject.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_WORKERS, help="CPU threads. Default: all cores.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs.")] = False,
) -> None:
    """Simulate an FDG brain at 1/100 dose, reconstruct it and compare. Needs no download."""
    not_stdout(out=out)
    import nibabel

    from petrt.cli.progress import bar
    from petrt.data.simulate import simulate_subject
    from petrt.data.simulate.dataset import NOTICE
    from petrt.evaluation.baselines import best_gaussian, nonlocal_means
    from petrt.evaluation.calibration import std_description
    from petrt.evaluation.metrics import evaluate
    from petrt.evaluation.report.picture import comparison, save_comparison
    from petrt.files.atomic import atomic_write_json, check_output, explained, together
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io import nifti

    names = ("full", "low", "output", "std")
    files = {name: out / f"{name}.nii.gz" for name in names}
    files |= {"picture": out / "demo.png", "numbers": out / "demo.json"}
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    for path in files.values():
        check_output(path, overwrite=overwrite)
    started = time.perf_counter()
    logger.info("simulating a brain at 1/%d dose", DOSE)
    person = simulate_subject(SEED, subject, doses=(DOSE,), shape=SHAPE)
    low = nifti.from_image(nibabel.Nifti1Image(person.low[DOSE], person.affine))
    full = person.full
    logger.info("classical filters")
    volumes = {
        "low-dose": low.data,
        "best Gaussian": best_gaussian(low.data, full).image,
        "non-local means": nonlocal_means(low.data, full).image,
    }
    label, begun = f"AMS-{samples} mean", time.perf_counter()
    run = Reconstructor(
        model,
        samples=samples,
        preset=preset,
        strength=strength,
        threads=threads,
        allow_activity_change=True,
    )
    with bar(label, "slices") as progress:
        result = run(low, progress=progress)
    times = {label: round(time.perf_counter() - begun, 2)}
    logger.info("%s: %.1f s for %d slices", label, times[label], SHAPE[2])
    volumes["coarse"] = result.coarse.get_fdata(dtype="float32")
    volumes[label] = result.image.get_fdata(dtype="float32")
    for warning in result.stats["warnings"]:
        logger.warning("warning: %s", warning)
    scores = {name: evaluate(volume, full, protocols=PROTOCOLS) for name, volume in volumes.items()}
    output, std = volumes[label], result.std.get_fdata(dtype="float32")
    with together():
        nifti.write(files["low"], low.data, low, overwrite=overwrite)
        nifti.write(files["full"], full, low, overwrite=overwrite)
        nifti.write(files["output"], output, low, overwrite=overwrite)
        described = std_description(result.stats["std"])
        nifti.write(files["std"], std, low, description=described, overwrite=overwrite)
        calibrated = result.stats["std"]["calibrated"]
        columns = comparison(
            low.data, output, reference=full, uncertainty=std, calibrated=calibrated
        )
        save_comparison(
            files["picture"],
            columns,
            affine=low.affine_mm,
            unit="Bq/ml",
            title="petrt demo: simulated FDG brain at 1/100 dose",
            overwrite=overwrite,
        )
        report = {
            "label": NOTICE,
            "subject": {"seed": SEED, "number": subject, "shape": list(SHAPE), "dose": f"1/{DOSE}"},
            "scores": scores,
            "seconds": times,
            "run": result.stats,
        }
        atomic_write_json(files["numbers"], report, overwrite=overwrite)
    show(scores)
    logger.info(
        "%s: %s (%.0f s in all; %s)",
        shown(out),
        ", ".join(path.name for path in files.values()),
        time.perf_counter() - started,
        NOTICE,
    )


def show(scores: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print PSNR (dB), SSIM and NMSE by protocol, with a row for each volume."""
    protocols = next(iter(scores.values()))
    table = Table(title="against the full-dose image, by protocol")
    table.add_column("")
    for protocol in protocols:
        for column in COLUMNS:
            unit = " dB" if column == "psnr" else ""
            table.add_column(f"{protocol}\n{column.upper()}{unit}", justify="right")
    for label, by_protocol in scores.items():
        cells = [by_protocol[p][c] for p in protocols for c in COLUMNS]
        table.add_row(
            label, *(f"{v:.2f}" if i % 3 == 0 else f"{v:.4f}" for i, v in enumerate(cells))
        )
    Output(120).print(table)
