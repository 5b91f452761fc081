"""The command line: one short file per command; this one holds what they share."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of ``petrt``: errors become one line on stderr and a documented exit code."""
    from petrt.cli.app import run

    sys.exit(run(sys.argv[1:]))
