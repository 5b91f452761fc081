"""A checkpoint: a folder with ``checkpoint.json`` and the safetensors files whose hashes it holds.

Nothing is unpickled, so reading a foreign checkpoint executes no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from petrt.errors import InputError
from petrt.files.faults import first_fault
from petrt.files.folder import atomic_folder
from petrt.files.json_text import parsed
from petrt.model.spec import ModelSpec
from petrt.nets.model import Model

FORMAT = "petrt-checkpoint"
VERSION = 2
READS = (1, 2)  # version 1 had no hash of its header
HEADER = "checkpoint.json"
WEIGHTS = "model.safetensors"
STATE = "training.safetensors"


def save_checkpoint(
    path: str | Path,
    model: Model,
    spec: ModelSpec,
    *,
    state: Mapping[str, Tensor] | None = None,
    **info: Any,
) -> None:
    """Write float32 ``model`` and ``spec`` to the folder ``path``, which may be an older checkpoint.

    ``state`` holds the training state (optimiser moments), ``info`` any JSON values (``step=...``). Files
    are written beside ``path`` and then renamed, so an interrupt leaves no incomplete checkpoint. Raises
    InputError for weights that ``load_checkpoint`` refuses, UsageError if ``path`` is something else.
    """
    path = Path(path)
    if model.spec != spec.network:
        raise InputError(
            "the model was not built from this specification", "pass the spec it came from"
        )
    files = {WEIGHTS: {k: v.detach() for k, v in model.state_dict().items()}}
    _check_weights(files[WEIGHTS], model, "the model")
    if state is not None:
        files[STATE] = {k: v.detach() for k, v in state.items()}
    with atomic_folder(path, replaces=HEADER) as folder:
        hashes = {}
        for name, tensors in files.items():
            # Written by Python, because safetensors' own writer hides the reason of a failure.
            data = save({k: v.cpu().contiguous() for k, v in tensors.items()})
            hashes[name] = hashlib.sha256(data).hexdigest()
            (folder / name).write_bytes(data)
            del data  # as large as the tensors
        header = {
            "format": FORMAT,
            "version": VERSION,
            "spec": spec.model_dump(mode="json"),
            "files": hashes,
            "info": info,
        }
        header["sha256"] = _header_hash(header)
        (folder / HEADER).write_text(json.dumps(header, indent=2, allow_nan=False) + "\n")


def load_checkpoint(path: str | Path) -> tuple[Model, ModelSpec, dict[str, Any]]:
    """Read a checkpoint: model (float32, CPU, eval mode), specification and saved info.

    Raises InputError if anything is missing, altered, of an unknown version, or does not fit.
    """
    path = Path(path)
    header = _read_header(path)
    try:
        spec = ModelSpec.model_validate(header["spec"])
    except ValidationError as error:
        fault = first_fault(error, ModelSpec, "spec.")
        raise InputError(f"{path / HEADER}: {fault}") from error
    tensors = _read_tensors(path, header, WEIGHTS)
    with torch.device("meta"):
        model = Model(spec.network)
    _check_weights(tensors, model, str(path / WEIGHTS))
    model.load_state_dict(tensors, assign=True)
    return model.eval(), spec, header["info"]


def load_state(path: str | Path) -> dict[str, Tensor]:
    """The ``state`` tensors saved with a checkpoint. Raises InputError if there are none."""
    path = Path(path)
    return _read_tensors(path, _read_header(path), STATE)


def _header_hash(header: Mapping[str, Any]) -> str:
    """SHA-256 of the header's content without its own hash, independent of its layout."""
    content = {key: value for key, value in header.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = parsed((path / HEADER).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is not a checkpoint: no {HEADER}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path / HEADER} cannot be read: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path / HEADER} is not a {FORMAT} header")
    version = header.get("version")
    if version not in READS:
        raise InputError(
            f"{path} has checkpoint version {version}; this release reads up to {VERSION}",
            "load it with the release that wrote it",
        )
    if version != 1 and header.get("sha256") != _header_hash(header):
        raise InputError(
            f"{path / HEADER} is not the file that was saved: its sha256 differs",
            "copy the checkpoint again",
        )
    if not all(isinstance(header.get(key), dict) for key in ("spec", "files", "info")):
        raise InputError(f"{path / HEADER} lacks spec, files or info")
    return header


def _read_tensors(path: Path, header: dict[str, Any], name: str) -> dict[str, Tensor]:
    if name not in header["files"]:
        raise InputError(f"{path} holds no {name}")
    try:
        data = (path / name).read_bytes()
    except OSError as error:
        raise InputError(f"{path / name} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != header["files"][name]:
        raise InputError(
            f"{path / name} is not the file that was saved: its sha256 differs",
            "copy the checkpoint again",
        )
    try:
        return load(data)
    except SafetensorError as error:
        raise InputError(f"{path / name} is not a safetensors file: {error}") from error


def _check_weights(tensors: Mapping[str, Tensor], model: Model, what: str) -> None:
    """Raise InputError unless ``tensors`` are finite float32 of the model's names and shapes."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if tensors.keys() != expected.keys():
        odd = sorted(tensors.keys() ^ expected.keys())
        raise InputError(f"{what}: {len(odd)} tensors are missing or unknown, first {odd[0]}")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name] or tensor.dtype != torch.float32:
            got, want = f"{tuple(tensor.shape)} {tensor.dtype}", f"{expected[name]} torch.float32"
            raise InputError(f"{what}: {name} is {got}, expected {want}")
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"{what}: {name} is not finite", "the training diverged; use an earlier one"
            )
