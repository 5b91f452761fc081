"""A page, read as a browser reads it."""

from __future__ import annotations

import re
import shlex
from html import unescape
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "img", "br"}


class Document(HTMLParser):
    """Checks that tags are closed in order; keeps ids, links and the text outside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        if "id" in known and tag not in ("g", "path", "defs", "clipPath", "use"):
            self.ids.append(known["id"])
        self.links += [known[key] for key in ("src", "href") if key in known]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" not in self.open and "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def command_in(page: str) -> list[str]:
    """The command of petrt that a page names, as words after its name."""
    found = re.search(r"<pre>petrt (.*?)</pre>", page)
    assert found is not None
    return shlex.split(unescape(found.group(1)))
