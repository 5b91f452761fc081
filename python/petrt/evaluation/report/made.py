"""The end of a page: versions, hashes, the command, how to cite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from petrt.evaluation.report.case import Case
from petrt.evaluation.report.html import Html, card, listed, text

CITATION = (
    "Z. Han, Y. Wang, L. Zhou, P. Wang, B. Yan, J. Zhou, Y. Wang, D. Shen: Contrastive Diffusion Model with "
    "Auxiliary Guidance for Coarse-to-Fine PET Reconstruction. MICCAI 2023, LNCS 14229. "
    "doi:10.1007/978-3-031-43999-5_23"
)


def command_of(record: Mapping[str, Any]) -> str:
    """The command that makes an output again, from the run's ``record``; IN and OUT stand for its files."""
    if "model" not in record or "engine" not in record:
        return ""
    dose, sampler = record.get("dose", {}), record.get("sampler")
    words = ["petrt reconstruct IN OUT", f"--model {record['model']['name']}"]
    if record.get("preset") in ("fast", "paper", "coarse"):
        words.append(f"--preset {record['preset']}")
    elif sampler:
        words.append(f"--sampler {sampler['kind']} --steps {sampler['steps']}")
    if sampler:
        words.append(f"--samples {record['samples']} --seed {record['seed']}")
    if dose.get("source") == "given":
        words.append(f"--dose {record['dose_fraction']:.6g}")
    if record.get("strength", 1.0) != 1.0:
        words.append(f"--strength {record['strength']:g}")
    device = "cpu" if record["device"] == "cpu" else "cuda"
    words.append(f"--device {device} --engine {record['engine']['name']}")
    return " ".join(words)


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
        ("sampler", f"{sampler['kind']}, {sampler['steps']} steps" if sampler else None),
        ("samples", record.get("samples")),
        ("seed", record.get("seed")),
        ("strength", record.get("strength")),
        ("std", record.get("std", {}).get("reason")),
        ("time", None if seconds is None else f"{seconds:.1f} s"),
        ("input's SHA-256", hashes.get("input")),
        ("options' SHA-256", hashes.get("options")),
        *((f"{kind}'s SHA-256", value) for kind, value in hashes.get("outputs", {}).items()),
    ]
    body = listed(pairs)
    if command:
        body = Html(
            f"{body}<p class='note' style='margin:14px 0 0'>The command</p><pre>{text(command)}</pre>"
        )
    cite = f"<p class='note' style='margin:14px 0 0'>How to cite</p><pre>{text(CITATION)}</pre>"
    own = (
        "<details><summary>Licence of the viewer (NiiVue)</summary>"
        f"<pre>{text_block(licence)}</pre></details>"
    )
    return card("How it was made", f"{body}{cite}{own}")


def text_block(value: str) -> Html:
    """Text of several lines."""
    return Html("\n".join(text(line) for line in value.splitlines()))
