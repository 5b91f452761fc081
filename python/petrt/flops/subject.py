"""Counts a preset, a checkpoint or a bundle, both as PyTorch modules and as steps, which must agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from petrt.errors import DeviceError, InputError, UsageError
from petrt.flops.bundle import bundle_macs, noise_bias_parameters
from petrt.flops.network import count_network
from petrt.flops.table2 import STEPS
from petrt.hardware import packages
from petrt.hardware.packages import TORCH
from petrt.model.bundle import MANIFEST, Bundle, load_bundle, shipped_models
from petrt.model.size import Count, ModelCount
from petrt.model.spec import NetworkSpec, SamplerSpec
from petrt.model.steps import Conv

if TYPE_CHECKING:
    from petrt.export.folding.fold import Upsample

Kind = Literal["preset", "checkpoint", "bundle"]
CHECKPOINT = "checkpoint.json"  # petrt.nets.checkpoint.HEADER, which needs PyTorch
RECORDED_SIZE = (128, 128)  # slice size of the counts in model.json's export.size


@dataclass(frozen=True)
class Counted:
    """The counts of a subject at one size. ``source``: what each form was counted from.

    ``unfolded`` is None if it cannot be counted; ``source`` then gives the reason. ``steps``: the
    subject's own number of sampler steps.
    """

    kind: Kind
    name: str
    size: tuple[int, int]
    steps: int
    upsample: str
    folded: ModelCount
    unfolded: ModelCount | None
    source: Mapping[str, str]


def count_subject(
    subject: str, height: int = 128, width: int = 128, upsample: Upsample | None = None
) -> Counted:
    """Count ``subject``: the name of a preset, the folder of a checkpoint or run, or a bundle.

    ``upsample``: the form of upsampling in an export; a bundle has its own. Presets and checkpoints need
    PyTorch; a bundle is counted from its steps, and also from PyTorch if it is installed. Raises
    UsageError if PyTorch is needed and missing, InputError for a subject that cannot be read or counted
    and a bundle whose networks are not those of its model.json, DeviceError if two counts differ.
    """
    kind = _kind(subject)
    if kind == "bundle":
        if upsample is not None:
            raise UsageError("a bundle's upsampling cannot be changed", "leave out --upsample")
        return _count_bundle(subject, height, width)
    if not has_torch():
        raise UsageError(f"'{subject}' is not a bundle, and anything else needs PyTorch", TORCH)
    network, steps = _preset(subject) if kind == "preset" else _checkpoint(subject)
    check_size(network, height, width)
    return _count_network(kind, subject, network, steps, (height, width), upsample or "conv")


def check_size(network: NetworkSpec, height: int, width: int) -> None:
    """Raise UsageError unless the networks can halve the size as often as needed, to more than one pixel.

    Over a single pixel a norm may have nothing to normalise, and PyTorch refuses it."""
    granule = 2**network.scales
    if height % granule or width % granule or min(height, width) < granule:
        raise UsageError(f"--size is {height}x{width}", f"give multiples of {granule}")
    if granule > 1 and max(height, width) == granule:
        raise UsageError(f"--size is {height}x{width}", f"the smallest is {granule}x{2 * granule}")


def _kind(subject: str) -> Kind:
    """The kind of ``subject``. A folder with the name of a preset does not hide the preset."""
    path = Path(subject)
    if path.is_file() or (path / MANIFEST).is_file() or subject in shipped_models():
        return "bundle"
    if (path / CHECKPOINT).is_file() or (path.is_dir() and subject not in _presets()):
        return "checkpoint"
    return "preset"


def has_torch() -> bool:
    """Whether PyTorch is installed and not broken."""
    found = packages.torch()
    return found is not None and found.broken is None


def _presets() -> Mapping[str, NetworkSpec]:
    """Name -> preset; empty without PyTorch, which presets need."""
    if not has_torch():
        return {}
    from petrt.nets.presets import PRESETS

    return PRESETS


def _preset(name: str) -> tuple[NetworkSpec, int]:
    presets = _presets()
    if name not in presets:
        raise InputError(
            f"no preset, checkpoint or bundle '{name}'",
            f"presets: {', '.join(presets)}; shipped bundles: {', '.join(shipped_models())}",
        )
    return presets[name], STEPS.get(name, SamplerSpec().steps)


def _checkpoint(folder: str) -> tuple[NetworkSpec, int]:
    from petrt.nets import load_checkpoint
    from petrt.train.checkpoints import newest

    _, spec, _ = load_checkpoint(newest(Path(folder)))
    return spec.network, spec.sampler.steps


def _count_network(
    kind: Kind,
    name: str,
    network: NetworkSpec,
    steps: int,
    size: tuple[int, int],
    upsample: Upsample,
) -> Counted:
    from petrt.export.size import folded_count, hollow_networks
    from petrt.nets.count import count

    height, width = size
    folded = folded_count(network, height, width, upsample)
    dimensions = {"height": height, "width": width, "slices": 1, "images": 1}
    graphs = {
        graph: count_network(hollow, dimensions).count
        for graph, hollow in hollow_networks(network, upsample).items()
    }
    if differing := differences(folded, graphs):
        raise DeviceError(f"{name}: PyTorch and steps disagree: {differing}", "report this bug")
    source = {"folded": "PyTorch and steps, equal", "unfolded": "PyTorch"}
    unfolded = count(network, height, width)
    return Counted(kind, name, size, steps, upsample, folded, unfolded, source)


def _count_bundle(name: str, height: int, width: int) -> Counted:
    bundle = load_bundle(name)
    network, steps = bundle.model.network, bundle.model.sampler.steps
    check_size(network, height, width)
    graphs = {graph: work.count for graph, work in bundle_macs(bundle, height, width).items()}
    upsample = _upsample(bundle)
    folded = ModelCount(
        **{part: graphs.get(part, Count()) for part in ("coarse", "denoiser", "guidance")},
        noise_bias=noise_bias_parameters(bundle),
    )
    if not has_torch():
        unfolded, where = _recorded(bundle, (height, width))
        source = {"folded": "steps", "unfolded": where}
    else:
        from petrt.export.size import folded_count
        from petrt.nets.count import count

        expected = folded_count(network, height, width, upsample)
        differing = differences(expected, graphs)
        if not differing and expected.noise_bias != folded.noise_bias:
            differing = f"noise bias {expected.noise_bias} and {folded.noise_bias} parameters"
        if differing:
            raise InputError(
                f"{name}: its steps are not those of the networks in its {MANIFEST}, "
                f"counted by PyTorch and from steps: {differing}",
                "export the model again",
            )
        unfolded = count(network, height, width)
        source = {"folded": "PyTorch and steps, equal", "unfolded": "PyTorch"}
    size = (height, width)
    return Counted("bundle", name, size, steps, upsample, folded, unfolded, source)


def _upsample(bundle: Bundle) -> Upsample:
    """The form of upsampling in the networks' steps."""
    for graph in bundle.graphs:
        steps = bundle.network(graph).steps
        if any(isinstance(step, Conv) and step.transposed for step in steps):
            return "transposed"
    return "conv"


def _recorded(bundle: Bundle, size: tuple[int, int]) -> tuple[ModelCount | None, str]:
    """The counts of the unfolded networks recorded at export, for 128 x 128 only, and their source."""
    record: Any = bundle.manifest.export.get("size")
    if record is None:
        return None, f"unknown: its {MANIFEST} records none; PyTorch would count it"
    if size != RECORDED_SIZE:
        return None, f"unknown: recorded for 128x128 only; PyTorch would count it ({TORCH})"
    try:
        return TypeAdapter(ModelCount).validate_python(record), f"its {MANIFEST}"
    except ValidationError as error:
        raise InputError(f"{bundle.source}: {MANIFEST}: export.size is not a count") from error


def differences(modules: ModelCount, graphs: Mapping[str, Count]) -> str:
    """The differences between the counts of folded modules and steps as text; empty if there are none."""
    found = []
    for part, expected in modules.parts.items():
        got = graphs.get(part, Count())
        for field in ("parameters", "norm_parameters", "macs", "attention_macs"):
            ours, theirs = getattr(expected, field), getattr(got, field)
            if ours != theirs:
                found.append(f"{part} {field} {ours} and {theirs}")
    return ", ".join(found)
