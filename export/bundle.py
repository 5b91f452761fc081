"""Exports a checkpoint to a bundle: folds, writes and verifies the networks, and adds golden values."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors.torch import save_file
from torch import nn

from petrt import _core
from petrt.engines.onnxruntime import import_onnxruntime
from petrt.errors import InputError
from petrt.export.folding.fold import Folded, Upsample, fold
from petrt.export.graphs import check as verify
from petrt.export.graphs.layers import Precision
from petrt.export.graphs.networks import write_networks
from petrt.files.folder import atomic_folder
from petrt.model.bundle import GOLDEN, MANIFEST, NOISE_BIAS, Manifest, write_manifest
from petrt.model.network import Network
from petrt.model.network_file import to_files
from petrt.model.onnx_writer import OPSET
from petrt.model.spec import CardSpec, ModelSpec
from petrt.model.to_onnx import onnx_bytes
from petrt.nets.checkpoint import load_checkpoint
from petrt.nets.count import count
from petrt.nets.model import Model


def export_bundle(
    checkpoint: str | Path,
    out: str | Path,
    *,
    precision: Precision = "fp32",
    upsample: Upsample = "conv",
    overwrite: bool = False,
    card: CardSpec | None = None,
) -> Manifest:
    """Export the checkpoint folder ``checkpoint`` to the bundle folder ``out``, see ``export_model``.

    The manifest records the checkpoint's training info. ``card``: instead of the checkpoint's own.
    """
    model, spec, info = load_checkpoint(checkpoint)
    if card is not None:
        spec = spec.model_copy(update={"card": card})
    return export_model(
        model, spec, out, precision=precision, upsample=upsample, overwrite=overwrite, source=info
    )


def export_model(
    model: Model,
    spec: ModelSpec,
    out: str | Path,
    *,
    precision: Precision = "fp32",
    upsample: Upsample = "conv",
    overwrite: bool = False,
    source: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write ``model``, which is not changed, as a bundle, complete and verified or not at all.

    ``source`` (JSON) records in the manifest where the weights come from. ``upsample`` "transposed"
    needs 4/9 of the multiplications for upsampling, but is not faster in ONNX Runtime on a CPU. Raises
    InputError if weights are not finite or a check of ``petrt.export.graphs.check`` fails, UsageError
    if ``out`` exists and is not a bundle to overwrite, DeviceError without ONNX Runtime.
    """
    import_onnxruntime()  # fails before any work, as the last step needs it
    model = copy.deepcopy(model).float().eval()
    check_finite(model, "the model")
    replaces = MANIFEST if overwrite else None
    with atomic_folder(Path(out), replaces=replaces) as folder, torch.no_grad(), one_thread():
        verified: dict[str, Any] = {"fold": verify.fold_error(model, upsample)}
        folded = fold(model, upsample)
        if precision == "fp16-weights":
            exact, folded = folded, rounded(folded)
            verified["rounding"] = verify.rounding_error(model, folded, exact)
        for part in folded.parts.values():
            check_finite(part, "the folded model")
        for network in write_networks(folded, spec.network, precision).values():
            write_network(network, folder)
        verified["runtime"] = verify.runtime_error(model, folded, folder)
        if folded.noise_bias:
            save_file(folded.noise_bias, folder / NOISE_BIAS)
        save_file(verify.golden(model, folded), folder / GOLDEN)
        export = {
            "precision": precision,
            "upsample": upsample,
            "opset": OPSET,
            # Unfolded; MACs of one call of each network for one slice at 128 x 128 (petrt.nets.count).
            "size": asdict(count(spec.network)),
            "versions": versions(),
            "source": dict(source or {}),
            "verified": verified,
        }
        return write_manifest(folder, spec, export)


def write_network(network: Network, folder: Path) -> None:
    """Write the files of one network: its steps, its weights, and its ONNX model."""
    text, weights = to_files(network)
    (folder / f"{network.name}.json").write_bytes(text)
    (folder / f"{network.name}.safetensors").write_bytes(weights)
    (folder / f"{network.name}.onnx").write_bytes(onnx_bytes(network))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, so that sums have a fixed order and the same weights give the same bytes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def versions() -> dict[str, str]:
    """The versions of the packages that made the files."""
    return {
        "petrt": _core.__version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": import_onnxruntime().__version__,
    }


def rounded(folded: Folded) -> Folded:
    """A copy with conv weights rounded to float16, as "fp16-weights" stores them, in float32."""
    parts = copy.deepcopy(folded.parts)
    for part in parts.values():
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.copy_(layer.weight.half())
    return Folded(parts, folded.noise_bias)


def check_finite(module: nn.Module, what: str) -> None:
    """Raise InputError for a NaN or infinite weight."""
    for name, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            hint = "the training diverged, or the weight is beyond the range of the precision"
            raise InputError(f"{what} is not finite: {name}", hint)
