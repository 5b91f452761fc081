"""The addresses that follow from the repository's own."""

from __future__ import annotations

import re
from typing import Literal


class Repository:
    """A repository on GitHub or GitLab, also on a host of one's own that has such a name.

    Raises ValueError for another address: where its forge keeps files and issues is not known.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/").removesuffix(".git")
        # GitLab has groups within groups.
        forge = re.fullmatch(
            r"https://(?:[\w-]+\.)*(?:(github)\.[\w.-]+(?:/\w[\w.-]*){2}|gitlab\.[\w.-]+(?:/\w[\w.-]*){2,})",
            self.address,
        )
        if not forge:
            raise ValueError(f"{address}: not https://HOST/OWNER/NAME on a GitHub or GitLab")
        self._inside = self.address + ("" if forge[1] else "/-")

    def file(self, path: str, kind: Literal["blob", "raw"] = "blob") -> str:
        """The address of a file: its page, or as "raw" the file itself."""
        return f"{self._inside}/{kind}/HEAD/{path}"

    def project_urls(self) -> dict[str, str]:
        """By the labels that a package index knows."""
        return {
            "Homepage": self.address,
            "Documentation": self.file("docs/index.md"),
            "Source": self.address,
            "Issues": f"{self._inside}/issues",
            "Changelog": self.file("CHANGELOG.md"),
        }
