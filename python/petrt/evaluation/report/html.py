"""Pieces of HTML: every text that goes in is escaped here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from petrt import _core
from petrt.files.names import printable

SUMMARY = "petrt-summary"  # the element of a page that an index is made from


class Html(str):
    """Markup that is safe as it is; any other text is escaped on its way into a page."""


def text(value: object) -> Html:
    """``value`` as text of a page."""
    return value if isinstance(value, Html) else Html(escape(printable(str(value))))


def card(title: str, body: str, note: object = "", kind: str = "") -> Html:
    """A box of a page with its heading, an explanation, and ``body``, which is markup."""
    said = f'<p class="note">{text(note)}</p>' if note else ""
    return Html(f'<section class="card {kind}"><h2>{text(title)}</h2>{said}{body}</section>')


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """A table; the first column holds names."""
    cells = "".join(f'<th scope="col">{text(each)}</th>' for each in head)
    lines = ("".join(f"<td>{text(each)}</td>" for each in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return Html(
        f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def listed(pairs: Iterable[tuple[str, object]]) -> Html:
    """Names with their values; those without a value are left out."""
    known = [(name, value) for name, value in pairs if value not in (None, "")]
    return Html(
        f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in known)}</dl>"
    )


def tile(name: str, value: object, more: object = "") -> Html:
    """One large number."""
    return Html(
        f'<div class="tile"><div class="name">{text(name)}</div><div class="value">{text(value)}</div>'
        f'<div class="more">{text(more)}</div></div>'
    )


def data(name: str, content: Any) -> Html:
    """JSON that scripts of the page, and petrt itself, find by ``name``."""
    plain = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{name}">{plain}</script>')


def asset(name: str) -> str:
    """A file that is inlined into pages."""
    return (files("petrt.evaluation.report") / "assets" / name).read_text(encoding="utf-8")


def page(title: str, body: str, *, head: str = "", content: str = "", scripts: str = "") -> str:
    """A whole page, self-contained: its Content-Security-Policy lets it load nothing from anywhere.

    ``head``: what programs read first; ``content``: volumes; ``scripts``: what runs.
    """
    footer = (
        f"petrt {_core.__version__}. Not for diagnostic use. "
        "This page is self-contained: it loads nothing from a network and sends nothing."
    )
    return Template(asset("page.html")).substitute(
        version=text(_core.__version__),
        title=text(title),
        style=asset("page.css"),
        body=body,
        footer=text(footer),
        head=head,
        data=content,
        scripts=scripts,
    )


def number(value: float | None, digits: int = 4) -> str:
    """``value`` with ``digits`` significant digits and no exponent in usual sizes; a dash for None."""
    if value is None:
        return "–"
    if value != 0 and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{float(f'{value:.{digits}g}'):.15g}".replace("-", "−")


def fixed(value: float | None, digits: int = 0) -> str:
    """``value`` with ``digits`` decimals, and no minus before 0; a dash for None."""
    # A rounded value may be -0.0; adding 0.0 makes it 0.0.
    return "–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def signed(words: str) -> str:
    """``words`` with the sign of a minus before numbers."""
    return re.sub(r"(?<!\S)-(?=\d)", "−", words)


def percent(value: float | None) -> str:
    """A signed change in per cent."""
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")
