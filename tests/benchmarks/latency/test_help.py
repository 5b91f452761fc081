"""Help is told, not measured: nothing is written for it."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["compile_networks", "counters", "environment", "run"])
def test_help_is_told_and_nothing_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.latency.{name}").main(["--help"])
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
