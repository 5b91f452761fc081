"""The three graphs of a bundle, with its fixed names of inputs and outputs."""

from __future__ import annotations

from onnx import ModelProto

from petrt import _core
from petrt.export.folding.fold import Folded, FoldedCoarse, FoldedDenoiser, FoldedGuidance
from petrt.export.graphs import layers
from petrt.export.graphs.writer import GraphWriter, Precision
from petrt.model.spec import NetworkSpec


def write_graphs(folded: Folded, spec: NetworkSpec, precision: Precision) -> dict[str, ModelProto]:
    """The graphs of the bundle by name, each self-contained, dynamic in batch, H and W."""
    graphs = {}
    for name, part in folded.parts.items():
        g = GraphWriter(name, precision)
        if isinstance(part, FoldedGuidance):
            _guidance(g, part, spec)
        elif isinstance(part, FoldedCoarse):
            _coarse(g, part, spec)
        else:
            _denoiser(g, part)
        graphs[name] = g.model(_core.__version__)
    return graphs


def _image(batch: str, channels: int, scale: int = 0) -> list[int | str]:
    """Dimensions [batch, channels, H/2^scale, W/2^scale]."""
    over = f"/{2**scale}" if scale else ""
    return [batch, channels, f"height{over}", f"width{over}"]


def _guidance(g: GraphWriter, part: FoldedGuidance, spec: NetworkSpec) -> None:
    channels = {"x": 1, "nas": len(spec.guidance.neighbours), "spectrum": 1}
    for name in part.inputs:
        g.input(name, _image("slices", channels[name]) if name in channels else ["slices"])
    level = layers.dose_level(g, "dose") if "dose" in part.inputs else None
    features: list[str] = []
    if part.guidance is not None:
        extractors = {"nas": part.guidance.nas, "spectrum": part.guidance.spectrum}
        for k in range(spec.scales):
            each = [
                layers.extractor(g, extractors[name][k], name, f"{name}.{k}", level)  # type: ignore[arg-type]
                for name in ("nas", "spectrum")[: spec.guide_count]
            ]
            features.append(g.op("Concat", *each, axis=1) if len(each) > 1 else each[0])
    outputs: list[tuple[str, str, list[int | str]]] = []
    if part.x_half is not None and part.maps is not None:
        h = layers.conv(g, part.x_half, "x", "x_half")
        outputs.append((h, "x_half", _image("slices", part.x_half.out_channels)))
        maps = layers.guide_maps(g, part.maps, features)
        for name, (c, scale) in part.maps.shapes.items():
            outputs.append((maps[name], name, _image("slices", c, scale)))
    width = spec.guide_count * spec.guidance.widths[-1]
    named = zip(features, part.features, strict=False)
    first = [(f, name, _image("slices", width, k + 1)) for k, (f, name) in enumerate(named)]
    for value, name, dims in first + outputs:
        g.output(value, name, dims)


def _coarse(g: GraphWriter, part: FoldedCoarse, spec: NetworkSpec) -> None:
    g.input("x", _image("slices", 1))
    width = spec.guide_count * spec.guidance.widths[-1]
    features = [
        g.input(name, _image("slices", width, k + 1)) for k, name in enumerate(part.inputs[1:])
    ]
    h = layers.conv(g, part.input, "x", "input")
    h = layers.unet(g, part.body, h, None, layers.guide_maps(g, part.maps, features))
    g.output(h, "x_cp", _image("slices", 1))


def _denoiser(g: GraphWriter, part: FoldedDenoiser) -> None:
    base = part.input.out_channels
    r, film = g.input("r", _image("images", 1)), g.input("film", [1, sum(part.body.widths)])
    x_half = g.input("x_half", _image("slices", base))
    for name, (c, scale) in part.map_shapes.items():
        g.input(name, _image("slices", c, scale))
    h = layers.add_map(g, layers.conv(g, part.input, r, "input"), x_half, base)
    h = layers.unet(g, part.body, h, film, {name: name for name in part.map_shapes})
    g.output(h, "eps", _image("images", 1))
