"""Writes and reads a network as two files of a bundle.

``NAME.json`` holds inputs, outputs and steps; ``NAME.safetensors`` holds the weights by name.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from typing import Annotated, Any, Literal

import numpy as np
import safetensors.numpy
from pydantic import Field, ValidationError
from safetensors import SafetensorError

from petrt.errors import InputError
from petrt.model.network import Network
from petrt.model.spec import Spec
from petrt.model.steps import Dims, Step

MAX_STEPS = 10_000  # the paper's denoiser has 130
MAX_JSON_BYTES = 8 << 20


class _File(Spec):
    """``NAME.json``."""

    format: Literal["petrt-network"] = "petrt-network"
    version: Literal[1] = 1
    inputs: dict[str, Dims]
    outputs: dict[str, Dims]
    steps: Annotated[
        tuple[Annotated[Step, Field(discriminator="kind")], ...], Field(max_length=MAX_STEPS)
    ]


def to_files(network: Network) -> tuple[bytes, bytes]:
    """The contents of ``NAME.json`` and ``NAME.safetensors``. The same network gives the same bytes."""
    head = {"format": "petrt-network", "version": 1}
    lines = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    for key in ("inputs", "outputs"):
        each = [f"  {json.dumps(n)}: {json.dumps(d)}" for n, d in getattr(network, key).items()]
        lines.append(f'"{key}": {{\n' + ",\n".join(each) + "\n }")
    steps = [f"  {json.dumps(_plain(step), allow_nan=False)}" for step in network.steps]
    lines.append('"steps": [\n' + ",\n".join(steps) + "\n ]")
    text = "{\n " + ",\n ".join(lines) + "\n}\n"
    arrays = {name: np.ascontiguousarray(array) for name, array in network.weights.items()}
    return text.encode(), safetensors.numpy.save(arrays)


def from_files(name: str, text: bytes, weights: bytes, where: str) -> Network:
    """The network from the contents of its two files. Raises InputError if they are damaged or invalid."""
    if len(text) > MAX_JSON_BYTES:
        raise InputError(f"{where}: {name}.json has {len(text)} bytes, at most {MAX_JSON_BYTES}")
    try:
        file = _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {name}.json: {key}: {first['msg']}") from error
    try:
        arrays = safetensors.numpy.load(weights)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{where}: broken safetensors file {name}: {error}") from error
    try:
        return Network(name, file.inputs, file.outputs, file.steps, arrays)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", error.hint) from error


def _plain(step: Step) -> dict[str, Any]:
    """The fields of a step that differ from their defaults."""
    values = asdict(step)
    default = {field.name: field.default for field in fields(step) if field.name != "kind"}
    return {key: value for key, value in values.items() if value != default.get(key, MISSING)}
