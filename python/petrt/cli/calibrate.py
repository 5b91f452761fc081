"""petrt calibrate: fits the samples' standard deviation to the errors against full-dose images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from petrt.cli.options import (
    Device,
    EngineName,
    NoVerify,
    Overwrite,
    Precision,
    Sampler,
    Seed,
    Steps,
    Threads,
    above_zero,
)
from petrt.cli.output import STDOUT, Output, cell, files, not_stdout, say, write_json
from petrt.errors import InputError, UsageError
from petrt.model.spec import CalibrationSpec, ModelSpec
from petrt.values import MOST

if TYPE_CHECKING:
    from petrt.data.dataset import Dataset
    from petrt.inference.calibrate import Setting, Verdict
    from petrt.inference.reconstructor import Reconstructor

logger = logging.getLogger("petrt")

USUAL: dict[str, Any] = {"level": 0.9, "samples": 8, "sampler": None, "steps": None}


def calibrate(
    model: Annotated[str, typer.Argument(help="Bundle, or name of a shipped model.")],
    data: Annotated[Path, typer.Option(help="Folder that petrt prepare wrote.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="New bundle: a folder, or a .zip.", show_default=False),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace MODEL's model.json instead.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write no model; evaluate MODEL's own calibration.")
    ] = False,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    dose: Annotated[
        str | None, typer.Option(help="Dose of the input, as 1/100 or 0.01. Default: the model's.")
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(callback=above_zero(), help="Fraction of the voxels to cover. Default: 0.9."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(max=MOST, help="Samples to average (AMS). Default: 8.")
    ] = None,
    sampler: Sampler = None,
    steps: Steps = None,
    subjects: Annotated[
        int | None, typer.Option(min=1, help="Use the first N subjects. Default: all.", metavar="N")
    ] = None,
    every: Annotated[
        int, typer.Option(min=1, max=MOST, help="Use every N-th slice.", metavar="N")
    ] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    engine: EngineName = "auto",
    precision: Precision = None,
    threads: Threads = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all numbers here; - is stdout.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the error-versus-std plot (PNG) here.")
    ] = None,
    overwrite: Overwrite = False,
    no_verify: NoVerify = False,
) -> None:
    """Fit the factor that calibrates the samples' std, and store it in the model.

    The interval mean +- z(level) x factor x std then holds the full-dose image in
    a fraction --level of the active voxels (> 5 % of its maximum); subjects have
    equal weights. The factor is valid only for this sampler, steps, samples and
    dose. Check it on other subjects: --check --split test. An engine is built for
    one model.json, so calibrate before petrt build-engine.
    """
    from petrt.data.dataset import open_dataset
    from petrt.data.index import SPLITS
    from petrt.inference.calibrate import Setting, check_subjects, reduction
    from petrt.inference.reconstructor import Reconstructor
    from petrt.model.bundle import load_bundle

    if [out is not None, in_place, check].count(True) != 1:
        raise UsageError("say where the result goes", "one of -o NEW_MODEL, --in-place, --check")
    if split not in SPLITS:
        raise UsageError(f"--split is '{split}'", f"choose {', '.join(SPLITS)}")
    not_stdout(plot=plot, out=out)
    check_outputs(model, out, in_place, files(json_file, plot), overwrite)
    bundle = load_bundle(model)
    given = {"level": level, "samples": samples, "sampler": sampler, "steps": steps, "dose": dose}
    use = stored(bundle.model, given) if check else asked(bundle.model, given)
    reduced, dataset = reduction(use["dose"]), open_dataset(data, verify=False)
    ids = dataset.split(split)[:subjects]
    check_subjects(dataset, ids, bundle.model, reduced)
    if not no_verify:
        dataset.verify(ids)
    reconstructor = Reconstructor(
        bundle,
        samples=use["samples"],
        sampler=use["sampler"],
        steps=use["steps"],
        seed=seed,
        device=device,
        engine=engine,
        precision=precision,
        threads=threads,
    )
    setting = Setting(use["level"], reconstructor.sampler, reconstructor.samples, reduced)
    calibration, verdict = work(reconstructor, dataset, ids, setting, every, fitting=not check)
    record = {
        "label": dataset.index.label,
        "data": {"split": split, "subjects": ids, "every": every},
        "seed": seed,
        "engine": reconstructor.engine.name,
        "calibration": calibration.model_dump(mode="json"),
        **verdict.record(),
    }
    if not check:
        write_model(reconstructor, calibration, out or Path(model), record, in_place, overwrite)
    write_numbers(reconstructor, verdict, record, json_file, plot, overwrite)
    title = f"active voxels covered, {len(ids)} subjects ({split}), {dataset.index.label}"
    show(verdict, title, err=json_file == STDOUT)
    logger.info("factor %.3f for %s", calibration.factor, setting)
    if out is not None:
        say(out, err=json_file == STDOUT)


def check_outputs(
    model: str, out: Path | None, in_place: bool, files: list[Path], overwrite: bool
) -> None:
    """Raise UsageError for outputs that cannot be written or are the model's own files."""
    from petrt.files import atomic
    from petrt.model.bundle_writer import check_bundle_output, check_in_place

    if out is not None:
        check_bundle_output(out, overwrite=overwrite)
    if in_place:
        check_in_place(model)
    source = Path(model)
    inputs = [*source.iterdir()] if source.is_dir() else [source]
    atomic.check_outputs(files, inputs, overwrite=overwrite)


def asked(model: ModelSpec, given: dict[str, Any]) -> dict[str, Any]:
    """The setting to fit for: the given values, with defaults. Raises UsageError for impossible values."""
    from petrt.diffusion.dose import parse_dose

    use = USUAL | {key: value for key, value in given.items() if value is not None}
    if use["samples"] < 2:
        raise UsageError("a std needs at least two samples", "such as --samples 8")
    if not 0 < use["level"] < 1:
        raise UsageError(f"--level is {use['level']:g}", "give a fraction between 0 and 1, as 0.9")
    use["dose"] = model.domain.dose_fraction if given["dose"] is None else parse_dose(given["dose"])
    if use["dose"] is None:
        raise UsageError(f"model '{model.name}' does not say its dose", "give --dose, as 1/100")
    return use


def stored(model: ModelSpec, given: dict[str, Any]) -> dict[str, Any]:
    """The setting that the calibration of ``model`` was fitted for, the only one it is checked with."""
    changed = [key for key, value in given.items() if value is not None]
    if changed:
        raise UsageError(
            f"--check uses the setting of the fit, not --{changed[0]}", f"leave out --{changed[0]}"
        )
    fitted = model.calibration
    if fitted is None or fitted.dose_fraction is None:
        raise InputError(
            f"model '{model.name}' has no calibration, or one without its dose",
            "fit one: petrt calibrate MODEL --data FOLDER -o NEW_MODEL",
        )
    return {
        "level": fitted.level,
        "samples": fitted.samples,
        "sampler": fitted.sampler.kind,
        "steps": fitted.sampler.steps,
        "dose": fitted.dose_fraction,
    }


def work(
    reconstructor: Reconstructor,
    dataset: Dataset,
    ids: list[str],
    setting: Setting,
    every: int,
    *,
    fitting: bool,
) -> tuple[CalibrationSpec, Verdict]:
    """Run all subjects, then fit a factor or check the model's own."""
    from petrt.cli.progress import bar
    from petrt.evaluation.calibration import coverage
    from petrt.inference.calibrate import fit, gather, judge

    voxels = []
    for number, name in enumerate(ids, start=1):
        with bar(f"{number}/{len(ids)}", "slices") as progress:
            each = gather(
                reconstructor, dataset, name, setting.dose, every=every, progress=progress
            )
        voxels.append(each)
        logger.info(
            "%s (%d/%d): the plain std covers %.1f %% of %d voxels at %g %%",
            name,
            number,
            len(ids),
            100 * coverage(each, setting.level),
            each.active,
            100 * setting.level,
        )
    if fitting:
        return fit(voxels, setting)
    own = reconstructor.bundle.model.calibration
    assert own is not None
    return own, judge(voxels, own.factor, own.level)


def write_model(
    reconstructor: Reconstructor,
    calibration: CalibrationSpec,
    target: Path,
    record: dict[str, Any],
    in_place: bool,
    overwrite: bool,
) -> None:
    """Write the bundle with the calibration, and the record of the fit in its ``export`` record."""
    from petrt.model.bundle_writer import replace_model, write_bundle

    bundle = reconstructor.bundle
    model = bundle.model.model_copy(update={"calibration": calibration})
    kept = ("label", "data", "seed", "engine", "before", "after", "voxels")
    note = {"calibration": {key: record[key] for key in kept}}
    if in_place:
        replace_model(bundle, model, target, note=note)
    else:
        write_bundle(bundle, model, target, note=note, overwrite=overwrite)


def write_numbers(
    reconstructor: Reconstructor,
    verdict: Verdict,
    record: dict[str, Any],
    json_file: Path | None,
    plot: Path | None,
    overwrite: bool,
) -> None:
    """Write the JSON file and the plot, if they are asked for."""
    from petrt import __version__
    from petrt.evaluation.report.uncertainty import save_error_plot
    from petrt.files.atomic import together

    bundle = reconstructor.bundle
    with together():
        if json_file is not None:
            model = {"name": bundle.model.name, "sha256": bundle.identity}
            content = {"petrt": __version__, "model": model, **record}
            write_json(json_file, content, overwrite=overwrite)
        if plot is not None:
            data = record["data"]
            title = f"{bundle.model.name}, {len(data['subjects'])} subjects ({data['split']})"
            curves = {
                "std of the samples": verdict.by_std,
                "calibrated std": verdict.by_calibrated_std,
            }
            save_error_plot(plot, curves, title=title, overwrite=overwrite)


def show(verdict: Verdict, title: str, *, err: bool = False) -> None:
    """Print the coverage by level, without and with the factor, and its range over subjects."""
    table = Table(title=cell(title))
    for column in ("interval", "plain std", f"std x {verdict.factor:.3g}", "lowest", "highest"):
        table.add_column(column, justify="right")
    for before, after in zip(verdict.before, verdict.after, strict=True):
        shares = (before.mean, after.mean, after.lowest, after.highest)
        table.add_row(f"{100 * after.level:g} %", *(f"{100 * share:.1f} %" for share in shares))
    Output(120, err=err).print(table)
