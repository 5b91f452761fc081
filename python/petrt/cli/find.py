"""Finds the inputs of ``petrt reconstruct``: files, folders and globs; a folder of DICOM files is one input.

Nothing that looks like an input is passed over in silence: hidden files are counted, a link whose file is
absent is a case (which fails), and an input that matches nothing is an error.
"""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from petrt.errors import InputError, UsageError
from petrt.files.names import printable, shown
from petrt.files.system import reading

logger = logging.getLogger("petrt")

# Names that are inputs. An .img file is read through its .hdr.
SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
# A folder's folders are looked through as far as this many names, to say what is in them.
MOST_LOOKED_AT = 20_000


def find(inputs: Sequence[Path]) -> tuple[list[Path], bool]:
    """The files named by ``inputs``, and whether several were asked for: by a folder, a glob, or many.

    Raises InputError for an input that matches nothing.
    """
    found: list[Path] = []
    several = len(inputs) > 1
    for entry in inputs:
        if entry.is_dir() and is_one_dicom(entry):
            found.append(entry)
        elif entry.is_dir():
            several = True
            found += _in_folder(entry)
        elif not os.path.lexists(entry) and glob.has_magic(str(entry)):
            several = True
            found += _matching(entry)
        elif os.path.lexists(entry):
            found.append(entry)
        else:
            raise InputError(f"{shown(entry)}: no such file", "check the path")
    return list(dict.fromkeys(found)), several


def each_series(
    sources: Sequence[Path], wanted: Sequence[str] | None, every: bool
) -> tuple[list[Path], list[str | None]]:
    """The sources once for each series that is asked for, and its UID; None for NIfTI, and where none is.

    ``wanted``: the series of --series, ``every``: --all-series. Raises UsageError for both, and InputError
    if one of ``wanted`` is in no source.
    """
    from petrt.io.dicom.series import series_uids
    from petrt.io.source import among_several, is_dicom

    if wanted and every:
        raise UsageError("both --series and --all-series are given", "give one of them")
    if not (wanted or every):
        return list(sources), [None] * len(sources)
    pairs: list[tuple[Path, str | None]] = []
    for path in sources:
        if not is_dicom(path):
            pairs.append((path, None))
            continue
        meant = wanted if wanted and len(sources) == 1 else among_several(path, wanted)
        pairs += [(path, uid) for uid in series_uids(path, meant)]
    absent = sorted(set(wanted or ()) - {uid for _, uid in pairs if uid})
    if absent:
        raise InputError(
            f"--series {printable(absent[0])}: no such series",
            "petrt inspect lists those of a folder",
        )
    return [source for source, _ in pairs], [uid for _, uid in pairs]


def is_one_dicom(path: Path) -> bool:
    """Whether a folder or file is one DICOM input. A folder is, if no NIfTI file is in it, but DICOM files in
    it or below."""
    from petrt.io.source import is_dicom, is_dicom_folder

    if not path.is_dir():
        return is_dicom(path)
    with reading(path):
        if any(_is_case(each) and not _hidden(each) for each in path.iterdir()):
            return False
    return is_dicom_folder(path)


def _in_folder(folder: Path) -> list[Path]:
    """The NIfTI files of a folder, not of its folders."""
    with reading(folder):
        entries = sorted(folder.iterdir())
        found = [path for path in entries if _is_case(path) and not _hidden(path)]
    _say_hidden(path for path in entries if _hidden(path) and _is_case(path))
    below = _below(path for path in entries if path.is_dir() and not path.is_symlink())
    everywhere = f"'{printable(str(folder / '**' / '*.nii.gz'))}' in quotes takes them, too"
    if not found:
        raise InputError(
            f"{shown(folder)}: no NIfTI or DICOM file in this folder{below and f', but {below}'}",
            everywhere if below else f"files end in {', '.join(SUFFIXES)}",
        )
    if below:
        logger.warning("warning: %s: left out: %s; %s", shown(folder), below, everywhere)
    return found


def _matching(pattern: Path) -> list[Path]:
    """The NIfTI files that a glob matches; ``**`` stands for any folders, upper and lower case of the
    suffix are alike."""
    with reading(pattern):
        matches = [
            Path(each) for each in sorted(glob.glob(_any_case(str(pattern)), recursive=True))
        ]
        wants_hidden = pattern.name.startswith(".")
        found = [path for path in matches if _is_case(path, pattern.suffix.lower() == ".img")]
        if not wants_hidden:
            _say_hidden(_hidden_beside(found, _any_case(pattern.name)))
    if not found and "**" not in pattern.parts:
        found = [path for path in matches if not _hidden(path) and is_one_dicom(path)]
    if not found:
        what = f", but {len(matches)} other files or folders" if matches else ""
        raise InputError(
            f"{shown(pattern)}: matches no NIfTI file and no DICOM{what}",
            f"files end in {', '.join(SUFFIXES)}",
        )
    if others := sum(not path.is_dir() for path in matches) - len(found):
        logger.info("%s: %d other files are left out", shown(pattern), others)
    return found


def _is_case(path: Path, pairs: bool = False) -> bool:
    """Whether this is a NIfTI file by its name, or a link by such a name whose file is absent."""
    wanted = (*SUFFIXES, ".img", ".img.gz") if pairs else SUFFIXES
    if not path.name.lower().endswith(wanted):
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def _hidden(path: Path) -> bool:
    """Also the files "._name" that macOS puts beside "name" on foreign disks, with no image in them."""
    return path.name.startswith(".")


def _say_hidden(paths: Iterable[Path]) -> None:
    if hidden := [shown(path) for path in paths]:
        more = f" and {len(hidden) - 3} more" if len(hidden) > 3 else ""
        logger.info("hidden files are left out: %s%s", ", ".join(hidden[:3]), more)


def _hidden_beside(found: Iterable[Path], pattern: str) -> Iterator[Path]:
    """Hidden NIfTI files that ``pattern`` would match, in the folders of ``found``."""
    for folder in dict.fromkeys(path.parent for path in found):
        for path in sorted(folder.iterdir()):
            if _hidden(path) and fnmatch.fnmatchcase(path.name, pattern) and _is_case(path):
                yield path


def _any_case(pattern: str) -> str:
    """``pattern`` with its suffix in any case: x*.nii -> x*.[nN][iI][iI]."""
    suffix = next(
        (
            s
            for s in (".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img", ".gz")
            if pattern.lower().endswith(s)
        ),
        "",
    )
    both = (f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in suffix)
    return pattern[: len(pattern) - len(suffix)] + "".join(both)


def _below(folders: Iterable[Path]) -> str:
    """What NIfTI files lie in ``folders`` and theirs, in words; empty if there are none."""
    files, looked_at = 0, 0
    for folder in folders:
        for _, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if not name.startswith(".")]
            files += sum(n.lower().endswith(SUFFIXES) and not n.startswith(".") for n in names)
            looked_at += len(names) + len(inner) + 1
            if looked_at > MOST_LOOKED_AT:
                return f"at least {files} in its folders" if files else ""
    return f"{files} in its folders" if files else ""
