"""The command line, with one file per command."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of ``petrt``. An error becomes one line on stderr and a documented exit code."""
    from petrt.cli.app import run

    sys.exit(run(sys.argv[1:]))
