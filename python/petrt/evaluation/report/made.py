"""The end of a page: versions, hashes, the command, how to cite."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from petrt import _core
from petrt.evaluation.report.case import Case
from petrt.evaluation.report.html import Html, card, listed, text
from petrt.io.volume import MAX_VOXELS

SOFTWARE = "petrt: low-dose PET to standard-dose quality with a coarse-to-fine diffusion model"
PAPER = (
    "Z. Han, Y. Wang, L. Zhou, P. Wang, B. Yan, J. Zhou, Y. Wang, D. Shen: Contrastive Diffusion Model with "
    "Auxiliary Guidance for Coarse-to-Fine PET Reconstruction. MICCAI 2023, LNCS 14229. "
    "doi:10.1007/978-3-031-43999-5_23"
)


def command_of(record: Mapping[str, Any]) -> str:
    """The command that makes an output again, voxel for voxel, from the run's ``record``; "" where none does.

    Names in capitals stand for files, for the bundle of a model that does not ship with petrt, and for the
    UID of a series.
    """
    options, hashes = record.get("options"), record.get("hashes", {}).get("outputs", {})
    if options is None or options["noise"] == "given" or record["engine"]["reason"] == "given":
        return ""
    sampler, engine, named = record["sampler"], record["engine"], record["preset"] is not None
    regions = record.get("regions", {})
    given: dict[str, object] = {
        "std": "std" in hashes and "STD",
        "coarse": "coarse" in hashes and "COARSE",
        "regions": bool(regions) and "LABELS",
        "regions-level": regions.get("level"),
        "model": record["model"]["shipped"] or "MODEL",
        "preset": record["preset"],
        "sampler": None if named or sampler is None else sampler["kind"],
        "steps": None if named or sampler is None else sampler["steps"],
        "samples": None if sampler is None else record["samples"],
        "seed": None if sampler is None else record["seed"],
        "dose": _exactly(record["dose_fraction"]) if record["dose"]["source"] == "given" else None,
        "strength": None if record["strength"] == 1 else repr(record["strength"]),
        "device": record["device"].partition(":")[0],
        "engine": engine["name"],
        "precision": engine["precision"],
        "all-slices": not options["skip_background"],
        "allow-activity-change": options["allow_activity_change"],
        "nonfinite": None if options["nonfinite"] == "refuse" else options["nonfinite"],
        "force-units": options["force_units"],
        "series": options["series"] and "UID",
        "max-voxels": None if options["max_voxels"] == MAX_VOXELS else options["max_voxels"],
        "compress": options.get("compress"),
    }
    return command_line("petrt reconstruct IN OUT", given)


def command_line(begin: str, options: Mapping[str, object]) -> str:
    """A command with its ``options`` by their long names: True is a flag, a list is repeated; those that are
    None, False or empty are left out."""
    words = [begin]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, list | tuple):
            words += [f"--{name} {shlex.quote(str(each))}" for each in value]
        elif value is not None and value is not False and value != "":
            words.append(f"--{name} {shlex.quote(str(value))}")
    return " ".join(words)


def _exactly(dose: float) -> str:
    """A dose as the shortest text that is read as the same number."""
    reduction = round(1 / dose)
    return f"1/{reduction}" if 1 / reduction == dose else repr(dose)


def provenance(case: Case, command: str, licence: str) -> Html:
    """Versions, hashes, the command, how to cite."""
    record = case.record
    model, engine = record.get("model", {}), record.get("engine", {})
    sampler, hashes = record.get("sampler"), record.get("hashes", {})
    seconds = record.get("seconds", {}).get("total")
    pairs: list[tuple[str, object]] = [
        ("petrt", record.get("petrt")),
        ("model", model.get("name")),
        ("model's SHA-256", model.get("sha256")),
        ("model's label", model.get("label")),
        (
            "engine",
            " ".join(str(engine[k]) for k in ("name", "version", "precision") if k in engine),
        ),
        ("device", record.get("device")),
        ("sampler", f"{sampler['kind']}, {_steps(sampler['steps'])}" if sampler else None),
        ("samples", record.get("samples")),
        ("seed", record.get("seed")),
        ("strength", record.get("strength")),
        ("std", record.get("std", {}).get("reason")),
        ("time", None if seconds is None else f"{seconds:.1f} s"),
        *((_sha(kind), hashes[kind]) for kind in hashes if kind not in ("model", "outputs")),
        *((_sha(kind), value) for kind, value in hashes.get("outputs", {}).items()),
    ]
    body = listed(pairs)
    if command:
        body = Html(
            f"{body}<p class='note' style='margin:14px 0 0'>The command</p><pre>{text(command)}</pre>"
        )
    cite = f"<p class='note' style='margin:14px 0 0'>How to cite</p>{_citations(record)}"
    own = (
        "<details><summary>Licence of the viewer (NiiVue)</summary>"
        f"<pre>{text_block(licence)}</pre></details>"
    )
    return card("How it was made", f"{body}{cite}{own}")


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _citations(record: Mapping[str, Any]) -> str:
    """The software, in the version that made the output, and the paper, as CITATION.cff asks."""
    version = record.get("petrt", _core.__version__)
    software = f"The petrt authors: {SOFTWARE}. Version {version}."
    return "".join(f"<pre>{text(each)}</pre>" for each in (software, PAPER))


def _sha(kind: str) -> str:
    """What the hash of this ``kind`` of file is called."""
    return f"{kind}' SHA-256" if kind.endswith("s") else f"{kind}'s SHA-256"


def text_block(value: str) -> Html:
    """Text of several lines."""
    return Html("\n".join(text(line) for line in value.splitlines()))
