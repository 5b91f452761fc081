"""The page of a phantom: its table, its picture, planes of one reconstruction."""

from __future__ import annotations

from petrt.evaluation.report.phantom_page import phantom_page
from tests.evaluation.report.cases import case
from tests.evaluation.report.document import Document

ROW = {"diameter_mm": 22.0, "input": 61.25, "input_variability": 20.0, "output": 55.0}
ROW |= {"output_variability": 4.0, "gaussian": None, "gain_percent": 12.5}
REPORT = {"phantoms": {"body": {"1/20": {"spheres": [ROW], "activity_ratio": 0.998}}}}


def test_numbers_picture_and_planes_of_one_reconstruction():
    page = phantom_page(REPORT, case(std=None), {("body", "1/20"): b"\x89PNG"}, "petrt phantom OUT")
    document = Document(page)
    words = document.text
    assert "22 mm 61.2 20.0 55.0 4.0 – 12.5" in words
    assert "Activity, output / input: 0.998." in words
    assert "data:image/png;base64,iVBORw==" in document.links
    assert words.index("NEMA phantom (body), 1/20 dose") < words.index("Planes")
    assert "petrt phantom OUT" in words
    assert 'id="layer-output"' in page
