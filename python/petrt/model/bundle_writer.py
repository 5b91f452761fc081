"""Writes a bundle with another ``model.json`` or in the newest version, without a new export."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import IO, Any

from petrt.errors import UsageError
from petrt.files.atomic import atomic_file, atomic_write_bytes
from petrt.files.folder import atomic_folder, check_folder
from petrt.files.outputs import check_output
from petrt.model.bundle import MANIFEST, VERSION, Bundle, file_entry, load_bundle, manifest_bytes
from petrt.model.network_file import to_files
from petrt.model.spec import ModelSpec


def check_bundle_output(out: Path, *, overwrite: bool = False) -> None:
    """Raise UsageError if a new bundle cannot be written to ``out``. To be called before any work."""
    if _is_archive(out):
        check_output(out, overwrite=overwrite)
    else:
        check_folder(out, replaces=MANIFEST if overwrite else None)


def check_in_place(source: str | Path) -> Path:
    """The path of a bundle, folder or .zip, whose model.json may be replaced.

    Raises UsageError for the name of a shipped model, which must not be changed.
    """
    path = Path(source)
    if not (path.is_file() or (path / MANIFEST).is_file()):
        raise UsageError(f"'{source}' is not a folder or .zip", "write a new bundle with -o")
    check_output(path if path.is_file() else path / MANIFEST, overwrite=True)
    return path


def write_bundle(
    bundle: Bundle,
    model: ModelSpec,
    out: Path,
    *,
    note: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write ``bundle`` with the specification ``model`` to ``out``, a .zip if it ends in .zip, else a folder.

    ``note`` is added to the manifest's ``export`` record. The bundle appears complete or not at all, and
    is read back and checked. Raises UsageError if ``out`` exists.
    """
    text = _manifest(bundle, model, note)
    if _is_archive(out):
        with atomic_file(out, overwrite=overwrite) as handle:
            _write_archive(handle, bundle, text)
    else:
        with atomic_folder(out, replaces=MANIFEST if overwrite else None) as folder:
            for name, data in bundle.files.items():
                (folder / name).write_bytes(data)
            (folder / MANIFEST).write_bytes(text)
    return load_bundle(out)


def upgraded(bundle: Bundle) -> Bundle:
    """A bundle of version 1 converted to the newest version: the same files, and the steps added.

    Raises UsageError if it has the newest version, InputError for ONNX that petrt did not write.
    """
    if bundle.manifest.version == VERSION:
        raise UsageError(f"{bundle.source} is of version {VERSION} already")
    files = dict(bundle.files)
    for graph in bundle.graphs:
        files[f"{graph}.json"], files[f"{graph}.safetensors"] = to_files(bundle.network(graph))
    entries = {name: file_entry(files[name]) for name in sorted(files)}
    manifest = bundle.manifest.model_copy(update={"version": VERSION, "files": entries})
    identity = hashlib.sha256(manifest_bytes(manifest)).hexdigest()
    return Bundle(manifest, files, identity, bundle.source)


def replace_model(
    bundle: Bundle, model: ModelSpec, path: Path, *, note: dict[str, Any] | None = None
) -> Bundle:
    """Replace the model.json of the bundle at ``path``, from which ``bundle`` was read.

    In a folder no other file changes; a .zip is written anew. After an interrupt the old bundle remains.
    """
    text = _manifest(bundle, model, note)
    if path.is_file():
        with atomic_file(path, overwrite=True) as handle:
            _write_archive(handle, bundle, text)
    else:
        atomic_write_bytes(path / MANIFEST, text, overwrite=True)
    return load_bundle(path)


def _manifest(bundle: Bundle, model: ModelSpec, note: dict[str, Any] | None) -> bytes:
    export = {**bundle.manifest.export, **(note or {})}
    return manifest_bytes(bundle.manifest.model_copy(update={"model": model, "export": export}))


def _write_archive(handle: IO[bytes], bundle: Bundle, manifest: bytes) -> None:
    """Write a .zip without times, so that equal content gives equal bytes."""
    with zipfile.ZipFile(handle, "w") as archive:
        for name, data in {MANIFEST: manifest, **bundle.files}.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)


def _is_archive(out: Path) -> bool:
    return out.suffix.lower() == ".zip"
