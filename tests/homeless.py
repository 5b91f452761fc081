"""A user whom the system does not know, as in a container that runs under a number."""

from __future__ import annotations

import pwd

import pytest


def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``setpriv --reuid 12345 env -u HOME``: neither a variable nor an entry for the user id."""

    def unknown(_: int) -> None:
        raise KeyError

    for name in ("HOME", "PETRT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
