"""SHA-256 of files and folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The hash of a file's bytes, 64 hexadecimal digits, as ``sha256sum`` gives it. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def joined_sha256(hashes: Iterable[str]) -> str:
    """The hash of several files: of lines with their own hashes, in the given order."""
    return hashlib.sha256("".join(f"{each}\n" for each in hashes).encode("ascii")).hexdigest()


def output_sha256(path: Path) -> str:
    """The hash of an output: of a file its own, of a folder that of the hashes of its files in ascending
    order, so that names do not count. Raises OSError."""
    if not path.is_dir():
        return file_sha256(path)
    return joined_sha256(sorted(file_sha256(each) for each in path.rglob("*") if each.is_file()))
