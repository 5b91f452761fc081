"""Draws figures with Agg and matplotlib's defaults, so that equal input gives equal bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_FOR_DIAGNOSIS = "not for diagnostic use"
DPI = 100


def png(draw: Callable[[], Figure]) -> bytes:
    """The figure made by ``draw``, as PNG. It needs no display, ignores user settings and has no date."""
    import matplotlib
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context(), style.context("default", after_reset=True):
        figure = draw()
        FigureCanvasAgg(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def headed(title: str) -> str:
    """``title`` with the label of every picture."""
    return f"{title} ({NOT_FOR_DIAGNOSIS})" if title else NOT_FOR_DIAGNOSIS
