"""The README as a description that reads well outside the repository, as on a package index."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

from PIL import Image

WIDTH = 800  # pixels of a picture that is part of the text
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_MERMAID = re.compile(r"^```mermaid\n.*?^```\n", re.DOTALL | re.MULTILINE)


def outside(text: str, root: Path, repository: str = "") -> str:
    """``text`` of a Markdown file in ``root`` without what only the repository can resolve.

    With the address of a ``repository``, links and pictures lead there. Without, a picture is part of the
    text (a data URI) and a link is its words.
    """

    def absolute(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if re.match(r"https?://|#|data:", target):
            return found[0]
        if repository:
            kind = "raw" if picture else "blob"
            return f"{picture}[{words}]({repository.rstrip('/')}/{kind}/HEAD/{target})"
        return f"![{words}]({embedded(root / target)})" if picture else words

    return _LINK.sub(absolute, _MERMAID.sub("", text))


def embedded(path: Path) -> str:
    """The picture at ``path`` as a data URI, at most WIDTH pixels wide."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    if small.width > WIDTH:
        small = small.resize(
            (WIDTH, round(small.height * WIDTH / small.width)), Image.Resampling.LANCZOS
        )
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
