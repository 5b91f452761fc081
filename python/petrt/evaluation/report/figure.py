"""What every picture shares: Agg, matplotlib's own defaults, equal bytes for equal input."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_FOR_DIAGNOSIS = "not for diagnostic use"
DPI = 100


def png(draw: Callable[[], Figure]) -> bytes:
    """The figure that ``draw`` makes as a PNG file's content: no display, no user settings, no date."""
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
    """``title`` with the label that every picture carries."""
    return f"{title} ({NOT_FOR_DIAGNOSIS})" if title else NOT_FOR_DIAGNOSIS
