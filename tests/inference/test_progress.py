"""Progress bars: where somebody looks on, and nowhere else."""

from __future__ import annotations

import io
import re
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from petrt.errors import UsageError, speak_of
from petrt.inference import notebook
from tests.models import Reconstructor, noisy_blob

SHAPE = (16, 24, 5)


@pytest.fixture(scope="module")
def run(tiny_bundle) -> Reconstructor:
    return Reconstructor(tiny_bundle, samples=2, steps=1, threads=1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def attach(monkeypatch) -> Callable[[], Terminal]:
    """Makes stderr a terminal; to be called in the test, since pytest replaces stderr before it."""
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def attached() -> Terminal:
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return attached


@pytest.fixture
def page(monkeypatch) -> list[str]:
    """The output of a notebook's cell, one entry a change; this process is a kernel."""
    shown: list[str] = []

    class Handle:
        def update(self, each: str) -> None:
            shown.append(each)

    def display(each: str, display_id: bool) -> Handle:
        assert display_id
        shown.append(each)
        return Handle()

    package, screen = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    for module, names in (
        (package, {"get_ipython": lambda: types.SimpleNamespace(kernel=object())}),
        (screen, {"HTML": str, "display": display}),
    ):
        for name, value in names.items():
            setattr(module, name, value)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(notebook, "EVERY_S", 0.0)
    return shown


def test_a_notebook_has_a_bar_that_goes(run, page):
    run(noisy_blob(SHAPE))
    counts = [re.search(r"(\d+) of (\d+) slices", each) for each in page[1:-1]]
    assert [int(each[1]) for each in counts if each][-1] == SHAPE[2]
    assert {each[2] for each in counts if each} == {str(SHAPE[2])}
    assert all("<progress" in each for each in page[:-1])
    assert page[-1] == ""


def test_a_bar_stays_where_something_failed(run, page, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(run._frames, "frame", fail)
    with pytest.raises(RuntimeError, match="broken"):
        run(noisy_blob(SHAPE))
    assert "<progress" in page[-1]


def test_a_notebook_without_a_bar(run, page):
    run(noisy_blob(SHAPE), progress=False)
    told: list[tuple[int, int]] = []
    run(noisy_blob(SHAPE), progress=lambda *each: told.append(each))
    assert told[-1] == (SHAPE[2], SHAPE[2])
    speak_of(())  # a command runs, which has its own bar
    try:
        run(noisy_blob(SHAPE))
    finally:
        speak_of(None)
    assert page == []


def test_a_script_has_no_bar(run, attach):
    terminal = attach()
    assert not notebook.in_notebook()
    run(noisy_blob(SHAPE))
    assert terminal.getvalue() == ""


def test_a_prompt_on_a_terminal_has_one(run, attach, monkeypatch):
    terminal = attach()
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    run(noisy_blob(SHAPE))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert f"{SHAPE[2]}/{SHAPE[2]} slices" in plain
    before = terminal.getvalue()
    run(noisy_blob(SHAPE), progress=False)
    assert terminal.getvalue() == before


def test_a_prompt_elsewhere_has_none(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    run(noisy_blob(SHAPE))
    run(noisy_blob(SHAPE), progress=True)
    assert capsys.readouterr().err == ""


def test_a_script_may_ask_for_one(run, attach):
    terminal = attach()
    run(noisy_blob(SHAPE), progress=True)
    assert "slices" in terminal.getvalue()


def test_what_is_no_function_is_refused(run):
    with pytest.raises(UsageError, match="progress is a str"):
        run(noisy_blob(SHAPE), progress="yes")
