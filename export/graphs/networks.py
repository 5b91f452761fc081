"""Writes the networks of a bundle, with its fixed names of inputs and outputs."""

from __future__ import annotations

from typing import cast

from torch import nn

from petrt.export.folding.fold import Folded, FoldedCoarse, FoldedDenoiser, FoldedGuidance
from petrt.export.graphs import layers
from petrt.export.graphs.layers import Precision, StepWriter
from petrt.model.network import Network
from petrt.model.spec import NetworkSpec
from petrt.model.steps import AddMap, Concat, Dims


def write_networks(folded: Folded, spec: NetworkSpec, precision: Precision) -> dict[str, Network]:
    """Name -> network of the bundle, with named dimensions for batch, H and W."""
    networks = {}
    for name, part in folded.parts.items():
        s = StepWriter(precision)
        if isinstance(part, FoldedGuidance):
            networks[name] = _guidance(s, part, spec)
        elif isinstance(part, FoldedCoarse):
            networks[name] = _coarse(s, part, spec)
        else:
            networks[name] = _denoiser(s, part)
    return networks


def _image(batch: str, channels: int, scale: int = 0) -> Dims:
    """Dimensions [batch, channels, H/2^scale, W/2^scale]."""
    over = f"/{2**scale}" if scale else ""
    return batch, channels, f"height{over}", f"width{over}"


def _guidance(s: StepWriter, part: FoldedGuidance, spec: NetworkSpec) -> Network:
    channels = {"x": 1, "nas": len(spec.guidance.neighbours), "spectrum": 1}
    inputs: dict[str, Dims] = {
        name: _image("slices", channels[name]) if name in channels else ("slices",)
        for name in part.inputs
    }
    level = layers.dose_level(s, "dose") if "dose" in part.inputs else None
    features: list[str] = []
    if part.guidance is not None:
        extractors = {"nas": part.guidance.nas, "spectrum": part.guidance.spectrum}
        for k in range(spec.scales):
            features.append(f"features_{k + 1}")
            guides = ("nas", "spectrum")[: spec.guide_count]
            outs = [f"{features[k]}.{name}" for name in guides] if len(guides) > 1 else features[k:]
            for name, out in zip(guides, outs, strict=True):
                each = extractors[name][k]
                layers.extractor(s, each, name, f"{name}.{k}", level, out)  # type: ignore[arg-type]
            if len(guides) > 1:
                s.add(Concat(out=features[k], parts=tuple(outs)))
    width = spec.guide_count * spec.guidance.widths[-1]
    outputs: dict[str, Dims] = {
        name: _image("slices", width, k + 1) for k, name in enumerate(part.features)
    }
    if part.x_half is not None and part.maps is not None:
        layers.conv(s, part.x_half, "x", "x_half")
        layers.guide_maps(s, part.maps, features)
        outputs["x_half"] = _image("slices", part.x_half.out_channels)
        for name, (c, scale) in part.maps.shapes.items():
            outputs[name] = _image("slices", c, scale)
    return s.network("guidance", inputs, outputs)


def _coarse(s: StepWriter, part: FoldedCoarse, spec: NetworkSpec) -> Network:
    width = spec.guide_count * spec.guidance.widths[-1]
    features = {name: _image("slices", width, k + 1) for k, name in enumerate(part.inputs[1:])}
    reads = part.inputs[0]
    h = layers.conv(s, part.input, reads, "input")
    maps = layers.guide_maps(s, part.maps, list(features))
    layers.unet(s, part.body, h, None, maps, "x_cp")
    image = _image("slices", 1)
    read = _image("slices", cast(nn.Conv2d, part.input).in_channels)
    return s.network("coarse", {reads: read, **features}, {"x_cp": image})


def _denoiser(s: StepWriter, part: FoldedDenoiser) -> Network:
    image = _image("images", 1)
    inputs: dict[str, Dims] = {"r": image, "film": (1, sum(part.body.widths))}
    inputs["x_half"] = _image("slices", part.input.out_channels)
    for name, (c, scale) in part.map_shapes.items():
        inputs[name] = _image("slices", c, scale)
    h = layers.conv(s, part.input, "r", "input")
    h = s.add(AddMap(out="input.sum", x=h, map="x_half"))
    layers.unet(s, part.body, h, "film", {name: name for name in part.map_shapes}, "eps")
    return s.network("denoiser", inputs, {"eps": image})
