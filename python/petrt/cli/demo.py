"""petrt demo: simulates a low-dose brain, reconstructs it, and writes a table and a picture."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from petrt.cli.choices import OneOf
from petrt.cli.options import Overwrite, Strength
from petrt.cli.output import Output, not_stdout
from petrt.diffusion.presets import SAMPLES
from petrt.files.names import shown
from petrt.values import MOST, MOST_WORKERS

if TYPE_CHECKING:
    from petrt.arrays import Array
    from petrt.data.simulate.subject import Subject

logger = logging.getLogger("petrt")

# Subjects of this seed are not used for training; see petrt/train/presets/demo.toml.
SEED = 4242
DOSE = 100
SHAPE = (96, 112, 88)  # the whole brain
GREY, WHITE, LESION = 1, 2, 5  # in the labels of a simulated subject
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
        typer.Option(help="Default: that of petrt reconstruct.", show_default=False),
        OneOf("fast", "paper"),
    ] = None,
    strength: Strength = 1.0,
    subject: Annotated[int, typer.Option(min=0, help="Number of the simulated subject.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_WORKERS, help="CPU threads. Default: all cores.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate an FDG brain at 1/100 dose, reconstruct it and compare. Needs no download."""
    not_stdout(out=out)
    import nibabel

    from petrt.cli.progress import bar
    from petrt.data.simulate import simulate_subject
    from petrt.data.simulate.dataset import NOTICE
    from petrt.data.simulate.scanner import UNIT
    from petrt.evaluation.baselines import best_gaussian, nonlocal_means
    from petrt.evaluation.calibration import std_description
    from petrt.evaluation.metrics import evaluate
    from petrt.files.atomic import atomic_write_bytes, atomic_write_json, together, unpublished
    from petrt.files.hashes import file_sha256
    from petrt.files.outputs import check_output, explained
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io import nifti

    names = ("full", "low", "output", "std")
    files = {name: out / f"{name}.nii.gz" for name in names}
    files |= {"picture": out / "demo.png", "numbers": out / "demo.json"}
    files["unit"] = out / "low.json"  # the sidecar of low.nii.gz
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
        "input": low.data,
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
        sidecar = {"label": NOTICE, "Units": UNIT}
        atomic_write_json(files["unit"], sidecar, overwrite=overwrite)
        nifti.write(files["full"], full, low, overwrite=overwrite)
        nifti.write(files["output"], output, low, overwrite=overwrite)
        described = std_description(result.stats["std"])
        nifti.write(files["std"], std, low, description=described, overwrite=overwrite)
        hashes: dict[str, Any] = {"input": file_sha256(unpublished(files["low"]))}
        hashes["outputs"] = {
            "image": file_sha256(unpublished(files["output"])),
            "std": file_sha256(unpublished(files["std"])),
        }
        picture = demo_picture(person, volumes, label, scores)
        atomic_write_bytes(files["picture"], picture, overwrite=overwrite)
        report = {
            "label": NOTICE,
            "subject": {"seed": SEED, "number": subject, "shape": list(SHAPE), "dose": f"1/{DOSE}"},
            "scores": scores,
            "seconds": times,
            "run": result.stats | {"hashes": hashes},
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


def demo_picture(
    person: Subject, volumes: dict[str, Array], label: str, scores: dict[str, Any]
) -> bytes:
    """Input, filters, output and full dose side by side with their PSNR, through a hot lesion, as PNG.

    ``label``: the name of the output among ``volumes`` [X, Y, Z] and ``scores``.
    """
    from petrt.data.simulate.scanner import UNIT
    from petrt.evaluation.report.picture import Panel, comparison_png

    names = {
        "input": "input",
        "best Gaussian": "best Gaussian",
        "non-local means": "non-local means",
    }
    columns: dict[str, Any] = {
        f"{title}\n{scores[name]['standard']['psnr']:.1f} dB": volumes[name]
        for name, title in {**names, label: "petrt"}.items()
    }
    columns["full dose"] = person.full
    columns["petrt - full dose"] = Panel(volumes[label] - person.full, "difference")
    centre, radius = hot_lesion(person)
    return comparison_png(
        columns,
        affine=person.affine,
        centre=centre,
        ring_mm=radius,
        unit=UNIT,
        title=f"petrt demo: simulated FDG brain at 1/{DOSE} dose",
        notes=[
            f"{label}; both filters have the strength that suits the full dose best; dB: PSNR against the "
            "full dose; ring: a hot lesion"
        ],
    )


def hot_lesion(person: Subject) -> tuple[tuple[int, int, int] | None, float | None]:
    """The voxel at the centre of the hot lesion whose axial plane shows most of the brain, and the radius
    in mm of a ring around it; None and None without a lesion hotter than 1.5 times grey matter."""
    import numpy as np
    from scipy import ndimage

    found, count = ndimage.label(person.labels == LESION)
    numbers = np.arange(1, count + 1)
    grey = float(person.truth[person.labels == GREY].mean())
    hot = [n for n in numbers if person.truth[found == n].mean() > 1.5 * grey]
    if not hot:
        return None, None
    brain = np.isin(person.labels, (GREY, WHITE)).sum(axis=(0, 1))
    centres = {n: ndimage.center_of_mass(found == n) for n in hot}
    best = max(hot, key=lambda n: int(brain[round(centres[n][2])]))
    x, y, z = (round(float(middle)) for middle in centres[best])
    volume = int((found == best).sum()) * abs(float(np.linalg.det(person.affine[:3, :3])))
    return (x, y, z), 1.5 * (3 * volume / (4 * np.pi)) ** (1 / 3) + 2


def show(scores: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print PSNR (dB), SSIM and NMSE of each volume, protocol by protocol."""
    table = Table(title="against the full-dose image, by protocol", title_justify="left")
    for heading in ("protocol", "image"):
        table.add_column(heading, no_wrap=True)
    for heading in ("PSNR dB", "SSIM", "NMSE"):
        table.add_column(heading, justify="right", no_wrap=True)
    for protocol in next(iter(scores.values())):
        for number, (label, by_protocol) in enumerate(scores.items()):
            psnr, ssim, nmse = (by_protocol[protocol][column] for column in COLUMNS)
            first = "" if number else protocol
            table.add_row(first, label, f"{psnr:.2f}", f"{ssim:.4f}", f"{nmse:.4f}")
        table.add_section()
    Output().print(table)
