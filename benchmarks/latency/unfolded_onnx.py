"""The unfolded networks as ONNX files, by PyTorch's own exporter, and ONNX Runtime to call them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.latency.subject import Subject

OPSET = 17


class _Flat(nn.Module):
    """A network behind plain tensors: features are nested in PyTorch, ONNX has flat inputs only."""

    def __init__(self, network: nn.Module, images: int, guides: int) -> None:
        super().__init__()
        self.network, self._images, self._guides = network, images, guides

    def forward(self, *tensors: Tensor) -> Any:
        images, features = tensors[: self._images], tensors[self._images :]
        if not features:
            return tuple(f for at_scale in self.network(*images) for f in at_scale)
        return self.network(*images, _nested(features, self._guides))


def _nested(features: Sequence[Tensor], guides: int) -> list[list[Tensor]]:
    return [list(features[i : i + guides]) for i in range(0, len(features), guides)]


def onnx_networks(subject: Subject, folder: Path) -> tuple[Callable[..., Any], ...]:
    """Guidance, coarse network and denoiser for ``Unfolded(networks=...)``, one slice a call.

    Each is an ONNX file in ``folder`` of fixed shapes, run by ONNX Runtime as it comes: all cores, all
    optimizations.
    """
    model, guides = subject.model, subject.spec.network.guide_count
    size = subject.volume.shape[0]
    image, level = torch.zeros(1, 1, size, size), torch.ones(1)
    nas = torch.zeros(1, 5, size, size)
    assert model.guidance is not None
    with torch.no_grad():
        features = [f for at_scale in model.guidance(nas, image) for f in at_scale]
    guidance = _session(_Flat(model.guidance, 2, guides), (nas, image), folder / "guidance.onnx")
    coarse = _session(_Flat(model.coarse, 1, guides), (image, *features), folder / "coarse.onnx")
    denoiser = _session(
        _Flat(model.denoiser, 3, guides), (image, image, level, *features), folder / "denoiser.onnx"
    )

    def flat(features: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        return [f for at_scale in features for f in at_scale]

    return (
        lambda nas, spectrum: _nested(guidance(nas, spectrum), guides),
        lambda x, features: coarse(x, *flat(features))[0],
        lambda x, r, level, features: denoiser(x, r, level, *flat(features))[0],
    )


def _session(module: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Callable[..., Any]:
    """Export ``module`` to ``path``; tensors in, tensors out, without a copy of either."""
    names = [f"input_{i}" for i in range(len(inputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is the old one
        torch.onnx.export(
            module.eval(), inputs, path, input_names=names, opset_version=OPSET, dynamo=False
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*tensors: Tensor) -> list[Tensor]:
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, feed)]

    return run
