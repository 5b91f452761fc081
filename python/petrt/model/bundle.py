"""The bundle: a model ready to run. It holds up to three networks, noise-bias weights and ``model.json``.

In version 2 a network is stored as a list of steps with its weights (``petrt.model.network``), and also
as ONNX for other programs. Version 1 has ONNX only; its steps are read from that.

A bundle is a folder or a .zip of the same files. It is read into memory and checked against the sizes
and SHA-256 hashes of its manifest. Nothing is unpacked to disk, and no code in it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError

from petrt.arrays import mm_text
from petrt.errors import InputError, NonfiniteOutput, UsageError
from petrt.files.faults import first_fault
from petrt.files.json_text import parsed
from petrt.files.names import printable, shown
from petrt.files.system import reading
from petrt.model.spec import ModelSpec, Spec

if TYPE_CHECKING:
    from petrt.model.half_precision import Precision
    from petrt.model.network import Network

MANIFEST = "model.json"
NOISE_BIAS = "noise_bias.safetensors"
GOLDEN = "golden.safetensors"
GRAPHS = ("guidance", "coarse", "denoiser")
VERSION: Literal[2] = 2
# Bundle version -> the files of one network.
SUFFIXES = {1: (".onnx",), 2: (".onnx", ".json", ".safetensors")}
KNOWN = frozenset(
    {NOISE_BIAS, GOLDEN, *(graph + suffix for graph in GRAPHS for suffix in SUFFIXES[VERSION])}
)

# The paper's model has 137 MB in fp32. A file 15 times as large is a mistake or an attack.
MAX_BYTES = 2 << 30
MAX_MANIFEST_BYTES = 1 << 20

SHIPPED = Path(__file__).parents[1] / "models"

# (name, limit) -> the file's content, at most its first limit + 1 bytes.
Reader = Callable[[str, int], bytes]


class FileEntry(Spec):
    """Size and hash of one file of the bundle."""

    bytes: int = Field(ge=0, le=MAX_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def file_entry(data: bytes) -> FileEntry:
    """The entry of a file that holds ``data``."""
    return FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


class Manifest(Spec):
    """``model.json``. ``export`` records how the files were made and the errors measured at export."""

    format: Literal["petrt-bundle"] = "petrt-bundle"
    version: Literal[1, 2] = VERSION
    model: ModelSpec
    files: dict[str, FileEntry]
    export: dict[str, Any] = Field(default_factory=dict)


def noise_bias_table(
    weights: Mapping[str, NDArray[Any]], levels: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The bias that each timestep adds inside the denoiser: [steps, channels] (method.md section 4, item 3).

    ``levels`` [steps] is sqrt(gamma). The level is encoded as sin and cos of ``l * frequencies``, then
    Linear, SiLU, Linear, then the Linear layers of all blocks. Computed in float64, rounded once.
    """
    w = {key: value.astype(np.float64) for key, value in weights.items()}
    angles = levels[:, None] * w["frequencies"][None]
    h = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    h = h @ w["mlp.0.weight"].T + w["mlp.0.bias"]
    h = h / (1.0 + np.exp(-h))
    h = h @ w["mlp.1.weight"].T + w["mlp.1.bias"]
    return (h @ w["film.weight"].T + w["film.bias"]).astype(np.float32)


@dataclass(frozen=True, repr=False)
class Bundle:
    """A checked bundle in memory, as ``petrt.load_bundle`` gives it.

    ``manifest``: what ``model.json`` says. ``files``: the content of every other file, by name. ``identity``:
    SHA-256 of the manifest, which holds all files' hashes, so it tells one model from any other. ``source``:
    what it was loaded by, a path or a name. ``shipped``: the name of the shipped model that it is, "" for any
    other. A Reconstructor takes a bundle in the place of a path.
    """

    manifest: Manifest
    files: dict[str, bytes]
    identity: str
    source: str
    shipped: str = ""

    @property
    def model(self) -> ModelSpec:
        """What determines the images besides the weights: networks, domain, scale, schedule and sampler."""
        return self.manifest.model

    def __repr__(self) -> str:
        model = self.model
        parts = [
            repr(printable(model.name)),
            " + ".join(self.graphs),
            mm_text(model.domain.voxel_mm),
            f"sha256 {self.identity[:12]}",
        ]
        return f"Bundle({', '.join(parts)})"

    @cached_property
    def _checked(self) -> set[str]:
        """Names of the networks whose ONNX was checked."""
        return set()

    @property
    def graphs(self) -> tuple[str, ...]:
        """The names of this model's networks (guidance, coarse, denoiser) in the order of computation."""
        return tuple(graph for graph in GRAPHS if f"{graph}.onnx" in self.files)

    def network(self, graph: str) -> Network:
        """The network named ``graph``, one of ``graphs``, as steps with their weights; parsed at each call.

        Raises InputError if it is invalid.
        """
        if self.manifest.version == 1:
            from petrt.model.from_onnx import read_onnx

            return read_onnx(self.files[f"{graph}.onnx"], graph)
        from petrt.model.network_file import from_files

        text, weights = (self.files[graph + suffix] for suffix in (".json", ".safetensors"))
        return from_files(graph, text, weights, self.source)

    def onnx(self, graph: str, precision: Precision = "fp32") -> bytes | None:
        """The serialised ONNX model of the network ``graph``; None if this model has no such network.

        In 16 bit it is written from the steps. Raises InputError for weights beyond the range of the
        precision, and for a file that is not a self-contained ONNX model.
        """
        if graph not in self.graphs:
            return None
        if precision != "fp32":
            from petrt.model.to_onnx import onnx_bytes

            return onnx_bytes(self.network(graph), precision)
        data = self.files[f"{graph}.onnx"]
        if graph not in self._checked:
            check_onnx(data, f"{self.source}: {graph}.onnx")
            self._checked.add(graph)
        return data

    def noise_bias(self, levels: NDArray[np.float64]) -> NDArray[np.float32]:
        """The noise-bias table [steps, channels] float32 for ``levels`` [steps], sqrt(gamma) in (0, 1].

        It is what each step of the sampler adds to the channels of the denoiser's blocks. Raises
        NonfiniteOutput if it is not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # judged below
            table = noise_bias_table(self.noise_bias_weights(), levels)
        if bad := table.size - int(np.count_nonzero(np.isfinite(table))):
            raise NonfiniteOutput(
                f"model '{shown(self.model.name)}': non-finite output from its noise-bias weights",
                "the model is broken; export it again",
                bad,
            )
        return table

    def noise_bias_weights(self) -> dict[str, NDArray[Any]]:
        """The weights that ``noise_bias`` is computed from, by name; empty if the model has no denoiser.

        Raises InputError for a file that cannot be read.
        """
        return _tensors(self.files[NOISE_BIAS], self.source) if NOISE_BIAS in self.files else {}

    def golden(self) -> dict[str, NDArray[Any]]:
        """Inputs and outputs recorded at export, named ``graph/in/name`` and ``graph/out/name``.

        Raises KeyError for a bundle without them, InputError for a file that cannot be read.
        """
        return _tensors(self.files[GOLDEN], self.source)


def load_bundle(source: str | Path) -> Bundle:
    """Read and check a bundle: a folder, a .zip, or the name of a model shipped with petrt.

    Raises InputError for anything missing, altered, unknown, unsafe or unreadable.
    """
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"model is a {type(source).__name__}", "give a path or a name")
    with reading(Path(source)):
        return _load(source)


def _load(source: str | Path) -> Bundle:
    path = Path(source)
    shipped = SHIPPED / str(source)
    # A folder named "demo" without a bundle in it does not hide the shipped model of that name.
    local = path.is_file() or (path / MANIFEST).is_file()
    if not local and path.name == str(source) and (shipped / MANIFEST).is_file():
        path = shipped
    if path.is_dir():
        read = _directory_reader(path)
    elif path.is_file():
        read = _archive_reader(path)
    else:
        raise InputError(
            f"no model '{source}'",
            f"give a bundle, or a shipped model: {', '.join(shipped_models())}",
        )
    text = read(MANIFEST, MAX_MANIFEST_BYTES)
    manifest = _parse_manifest(text, path)
    files = {}
    for name, entry in manifest.files.items():
        data = read(name, entry.bytes)
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise InputError(
                f"{path}: {name} ({len(data)} bytes) is not the file of its manifest "
                f"({entry.bytes} bytes, sha256 {entry.sha256[:12]}…)",
                "copy or export the bundle again",
            )
        files[name] = data
    name = path.name if path.parent == SHIPPED else ""
    bundle = Bundle(manifest, files, hashlib.sha256(text).hexdigest(), str(source), name)
    for graph in bundle.graphs:  # checked now; the ONNX of version 2 is checked on first use
        if manifest.version == 1:
            bundle.onnx(graph)
        else:
            bundle.network(graph)
    return bundle


def shipped_models() -> list[str]:
    """Names of the models inside the package."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{MANIFEST}"))


def write_manifest(directory: Path, model: ModelSpec, export: dict[str, Any]) -> Manifest:
    """Hash the bundle's files in ``directory`` and write ``model.json`` beside them."""
    files = {}
    for name in sorted(KNOWN):
        if (directory / name).is_file():
            files[name] = file_entry((directory / name).read_bytes())
    manifest = Manifest(model=model, files=files, export=export)
    (directory / MANIFEST).write_bytes(manifest_bytes(manifest))
    return manifest


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of ``model.json``."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, allow_nan=False)
    return f"{text}\n".encode()


def _parse_manifest(text: bytes, path: Path) -> Manifest:
    try:
        raw = parsed(text)
        if isinstance(raw, dict) and raw.setdefault("version", 1) not in tuple(SUFFIXES):
            raise InputError(
                f"{path}: bundle version {raw['version']}, this petrt reads versions 1 and 2",
                "update petrt",
            )
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        fault = first_fault(error, Manifest)
        raise InputError(f"{path}: {MANIFEST}: {fault}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {MANIFEST} is not JSON") from error
    network, listed = manifest.model.network, set(manifest.files)
    graphs = {graph for graph in GRAPHS if f"{graph}.onnx" in listed}
    graphs |= {"guidance"} if network.denoiser or network.guide_count else set()
    graphs |= {"coarse"} if network.coarse else set()
    graphs |= {"denoiser"} if network.denoiser else set()
    wanted = {graph + suffix for graph in graphs for suffix in SUFFIXES[manifest.version]}
    wanted |= {NOISE_BIAS} if network.denoiser else set()
    if wanted - listed or listed - wanted - {NOISE_BIAS, GOLDEN}:
        raise InputError(
            f"{path}: {MANIFEST} lists {sorted(listed)}, "
            f"a bundle of this model holds {sorted(wanted)}"
        )
    return manifest


def _directory_reader(path: Path) -> Reader:
    def read(name: str, limit: int) -> bytes:
        file = path / name
        if not file.is_file():
            raise InputError(f"{path} is not a petrt model: no {name}")
        with file.open("rb") as stream:
            return stream.read(limit + 1)

    return read


def _archive_reader(path: Path) -> Reader:
    """Check the names and kinds of all members first. Members are then read by name."""
    try:
        archive = zipfile.ZipFile(path)
        members = archive.infolist()
    except PermissionError:  # load_bundle says so
        raise
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{path} is not a petrt model: neither a folder nor a .zip") from error
    names = [member.filename for member in members]
    for member in members:
        if member.filename not in KNOWN | {MANIFEST}:
            raise InputError(f"{path}: unexpected member {member.filename!r}")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{path}: member {member.filename!r} is neither stored nor deflated")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{path}: member {member.filename!r} is a link")
    if len(set(names)) != len(names):
        raise InputError(f"{path}: a member appears twice")
    if MANIFEST not in names:
        raise InputError(f"{path} is not a petrt model: no {MANIFEST}")

    def read(name: str, limit: int) -> bytes:
        if name not in names:
            raise InputError(f"{path}: no {name}")
        try:
            # The manifest limits the size, not the archive's own table.
            with archive.open(name) as stream:
                return stream.read(limit + 1)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
            raise InputError(f"{path}: {name} cannot be read: {error}") from error

    return read


def _tensors(data: bytes, source: str) -> dict[str, NDArray[Any]]:
    try:
        return safetensors.numpy.load(data)
    except SafetensorError as error:
        raise InputError(f"{source}: broken safetensors file: {error}") from error


def check_onnx(data: bytes, where: str) -> None:
    """Raise InputError unless ``data`` is a non-empty ONNX model with all its tensors inside.

    ``onnx.load`` accepts an empty file, and ONNX Runtime follows external data out of the folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise InputError(f"{where} is not an ONNX model") from error
    if not model.graph.node:
        raise InputError(f"{where} is an empty ONNX model")
    for tensor in _onnx_tensors(model.graph):
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise InputError(f"{where} keeps tensor {tensor.name!r} in another file")


def _onnx_tensors(graph: Any) -> list[Any]:
    found = list(graph.initializer)
    found += [t for sparse in graph.sparse_initializer for t in (sparse.values, sparse.indices)]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            found += attribute.tensors
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                found += _onnx_tensors(inner)
    return found
