"""The index of a folder of reports, worst first."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from petrt.diffusion.dose import dose_text
from petrt.errors import UsageError, way
from petrt.evaluation.report import html
from petrt.evaluation.report.html import SUMMARY, Html, card, number, percent, signed, text
from petrt.files.atomic import atomic_write_bytes
from petrt.files.json_text import parsed
from petrt.files.names import shown

NAME = "index.html"
INDEX = "petrt-index"
HEAD_BYTES = 200_000  # of a page; the summary stands before its volumes


def check_index(folder: Path, *, overwrite: bool = False) -> None:
    """Raise UsageError if ``folder`` has an index.html that petrt did not make."""
    path = folder / NAME
    if os.path.lexists(path) and not overwrite and _content(path, INDEX) is None:
        raise UsageError(
            f"{shown(path)}: the file exists and is no index of reports",
            way("overwrite", "", "replaces it", "choose another folder"),
        )


def page_names(hashes: Sequence[str]) -> list[str]:
    """The names of the pages of cases by the SHA-256 of their inputs: file names may name patients. Equal
    inputs are numbered."""
    names: list[str] = []
    for digest in hashes:
        same = sum(each.startswith(_stem(digest)) for each in names)
        names.append(f"{_stem(digest)}{f'-{same + 1}' if same else ''}.html")
    return names


def is_page_of(path: Path, digest: str) -> bool:
    """Whether the file is a page of the input with this SHA-256, under a name that ``page_names`` gives. Such
    a one may be replaced, as may an index."""
    if not path.name.startswith(_stem(digest)) or not path.is_file():
        return False
    found = _content(path, SUMMARY)
    return found is not None and found.get("id") == digest[:12]


def is_page(path: Path) -> bool:
    """Whether the file is a page of a case."""
    return path.is_file() and _content(path, SUMMARY) is not None


def _stem(digest: str) -> str:
    return f"case-{digest[:12]}"


def write_index(
    folder: Path,
    names: Collection[str] | None = None,
    failed: Sequence[int | None] = (),
    *,
    overwrite: bool = False,
) -> Path:
    """Write the index of the reports in ``folder``, of all or those with these ``names``. ``failed``: exit
    codes of the cases that have no page. Raises UsageError for an index.html that petrt did not make."""
    check_index(folder, overwrite=overwrite)
    pages = sorted(path for path in folder.glob("*.html") if path.name != NAME)
    pages = [path for path in pages if names is None or path.name in names]
    found = [(path.name, _content(path, SUMMARY)) for path in pages]
    rows = [(name, summary) for name, summary in found if summary is not None]
    atomic_write_bytes(folder / NAME, index_page(rows, failed).encode(), overwrite=True)
    return folder / NAME


def index_page(
    rows: Sequence[tuple[str, dict[str, Any]]], failed: Sequence[int | None] = ()
) -> str:
    """The index of pages: each a link within the folder and the summary that the page holds.

    Cases that ``failed``, told by their exit codes, come first. Those with most warnings follow, those of
    unknown runs before those without a warning, then those that change the activity most. Cases are called
    by the hash of their input.
    """
    ordered = sorted(rows, key=lambda row: _badness(row[1]), reverse=True)
    warned = f"{sum(bool(summary['warnings']) for _, summary in rows)} with warnings"
    if unknown := sum(summary["warnings"] is None for _, summary in rows):
        warned += f", {unknown} without a record of the run: their warnings are unknown"
    if failed:
        warned = f"{len(failed)} failed, {warned}"
    psnr = any(summary.get("psnr_output") is not None for _, summary in rows)
    head = ["case", "warnings", "activity ratio", "maximum", "noise, input", "output", "dose"]
    head += ["PSNR, input", "output"] if psnr else []
    lines: list[list[object]] = [
        ["no page", f"failed, exit code {code}", *["–"] * (len(head) - 2)] for code in failed
    ]
    lines += [
        _row(number, link, summary, psnr) for number, (link, summary) in enumerate(ordered, 1)
    ]
    count = len(rows) + len(failed)
    cases = "1 case" if count == 1 else f"{count} cases"
    body = Html(
        f"<h1>{cases}</h1><p class='sub'>{warned}. The worst come first: failed, most warnings, then "
        f"the largest change of the activity.</p>{card('Cases', html.table(head, lines))}"
    )
    return html.page(f"petrt reports: {cases}", body, head=html.data(INDEX, {"cases": count}))


def _badness(summary: dict[str, Any]) -> tuple[float, float, float]:
    known = summary["warnings"]
    count = 0.5 if known is None else len(known)
    ratio, maximum = summary["activity_ratio"], summary["maximum_percent"]
    change = 1.0 if ratio is None else abs(ratio - 1)
    return count, change, abs(maximum or 0.0)


def _row(place: int, link: str, summary: dict[str, Any], psnr: bool) -> list[object]:
    name = " ".join(filter(None, (summary["id"] or f"case {place}", summary["frame"])))
    dose = summary["dose_fraction"]
    warned = summary["warnings"] or ()
    told = "?" if summary["warnings"] is None else len(warned) or "–"
    row: list[object] = [
        Html(f'<a href="{text(quote(link))}">{text(name)}</a>'),
        Html(f'<span title="{text(signed(" · ".join(warned)))}">{told}</span>'),
        number(summary["activity_ratio"]),
        percent(summary["maximum_percent"]),
        *(_share(summary[key]) for key in ("noise_input", "noise_output")),
        "–" if dose is None else dose_text(dose),
    ]
    if psnr:
        row += [number(summary.get(f"psnr_{name}")) for name in ("input", "output")]
    return row


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g} %"


def _content(path: Path, name: str) -> dict[str, Any] | None:
    """The JSON that a page holds under ``name``; None for any other file."""
    begin = f'id="{name}">'
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(HEAD_BYTES)
        content = parsed(head.partition(begin)[2].partition("</script>")[0])
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
