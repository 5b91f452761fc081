"""petrt calibrate: fits standard deviations and intervals to the errors against full-dose images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrt.cli.calibrate_report import Case, Done, show, write_numbers
from petrt.cli.choices import OneOf, shipped
from petrt.cli.options import (
    Device,
    EngineName,
    NoVerify,
    Overwrite,
    Precision,
    Seed,
    Threads,
    above_zero,
)
from petrt.cli.output import STDOUT, files, not_stdout, say
from petrt.errors import InputError, UsageError
from petrt.files.names import shown
from petrt.values import MOST

if TYPE_CHECKING:
    from petrt.data.dataset import Dataset
    from petrt.inference.calibrate import Gathered
    from petrt.model.bundle import Bundle
    from petrt.model.spec import ModelSpec, UncertaintySpec

logger = logging.getLogger("petrt")

LEVEL, SAMPLES = 0.9, 8


def calibrate(
    model: Annotated[
        str, typer.Argument(help="Bundle, or name of a shipped model.", autocompletion=shipped)
    ],
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
    split: Annotated[
        str, typer.Option(help="The subjects of the fit."), OneOf("train", "validation", "test")
    ] = "validation",
    dose: Annotated[
        str | None,
        typer.Option(help="Only this dose, as 1/100 or 0.01. Default: all that all subjects have."),
    ] = None,
    level: Annotated[
        float | None, typer.Option(callback=above_zero(), help="Fraction to cover. Default: 0.9.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(max=MOST, help="Samples to average (AMS). Default: 8.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET",
            help="Only this preset. Default: all that draw samples.",
            show_default=False,
        ),
        OneOf("fast", "paper"),
    ] = None,
    subjects: Annotated[
        int | None, typer.Option(min=1, help="Use the first N subjects. Default: all.", metavar="N")
    ] = None,
    slab: Annotated[
        int | None,
        typer.Option(
            min=8, max=MOST, help="Use N neighbouring slices, from the middle.", metavar="N"
        ),
    ] = None,
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
    """Fit the uncertainty of voxels and regions, and store it in the model.

    First the width of the noise along z, from the errors of neighbouring slices, and
    what the noise of a volume tells of its dose and of the model's domain. Then, for
    every preset that draws samples: the standard deviation of a voxel from the
    samples, the image and the dose, and intervals of means, peaks and maxima of
    regions. Intervals at --level then hold the full-dose image's values in this
    fraction of the active voxels (> 5 % of its maximum) and of the regions. They are
    valid for these presets, this number of samples, and doses within those of the fit.
    Check it on other subjects: --check --split test. An engine is built for one
    model.json, so calibrate before petrt build-engine.
    """
    from petrt.data.dataset import open_dataset
    from petrt.diffusion.dose import reduction
    from petrt.inference.calibrate import check_subjects, reductions, uncertainty
    from petrt.model.bundle import load_bundle

    if [out is not None, in_place, check].count(True) != 1:
        raise UsageError("say where the result goes", "one of -o NEW_MODEL, --in-place, --check")
    not_stdout(plot=plot, out=out)
    only = None if dose is None else reduction(dose)
    check_outputs(model, out, in_place, files(json_file, plot), overwrite)
    bundle = load_bundle(model)
    cases = asked(bundle.model, preset, samples, level, check=check)
    aim = bundle.model.uncertainty.level if check and bundle.model.uncertainty else level or LEVEL
    dataset = open_dataset(data, verify=False)
    ids = dataset.split(split)[:subjects]
    check_subjects(dataset, ids, bundle.model)
    doses = [only] if only else reductions(dataset, ids)
    if not no_verify:
        dataset.verify(ids)
    options = {"seed": seed, "device": device, "engine": engine}
    options |= {"precision": precision, "threads": threads}
    if not check:
        bundle = prepared(bundle, dataset, ids, doses, slab, options)
    done = [run_case(case, bundle, dataset, ids, doses, slab, aim, options) for case in cases]
    content = {
        "label": dataset.index.label,
        "data": {"split": split, "subjects": ids, "doses": doses, "slab": slab},
        "seed": seed,
        "level": aim,
        "presets": {each.case.preset: each.record for each in done},
    }
    if not check:
        found = [subject for each in done for subject in each.found]
        fitted = uncertainty(found, [each.spec for each in done], aim)
        write_model(bundle, fitted, content, out or Path(model), in_place, overwrite)
    write_numbers(bundle, content, done, json_file, plot, overwrite)
    show(content, f"{len(ids)} subjects ({split}), {dataset.index.label}", err=json_file == STDOUT)
    if out is not None:
        say(out, err=json_file == STDOUT)


def prepared(
    bundle: Bundle,
    dataset: Dataset,
    ids: list[str],
    doses: list[int],
    slab: int | None,
    options: dict[str, Any],
) -> Bundle:
    """``bundle`` with its noise's width along z and its noise domain, fitted before samples are drawn."""
    from petrt.inference.calibrate_first import changed, fit_coherence, fit_domain

    own = round(1 / (bundle.model.domain.dose_fraction or 1))
    dose = own if own in doses else max(doses)
    sigma, correlation = fit_coherence(bundle, dataset, ids, dose, slab, options)
    logger.info(
        "errors of neighbouring slices correlate at %.2f: noise with sigma_z = %.2f slices",
        correlation,
        sigma,
    )
    model = bundle.model
    noise = fit_domain(dataset, model, doses) or model.domain.noise
    domain = model.domain.model_copy(update={"noise": noise})
    return changed(bundle, noise_sigma_z=sigma, domain=domain)


def check_outputs(
    model: str, out: Path | None, in_place: bool, files: list[Path], overwrite: bool
) -> None:
    """Raise UsageError for outputs that cannot be written or are the model's own files."""
    from petrt.files.outputs import check_outputs as check_files
    from petrt.model.bundle_writer import check_bundle_output, check_in_place

    if out is not None:
        check_bundle_output(out, overwrite=overwrite)
    if in_place:
        check_in_place(model)
    source = Path(model)
    inputs = [*source.iterdir()] if source.is_dir() else [source]
    check_files(files, inputs, overwrite=overwrite)


def asked(
    model: ModelSpec, preset: str | None, samples: int | None, level: float | None, *, check: bool
) -> list[Case]:
    """What to fit, or with ``check`` what the model has. Raises UsageError, InputError without a fit."""
    from petrt.inference.calibrate import samplers

    if level is not None and not 0 < level < 1:
        raise UsageError(f"--level is {level:g}", "give a fraction between 0 and 1, as 0.9")
    if samples is not None and samples < 2:
        raise UsageError("a std needs at least two samples", "such as --samples 8")
    wanted = samplers(model, preset)
    if not check:
        return [Case(name, sampler, samples or SAMPLES, None) for name, sampler in wanted.items()]
    for key, value in {"level": level, "samples": samples}.items():
        if value is not None:
            raise UsageError(
                f"--check uses the setting of the fit, not --{key}", f"leave out --{key}"
            )
    fits = () if model.uncertainty is None else model.uncertainty.fits
    names = {str(sampler): name for name, sampler in wanted.items()}
    cases = [
        Case(names[str(fit.sampler)], fit.sampler, fit.samples, fit)
        for fit in fits
        if str(fit.sampler) in names
    ]
    if not cases:
        what = "" if preset is None else f" for preset '{preset}'"
        raise InputError(
            f"model '{model.name}' has no calibration of voxels and regions{what}",
            "fit one: petrt calibrate MODEL --data FOLDER -o NEW_MODEL",
        )
    return cases


def run_case(
    case: Case,
    bundle: Bundle,
    dataset: Dataset,
    ids: list[str],
    doses: list[int],
    slab: int | None,
    level: float,
    options: dict[str, Any],
) -> Done:
    """Run all subjects at all doses with the sampler of ``case``; then fit, or judge the fit that it has."""
    from petrt.cli.progress import bar
    from petrt.inference.calibrate import fit_samples, gather, judge
    from petrt.inference.reconstructor import Reconstructor

    kind: dict[str, Any] = {
        "sampler": case.sampler.kind,
        "steps": case.sampler.steps,
        "samples": case.samples,
    }
    reconstructor = Reconstructor(bundle, **kind, **options)
    found: list[Gathered] = []
    total = len(ids) * len(doses)
    for name in ids:
        for dose in doses:
            with bar(f"{case.preset} {len(found) + 1}/{total}", "slices") as progress:
                found.append(
                    gather(reconstructor, dataset, name, dose, slab=slab, progress=progress)
                )
        logger.info("%s: %s is done", case.preset, shown(name))
    spec = case.fitted or fit_samples(found, case.sampler, case.samples, level)
    record = kind | {"engine": reconstructor.engine.name, "fit": spec.model_dump(mode="json")}
    return Done(case, spec, found, record | {"doses": judge(found, spec, level)})


def write_model(
    bundle: Bundle,
    fitted: UncertaintySpec,
    content: dict[str, Any],
    target: Path,
    in_place: bool,
    overwrite: bool,
) -> None:
    """Write the bundle with its uncertainty, and in its ``export`` record what it was fitted to."""
    from petrt.model.bundle_writer import replace_model, write_bundle

    model = bundle.model.model_copy(update={"uncertainty": fitted})
    note = {"uncertainty": {key: content[key] for key in ("label", "data", "seed", "level")}}
    if in_place:
        replace_model(bundle, model, target, note=note)
    else:
        write_bundle(bundle, model, target, note=note, overwrite=overwrite)
