"""Bundles that are changed by hand."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from petrt.model.bundle import MANIFEST


def rewrite(bundle: Path, name: str, data: bytes) -> None:
    """Replace a file and make the manifest agree, as somebody with bad intent would."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / MANIFEST).read_text())
    digest = hashlib.sha256(data).hexdigest()
    manifest["files"][name] = {"bytes": len(data), "sha256": digest}
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def zipped(bundle: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(bundle.iterdir()):
            archive.write(file, file.name)
    return target
