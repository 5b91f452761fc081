"""``python -m petrt`` is the command ``petrt``."""

from petrt.cli import main

main()
