"""The error-versus-std plot: one file, labelled, the same for the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from petrt.errors import InputError
from petrt.evaluation.calibration import ErrorBin
from petrt.evaluation.report import figure
from petrt.evaluation.report.uncertainty import save_error_plot

LINE = [ErrorBin(0.01 * i, 0.02 * i, 0.25) for i in range(1, 5)]


def test_curves_become_one_labelled_picture(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    save_error_plot(tmp_path / "a.png", {"samples": LINE, "calibrated": LINE}, title="8 subjects")
    (axes,) = drawn[0].axes
    samples, calibrated, identity = axes.lines
    assert [line.get_label() for line in axes.lines] == ["samples", "calibrated", "error = std"]
    np.testing.assert_allclose(samples.get_xdata(), [1, 2, 3, 4])  # per cent
    np.testing.assert_allclose(calibrated.get_ydata(), [2, 4, 6, 8])
    np.testing.assert_allclose(identity.get_xdata(), identity.get_ydata())
    assert axes.get_title() == f"8 subjects ({figure.NOT_FOR_DIAGNOSIS})"


@pytest.mark.parametrize("curves", [{}, {"samples": []}])
def test_nothing_to_show_leaves_no_file(tmp_path, curves):
    with pytest.raises(InputError, match="at least one curve"):
        save_error_plot(tmp_path / "a.png", curves)
    assert not list(tmp_path.iterdir())
