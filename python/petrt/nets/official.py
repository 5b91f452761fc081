"""Converts the checkpoints of the method's authors to petrt checkpoints, with the authors' sampler.

Their code (github.com/Show-han/PET-Reconstruction) saves eight state dicts,
``{prefix}_{PreNet|DenoiseNet|guide_3D_1..3|guide_spectrum_1..3}_gen.pth``. The files are pickles. Only
torch's weights-only reader reads them; it builds tensors and refuses anything else.

Widths, blocks and attention follow from the tensors. The norms' numbers of groups do not, and are assumed
to be the authors' 32 (U-Nets) and 8 (extractors).
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from petrt.errors import InputError, UsageError, way
from petrt.files.names import shown
from petrt.model.spec import (
    DomainSpec,
    GuidanceSpec,
    ModelSpec,
    NetworkSpec,
    SamplerSpec,
    ScaleRule,
    ScheduleSpec,
    UNetSpec,
)
from petrt.nets import Model, save_checkpoint

CODE = "github.com/Show-han/PET-Reconstruction"
UNET_GROUPS, EXTRACTOR_GROUPS = 32, 8
LEVELS = 4  # their U-Net needs guides at H/2, H/4 and H/8, so it has no other depth
WIDEST = 1 << 16  # a wider layer is a damaged or hostile file

FILES = {"coarse": "PreNet", "denoiser": "DenoiseNet"} | {
    f"guidance.{ours}.{k}": f"guide_{theirs}_{k + 1}"
    for ours, theirs in (("nas", "3D"), ("spectrum", "spectrum"))
    for k in range(LEVELS - 1)
}
"""Part of ``petrt.nets.Model`` -> the name of its file."""

# Pattern of our layer's path -> theirs. The first that matches the whole path applies.
_Rules = tuple[tuple[str, str], ...]
_BLOCK: _Rules = (
    (r"(.+)\.norm1", r"\1.res_block.block1.block.0"),
    (r"(.+)\.conv1", r"\1.res_block.block1.block.3"),
    (r"(.+)\.noise", r"\1.res_block.noise_func.noise_func.0"),
    (r"(.+)\.norm2", r"\1.res_block.block2.block.0"),
    (r"(.+)\.conv2", r"\1.res_block.block2.block.3"),
    (r"(.+)\.shortcut", r"\1.res_block.res_conv"),
    (r"(.+)\.guide([12])", r"\1.res_block.conv\2"),
    (r"(.+)\.mix([12])", r"\1.res_block.conv_aff\2"),
    (r"(.+)\.attention\.(norm|qkv|out)", r"\1.attn.\2"),
)
_UNET: _Rules = (
    (r"noise_mlp\.([13])", r"noise_level_mlp.\1"),
    (r"downs\.0", "downs.0"),
    (r"((?:downs|ups)\.\d+\.conv)", r"\1"),
    (r"head\.norm", "final_conv.block.0"),
    (r"head\.conv", "final_conv.block.3"),
    *_BLOCK,
)
_EXTRACTOR: _Rules = (
    (r"(downs\.\d+\.conv)", r"\1"),
    (r"stem", "block.0"),
    (r"head", "conv"),
    *_BLOCK,
)
_DENOISER = "denoise_fn."  # the U-Net's place inside their GaussianDiffusion
# Buffers of their GaussianDiffusion: the noise schedule of training, not of inference.
_SCHEDULE_BUFFERS = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
}

_FOREIGN = f"only checkpoints of the code at {CODE} can be imported"


def import_official(
    prefix: str, out: Path, *, name: str = "official", overwrite: bool = False
) -> Path:
    """Convert the eight files of ``prefix`` (such as ``checkpoint/I500000_E100``) to checkpoint ``out``.

    Returns ``out``. No code in the files is executed. Raises InputError for a file that is missing,
    damaged, contains code or does not fit the authors' networks. Raises UsageError if ``out`` exists
    (``overwrite`` replaces only a checkpoint) or cannot be written, and for an invalid ``name``.
    """
    out = Path(out)
    if os.path.lexists(out) and not overwrite:
        raise UsageError(f"{shown(out)}: the output exists", way("overwrite", "", "replaces it"))
    files = {part: _read(Path(f"{prefix}_{stem}_gen.pth")) for part, stem in FILES.items()}
    network = NetworkSpec(
        coarse=_unet(files["coarse"], ""),
        denoiser=_unet(files["denoiser"], _DENOISER),
        guidance=_guidance(files["guidance.nas.0"]),
    )
    spec = _model_spec(name, network)
    with torch.device("meta"):
        model = Model(spec.network)
    weights: dict[str, Tensor] = {}
    for part, file in files.items():
        weights |= _convert(part, file, model.get_submodule(part).state_dict())
    model.load_state_dict(weights, assign=True)
    hashes = {file.label: file.sha256 for file in files.values()}
    save_checkpoint(out, model, spec, source={"code": CODE, "files": hashes})
    return out


def official_key(part: str, name: str) -> str:
    """The authors' key for parameter ``name`` of our ``part`` (a key of ``FILES``)."""
    path, leaf = name.rsplit(".", 1)
    rules, root = _UNET, _DENOISER if part == "denoiser" else ""
    if part.startswith("guidance."):
        rules = _EXTRACTOR  # its list of blocks starts with the stem
        path = re.sub(r"^blocks\.(\d+)", lambda index: f"block.{int(index[1]) + 1}", path)
    for pattern, theirs in rules:
        if match := re.fullmatch(pattern, path):
            return f"{root}{match.expand(theirs)}.{leaf}"
    raise LookupError(f"no rule for {name} of {part}")


@dataclass(frozen=True)
class _File:
    """One of the eight files: its name for messages, its hash, and its tensors by the authors' keys."""

    label: str
    sha256: str
    tensors: Mapping[str, Tensor]

    def __getitem__(self, key: str) -> Tensor:
        """The tensor ``key``. Raises InputError if there is none."""
        if key not in self.tensors:
            raise InputError(f"{self.label}: no tensor {key}", _FOREIGN)
        return self.tensors[key]

    def width(self, key: str) -> int:
        """Output channels of the convolution with weight ``key``."""
        shape = tuple(self[key].shape)
        if len(shape) != 4 or not 0 < shape[0] <= WIDEST:
            raise InputError(f"{self.label}: {key} is {shape}, not a convolution's", _FOREIGN)
        return shape[0]

    def entries(self, module_list: str) -> int:
        """Length of a ModuleList: one more than the highest index that occurs."""
        pattern = re.compile(re.escape(module_list) + r"\.(\d{1,4})\.")
        found = (pattern.match(key) for key in self.tensors)
        return max((int(match[1]) + 1 for match in found if match), default=0)


def _read(path: Path) -> _File:
    """Read one state dict of tensors. Raises InputError for anything else."""
    label = shown(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{label} does not exist", _prefixes_near(path)) from error
    except OSError as error:
        raise InputError(f"{label} cannot be read: {error.strerror}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about a file that is refused anyway
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for invalid bytes
        raise InputError(f"{label} {_reason(error)}", "copy it again, if you trust it") from error
    if not isinstance(content, Mapping) or not all(map(_is_entry, content.items())):
        raise InputError(f"{label} is not a state dict of tensors", _FOREIGN)
    if all(key.startswith("module.") for key in content):  # saved from a DataParallel module
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return _File(label, hashlib.sha256(data).hexdigest(), content)


def _prefixes_near(missing: Path) -> str:
    """A hint with the prefixes of the files in the folder of ``missing``."""
    ends = (f"_{stem}_gen.pth" for stem in FILES.values())
    found = {p.name.removesuffix(end) for end in ends for p in missing.parent.glob(f"*{end}")}
    if not found:
        return "give the folder and the common start of the eight names, as checkpoint/I500000_E100"
    return "the folder has files of " + ", ".join(shown(prefix) for prefix in sorted(found)[:5])


def _reason(error: Exception) -> str:
    """The reason why torch refused a file, in short."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and named:
        return f"contains Python code or objects ({shown(named[1])}); nothing was run"
    return "is damaged, or not a PyTorch file of plain tensors; nothing in it was run"


def _is_entry(item: tuple[object, object]) -> bool:
    """Whether an item of a dict is a name and a plain tensor, no larger than its stored data."""
    key, value = item
    if not (isinstance(key, str) and isinstance(value, Tensor)) or value.is_nested:
        return False
    in_memory = value.layout == torch.strided and value.device.type == "cpu"
    return in_memory and value.nbytes <= value.untyped_storage().nbytes()


@contextmanager
def _sizes_of(file: _File) -> Iterator[None]:
    """Turn a specification's error about the sizes in ``file`` into an InputError."""
    try:
        yield
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"{file.label}: {reason}", _FOREIGN) from error


def _unet(file: _File, root: str) -> UNetSpec:
    """The specification of a U-Net. ``downs``: the input conv, then each level's blocks and Downsample."""
    base = file.width(f"{root}downs.0.weight")
    levels: list[list[int]] = [[]]
    attention = set()
    for index in range(1, file.entries(f"{root}downs")):
        entry = f"{root}downs.{index}"
        if f"{entry}.conv.weight" in file.tensors:
            levels.append([])
            continue
        levels[-1].append(file.width(f"{entry}.res_block.block1.block.3.weight"))
        if f"{entry}.attn.qkv.weight" in file.tensors:
            attention.add(len(levels) - 1)
    blocks = len(levels[0])
    regular = [[base * (level[0] // base)] * blocks for level in levels if level]
    if len(levels) != LEVELS or levels != regular:
        raise InputError(f"{file.label}: its levels have widths {levels} at base {base}", _FOREIGN)
    with _sizes_of(file):
        return UNetSpec(
            base=base,
            multipliers=tuple(level[0] // base for level in levels),
            blocks=blocks,
            norm_groups=UNET_GROUPS,
            attention_levels=tuple(sorted(attention)),
        )


def _guidance(file: _File) -> GuidanceSpec:
    """The specification of the extractors, which are alike. ``block``: the stem conv, then the blocks."""
    keys = (f"block.{k}.res_block.block1.block.3.weight" for k in range(1, file.entries("block")))
    stem, widths = file.width("block.0.weight"), tuple(file.width(key) for key in keys)
    with _sizes_of(file):
        return GuidanceSpec(stem=stem, widths=widths, norm_groups=EXTRACTOR_GROUPS)


def _convert(part: str, file: _File, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``file``'s tensors by our names. Raises InputError for the first that does not fit."""
    converted, used = {}, set(_SCHEDULE_BUFFERS if part == "denoiser" else ())
    for name, like in expected.items():
        key = official_key(part, name)
        tensor, where = file[key], f"{file.label}: {key}"
        if tensor.shape != like.shape:
            got, want = tuple(tensor.shape), tuple(like.shape)
            raise InputError(f"{where} is {got}, expected {want}", _FOREIGN)
        if tensor.dtype != like.dtype:
            raise InputError(f"{where} is {tensor.dtype}, expected {like.dtype}", _FOREIGN)
        if not torch.isfinite(tensor).all():
            raise InputError(f"{where} is not finite", "the training diverged; use an earlier one")
        converted[f"{part}.{name}"] = tensor.detach().clone(memory_format=torch.contiguous_format)
        used.add(key)
    if extra := sorted(file.tensors.keys() - used):
        raise InputError(f"{file.label}: unknown tensor {shown(extra[0])}", _FOREIGN)
    return converted


def _model_spec(name: str, network: NetworkSpec) -> ModelSpec:
    """The specification of the authors' inference: scale, schedule, sampler and clamp of their code."""
    try:
        return ModelSpec(
            name=name,
            description="Contrastive diffusion with auxiliary guidance (Han et al., MICCAI 2023), "
            f"the authors' weights, converted from files of {CODE}; not for diagnostic use",
            label="the authors' weights, converted; not for diagnostic use",
            network=network,
            # Siemens Quadra volumes of the Ultra-low Dose PET Imaging Challenge, cropped to 128^3.
            domain=DomainSpec(
                voxel_mm=(1.65, 1.65, 1.65), matrix=(128, 128), dose_fraction=0.01, tracer="FDG"
            ),
            scale=ScaleRule(kind="maximum"),
            sigma_r=1.0,
            clip=1.0,
            schedule=ScheduleSpec(kind="linear-beta", beta_start=1e-6, beta_end=0.5, timesteps=10),
            sampler=SamplerSpec(kind="ddpm", steps=10),
        )
    except ValidationError as error:
        hint = "use letters, digits, '.', '_' and '-'"
        raise UsageError(f"'{shown(name)}' is not a model name", hint) from error
