"""The comparison picture: right size, right way round, equal bytes, whole or not at all."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.image import AxesImage, imread
from matplotlib.patches import Ellipse
from matplotlib.text import Text
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from petrt.errors import InputError, UsageError
from petrt.evaluation.report import picture as picture_module
from petrt.evaluation.report.case import next_step
from petrt.evaluation.report.figure import DPI
from petrt.evaluation.report.picture import Panel, comparison, comparison_png, save_comparison
from petrt.evaluation.report.planes import FOOTER, HEADER, MAX_INCHES, MIN_INCHES, WIDTH_PX

SHAPE = (16, 20, 12)
AFFINE = np.array([[2.0, 0, 0, -16], [0, 2, 0, -20], [0, 0, 4, -24], [0, 0, 0, 1]])


def volume(at=(8, 10, 6)) -> np.ndarray:
    """Zero but for a hot block of 2^3 voxels whose lower corner is ``at``."""
    data = np.zeros(SHAPE, np.float32)
    data[tuple(slice(i, i + 2) for i in at)] = 100.0
    return data


def planes(picture: np.ndarray, column: int, columns: int) -> list[np.ndarray]:
    """The axial, coronal and sagittal plane of one column as grey values."""
    x, y, z = (n * mm for n, mm in zip(SHAPE, (2, 2, 4), strict=True))
    pixel_per_mm = WIDTH_PX / columns / max(x, y)
    edges = np.round(HEADER * DPI + pixel_per_mm * np.cumsum([0, y, z, z])).astype(int)
    width = WIDTH_PX // columns
    grey = picture[:, column * width : (column + 1) * width, :3].mean(-1)
    return [grey[top:bottom] for top, bottom in itertools.pairwise(edges)]


def dark_centre(panel: np.ndarray) -> tuple[float, float]:
    """Centre of the black pixels as fractions from the left and from the top."""
    rows, columns = np.nonzero(panel < 0.1)
    return columns.mean() / panel.shape[1], rows.mean() / panel.shape[0]


def test_size_and_columns(tmp_path):
    data = volume()
    columns = comparison(data, data, reference=data, uncertainty=data)
    names = ["input", "output", "full dose", "output - full dose", "std of the samples"]
    assert list(columns) == names
    calibrated = comparison(data, data, uncertainty=data, calibrated=True)
    assert list(calibrated)[-1] == "uncertainty (calibrated std)"
    assert list(comparison(data, data)) == ["input", "output", "output - input"]
    path = tmp_path / "a.png"
    save_comparison(path, columns, affine=AFFINE, title="a $title$ [with] marks_x", unit="kBq/ml")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = imread(path)
    height = (HEADER + FOOTER) * DPI + WIDTH_PX / 5 / 40 * (40 + 48 + 48)
    assert picture.shape[1] == WIDTH_PX
    assert picture.shape[0] == pytest.approx(height, abs=1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_right_is_left_and_up_is_up(tmp_path):
    """A hot spot at the patient's right, front and top; RAS indices rise to right, front, top."""
    path = tmp_path / "a.png"
    spot = volume((11, 15, 9))
    save_comparison(path, {"low": 0 * spot, "out": spot, "same": spot, "b": spot}, affine=AFFINE)
    for column in (1, 2, 3):
        axial, coronal, sagittal = planes(imread(path), column, 4)
        # The spot's centre is at 12/16 of x, 16/20 of y, 10/12 of z. x is 32 mm in a 40 mm column.
        assert dark_centre(axial) == pytest.approx((0.1 + 0.8 * 4 / 16, 4 / 20), abs=0.03)
        assert dark_centre(coronal) == pytest.approx((0.1 + 0.8 * 4 / 16, 2 / 12), abs=0.03)
        assert dark_centre(sagittal) == pytest.approx((4 / 20, 2 / 12), abs=0.03)


@pytest.mark.parametrize("codes", ["LPS", "SAL"])
def test_storage_order_leaves_no_trace(tmp_path, codes, monkeypatch):
    """The same grid stored in another order gives the same bytes, whatever the user's settings."""
    rng = np.random.default_rng(0)
    data, centre = rng.random(SHAPE, np.float32), np.zeros(SHAPE)
    centre[3, 11, 7] = 1
    plain, turned = tmp_path / "plain.png", tmp_path / "turned.png"
    columns = {"a": data, "b": Panel(data - 0.5, "difference")}
    save_comparison(plain, columns, affine=AFFINE, centre=(3, 11, 7))
    turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(codes))
    at = np.argwhere(apply_orientation(centre, turn))[0]
    columns = {
        "a": apply_orientation(data, turn),
        "b": Panel(apply_orientation(data - 0.5, turn), "difference"),
    }
    monkeypatch.setitem(matplotlib.rcParams, "image.origin", "lower")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    monkeypatch.setitem(matplotlib.rcParams, "savefig.bbox", "tight")
    save_comparison(turned, columns, affine=AFFINE @ inv_ornt_aff(turn, SHAPE), centre=at)
    assert turned.read_bytes() == plain.read_bytes()
    assert matplotlib.rcParams["font.size"] == 30


def test_empty_volumes_and_long_scans(tmp_path):
    path = tmp_path / "a.png"
    save_comparison(path, {"empty": np.zeros((4, 4, 300))})
    assert imread(path).shape[1] == WIDTH_PX
    assert imread(path).shape[0] <= (MAX_INCHES + MIN_INCHES + HEADER + FOOTER) * DPI + 1


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {}, "one shape"),
        ({"a": np.ones((4, 4, 4)), "b": np.ones((4, 4, 5))}, {}, "one shape"),
        ({"a": np.ones((4, 4))}, {}, "a: a picture needs three axes"),
        ({"a": np.full((4, 4, 4), np.nan)}, {}, "a: non-finite"),
        ({"a": np.ones((4, 4, 4))}, {"centre": (0, 0, 4)}, "outside"),
        ({"a": np.ones((4, 4, 4))}, {"affine": np.zeros((4, 4))}, "affine"),
    ],
)
def test_refusals_leave_no_file(tmp_path, columns, options, message):
    with pytest.raises(InputError, match=message):
        save_comparison(tmp_path / "a.png", columns, **options)
    assert not list(tmp_path.iterdir())


def test_an_existing_picture_is_kept_unless_told(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists"):
        save_comparison(path, {"a": np.ones((4, 4, 4))})
    assert path.read_bytes() == b"old"
    save_comparison(path, {"a": np.ones((4, 4, 4))}, overwrite=True)
    assert path.read_bytes() != b"old"


def sheet_of(shape, monkeypatch, count=4, **options):
    """The figure that a picture of volumes of this shape is made of, drawn."""
    figures = []

    def keep(draw, dpi):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = draw()
        FigureCanvasAgg(figure).draw()
        figures.append(figure)
        return b""

    monkeypatch.setattr(picture_module, "png", keep)
    data = np.random.default_rng(0).gamma(2, 3, shape).astype(np.float32)
    columns = comparison(data, data + 1, uncertainty=data)
    extra = {f"a long name of column {n}": data for n in range(count - 4)}
    comparison_png({**columns, **extra}, affine=np.diag([2.0, 2, 2, 1]), **options)
    return figures[0]


@pytest.mark.parametrize("shape", [(60, 70, 1), (60, 70, 4), (40, 3, 30), (20, 20, 200)])
@pytest.mark.parametrize("count", [4, 7])
def test_words_never_overlap(shape, count, monkeypatch):
    notes = ["word " * 60]
    figure = sheet_of(shape, monkeypatch, count, title="t", notes=notes, unit="Bq/ml")
    texts = [
        text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()
    ]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert len(boxes) > 20
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.overlaps(second), (one, other)


def test_scales_are_fixed_and_places_are_named(monkeypatch):
    figure = sheet_of((30, 30, 20), monkeypatch, centre=(10, 11, 12), ring_mm=5.0)
    scales = {image.get_clim() for image in figure.findobj(AxesImage)}
    top = max(high for _, high in scales)
    assert top == next_step(top)
    assert scales == {(0.0, top), (-0.2 * top, 0.2 * top), (0.0, 0.1 * top)}
    words = {text.get_text() for text in figure.findobj(Text)}
    assert {"axial, z 24 mm", "coronal, y 22 mm", "sagittal, x 20 mm"} <= words
    assert len(figure.findobj(Ellipse)) == 4 * 3
