"""The checks of an export: folded networks against unfolded ones, ONNX Runtime against PyTorch.

Errors are relative to the largest value of the reference, so zeros do not matter. Each check returns its
errors for the manifest, and raises InputError if one exceeds the tolerance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from petrt.engines.onnxruntime import import_onnxruntime
from petrt.errors import InputError
from petrt.export.folding.fold import Folded, Upsample, fold, run_part
from petrt.model.bundle import noise_bias_table
from petrt.nets.model import Model

# Rounding in float64 through some 150 layers gives errors below 1e-13, wrong algebra about 1e-3.
FOLD_TOLERANCE = 1e-10
# Other summation orders in fp32: 2e-6 measured on the paper's networks.
RUNTIME_TOLERANCE = 1e-4
# Float16 weights (relative error 5e-4 each) change a sound model by less than this.
ROUNDING_TOLERANCE = 5e-2
LEVEL = 0.7

Values = dict[str, Tensor]


def probe(
    model: Model, height: int, width: int, slices: int, samples: int, dtype: torch.dtype
) -> Values:
    """Seeded random inputs: x, nas, spectrum in [0, 1], r normal, dose in [0.01, 1]."""
    generator = torch.Generator().manual_seed(0)

    def draw(kind: Callable[..., Tensor], batch: int, channels: int) -> Tensor:
        shape = (batch, channels, height, width)
        return kind(shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "x": draw(torch.rand, slices, 1),
        "nas": draw(torch.rand, slices, len(model.spec.guidance.neighbours)),
        "spectrum": draw(torch.rand, slices, 1),
        "r": draw(torch.randn, slices * samples, 1),
        "dose": 10 ** (-2 * torch.rand(slices, generator=generator, dtype=torch.float64)).to(dtype),
    }


def sizes(model: Model) -> list[tuple[int, int, int, int]]:
    """Height, width, slices and samples of the probes, small and different in each."""
    granule = 2**model.spec.scales
    return [(2 * granule, 3 * granule, 2, 3), (3 * granule, granule, 1, 1)]


def run_unfolded(model: Model, values: Values) -> Values:
    """x_cp and eps of the unfolded networks; every sample has its own copy of its slice."""
    out: Values = {}
    features = []
    if model.guidance is not None:
        spectrum = values["spectrum"] if model.spec.guide_count == 2 else None
        dose = values["dose"] if model.spec.dose else None
        features = model.guidance(values["nas"], spectrum, dose)
    if model.coarse is not None:
        out["x_cp"] = model.coarse_of(values["x"], values["nas"], features)
    if model.denoiser is not None:
        r, slices = values["r"], len(values["x"])
        x, *flat = (
            t.repeat_interleave(len(r) // slices, dim=0)
            for t in (values["x"], *(f for at_scale in features for f in at_scale))
        )
        count = model.spec.guide_count
        nested = [flat[i : i + count] for i in range(0, len(flat), count or 1)]
        level = torch.full((len(r),), LEVEL, dtype=r.dtype)
        out["eps"] = model.denoiser(x, r, level, nested)
    return out


def run_folded(model: Model, folded: Folded, values: Values) -> Values:
    """Run the folded networks; returns every input and output of every network by name."""
    known = dict(values)
    if model.denoiser is not None:
        known["film"] = film(model, folded)
    for part in folded.parts.values():
        known |= run_part(part, known)
    return known


def film(model: Model, folded: Folded) -> Tensor:
    """Noise biases [1, C] at LEVEL, from the model's own noise MLP in its dtype."""
    assert model.denoiser is not None
    assert model.denoiser.noise_mlp is not None
    weight, bias = folded.noise_bias["film.weight"], folded.noise_bias["film.bias"]
    level = torch.tensor([LEVEL], dtype=weight.dtype)
    return F.linear(model.denoiser.noise_mlp(level), weight, bias)


def relative_error(found: Tensor | NDArray[Any], expected: Tensor | NDArray[Any]) -> float:
    """max |found - expected| / max |expected|; infinite if either is not finite."""
    a, b = (np.asarray(t, dtype=np.float64) for t in (found, expected))
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    error, largest = float(np.abs(a - b).max()), float(np.abs(b).max())
    return error / largest if error else 0.0


def check(what: str, errors: Mapping[str, float], tolerance: float) -> dict[str, float]:
    """``errors``, rounded. Raises InputError, which names the largest error, if it exceeds ``tolerance``."""
    worst = max(errors, key=lambda name: errors[name])
    if not errors[worst] <= tolerance:
        reason = "is not finite" if errors[worst] == float("inf") else "differs too much"
        raise InputError(
            f"{what}: {worst} {reason} (relative error {errors[worst]:.2g}, allowed {tolerance:g})",
            "the weights may have diverged; export an earlier checkpoint",
        )
    return {name: float(f"{error:.3g}") for name, error in errors.items()}


def fold_error(model: Model, upsample: Upsample) -> dict[str, float]:
    """The errors of folded against unfolded networks in float64."""
    double = copy.deepcopy(model).double()
    folded, errors = fold(double, upsample), dict[str, float]()
    for size in sizes(model):
        values = probe(model, *size, torch.float64)
        found = run_folded(double, folded, values)
        for name, expected in run_unfolded(double, values).items():
            errors[name] = max(errors.get(name, 0.0), relative_error(found[name], expected))
    return check("folding", errors, FOLD_TOLERANCE)


def rounding_error(model: Model, rounded: Folded, exact: Folded) -> dict[str, float]:
    """The errors that rounding the weights causes in the images, float32."""
    values = probe(model, *sizes(model)[0], torch.float32)
    found, expected = (run_folded(model, f, values) for f in (rounded, exact))
    names = [name for part in exact.parts.values() for name in part.outputs]
    errors = {n: relative_error(found[n], expected[n]) for n in names if n in ("x_cp", "eps")}
    return check("rounding the weights", errors, ROUNDING_TOLERANCE)


def runtime_error(model: Model, folded: Folded, folder: Path) -> dict[str, float]:
    """The errors of each network in ``folder`` on ONNX Runtime's CPU provider against PyTorch."""
    errors: dict[str, float] = {}
    for graph, part in folded.parts.items():
        session = open_session(folder / f"{graph}.onnx")
        for size in sizes(model):
            values = run_folded(model, folded, probe(model, *size, torch.float32))
            feed = {name: values[name].numpy() for name in part.inputs}
            for name, found in zip(part.outputs, session.run(part.outputs, feed), strict=True):
                error = relative_error(found, values[name])
                errors[graph] = max(errors.get(graph, 0.0), error)
    if folded.noise_bias:
        weights = {name: tensor.numpy() for name, tensor in folded.noise_bias.items()}
        table = noise_bias_table(weights, np.array([LEVEL]))
        errors["noise_bias"] = relative_error(table, film(model, folded))
    return check("ONNX Runtime against PyTorch", errors, RUNTIME_TOLERANCE)


def open_session(path: Path) -> Any:
    """A CPU session without log output, on one thread because the probes are small."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def golden(model: Model, folded: Folded) -> Values:
    """Inputs ``graph/in/name`` and outputs ``graph/out/name`` of every network at a small size."""
    values = run_folded(model, folded, probe(model, *sizes(model)[0], torch.float32))
    kept: Values = {}
    for graph, part in folded.parts.items():
        kept |= {f"{graph}/in/{name}": values[name].clone() for name in part.inputs}
        kept |= {f"{graph}/out/{name}": values[name].clone() for name in part.outputs}
    return kept
