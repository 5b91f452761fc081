"""Draws figures with Agg and matplotlib's defaults, so that equal input gives equal bytes.

matplotlib wants a writable folder for its settings and its list of fonts. A read-only container has none:
there it goes without.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_FOR_DIAGNOSIS = "not for diagnostic use"
DPI = 100


def png(draw: Callable[[], Figure], dpi: float | None = None) -> bytes:
    """The figure made by ``draw``, as PNG, at its own ``dpi`` or another. It needs no display, ignores user
    settings and has no date."""
    return _drawn(draw, {}, format="png", metadata={"Software": None}, dpi=dpi or "figure")


def svg(draw: Callable[[], Figure], settings: Mapping[str, Any]) -> str:
    """The same as SVG, drawn with matplotlib's ``settings``."""
    return _drawn(draw, settings, format="svg", metadata={"Date": None}).decode("utf-8")


def _drawn(draw: Callable[[], Figure], settings: Mapping[str, Any], **how: Any) -> bytes:
    matplotlib = import_matplotlib()
    with _quiet():  # this writes a list of fonts
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg

    with (
        matplotlib.rc_context(),
        style.context("default", after_reset=True),
        matplotlib.rc_context(dict(settings)),
    ):
        figure = draw()
        FigureCanvasAgg(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, **how)
    return buffer.getvalue()


def import_matplotlib() -> Any:
    """The package, also where no folder can be written."""
    with _quiet():
        try:
            import matplotlib
        except (OSError, RuntimeError):  # no writable folder, or no home folder
            matplotlib = _with_own_settings()
        for folder in ("get_configdir", "get_cachedir"):
            try:
                getattr(matplotlib, folder)()
            except (OSError, RuntimeError):
                nowhere = str(Path(matplotlib.get_data_path()) / "nowhere")
                setattr(matplotlib, folder, lambda nowhere=nowhere: nowhere)
    return matplotlib


def _with_own_settings() -> Any:
    """matplotlib with the settings that it comes with: it looks for no folder of the user's."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # of the import that failed half-way
    spec = importlib.util.find_spec("matplotlib")
    (home,) = (spec and spec.submodule_search_locations) or ("",)
    before = os.environ.get("MATPLOTLIBRC")
    os.environ["MATPLOTLIBRC"] = f"{home}/mpl-data/matplotlibrc"
    try:
        import matplotlib
    finally:
        if before is None:
            del os.environ["MATPLOTLIBRC"]
        else:
            os.environ["MATPLOTLIBRC"] = before
    return matplotlib


@contextmanager
def _quiet() -> Iterator[None]:
    """Without matplotlib's warnings about its folders, which a picture does not need."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def headed(title: str) -> str:
    """``title`` with the label of every picture."""
    return f"{title} ({NOT_FOR_DIAGNOSIS})" if title else NOT_FOR_DIAGNOSIS
