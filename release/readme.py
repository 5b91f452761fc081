"""The README as a description that reads well outside the repository, as on a package index."""

from __future__ import annotations

import re

from repository import Repository

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https:)[^)\s]+\)\n\n", re.MULTILINE)


def outside(text: str, repository: Repository | None = None) -> str:
    """``text``, the README's Markdown, without what only the repository can resolve.

    With a ``repository``, links and pictures lead there. Without, a link is its words, and a picture goes:
    an index shows only those with an https address, and drops data URIs.
    """

    def absolute(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if re.match(r"https?://|#", target):
            return found[0]
        if not repository:
            return words
        return f"{picture}[{words}]({repository.file(target, 'raw' if picture else 'blob')})"

    return _LINK.sub(absolute, text if repository else _PICTURE.sub("", text))
