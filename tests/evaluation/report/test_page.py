"""The page as a document: whole in itself, escaped, with the numbers, and without names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from petrt.evaluation.report.html import card, fixed, signed, table, text
from petrt.evaluation.report.made import command_line, command_of
from petrt.evaluation.report.page import case_page
from tests.evaluation.report.cases import RECORD, case, truth
from tests.evaluation.report.document import Document

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def page() -> str:
    return case_page(case(coarse=truth(), reference=1.01 * truth()))


@pytest.fixture(scope="module")
def document(page) -> Document:
    return Document(page)


def test_it_is_whole_in_itself(page, document):
    assert all(link.startswith(("data:", "#")) for link in document.links)
    assert "default-src 'none'" in page
    assert len(page) < 15e6
    assert len(document.ids) == len(set(document.ids))
    assert "Copyright (c) 2021, Niivue" in page


def test_warnings_come_first_and_are_escaped(page, document):
    words = document.text
    assert "a <b>warning</b> & more" in words
    assert "<b>warning" not in page
    assert words.index("1 warning") < words.index("Activity") < words.index("Planes")


def test_it_says_what_was_done(document):
    words = document.text
    for part in (
        "model tiny · 8 samples · dose 1/20",
        "input 0123456789ab",
        "40 × 48 × 36 voxels of 2 × 2 × 2 mm",
        "as given; noise: 1/25 (1/33 to 1/20)",
        "not for diagnostic use",
        "petrt reconstruct IN OUT --model MODEL --preset fast --samples 8 --seed 3 --dose 1/20",
        "doi:10.1007/978-3-031-43999-5_23",
        "ab" * 32,
        "Hot spots",
        "Line profile",
        "Structure in the residual",
        "Bland–Altman of regions",
        "Reliability",
        "PSNR (dB), standard",
    ):
        assert part in words, part
    assert "12, 10, 10" in words  # the hot spot, in mm
    assert "± 8.2" in words  # 1.645 times the std of 5


def test_the_summary_holds_the_numbers(page):
    content = json.loads(re.search(r'id="petrt-summary">(.*?)</script>', page).group(1))
    assert content["id"] == "0123456789ab"
    assert content["activity_ratio"] == pytest.approx(1, abs=0.02)
    assert content["psnr_output"] > content["psnr_input"]
    assert content["noise_output"] < content["noise_input"]


def test_layers_and_keys(page):
    data = json.loads(re.search(r'id="viewer-data">(.*?)</script>', page).group(1))
    names = [layer["name"] for layer in data["layers"]]
    assert names == ["input", "output", "coarse", "std", "difference", "reference", "error"]
    for name in names:
        assert page.count(f'id="layer-{name}"') == 1
        assert page.count(f'id="value-{name}"') == 1
    assert page.count("data-layer=") == len(names) - 1


def test_the_regions_of_a_run_are_shown_with_their_intervals():
    row = {"frame": 0, "label": 4, "name": "thalamus", "ml": 7.5, "mean": 11.0, "peak": 13.0}
    row |= {"max": 15.0, "mean_low": 10.0, "mean_high": 12.0, "reason": ""}
    page = case_page(case(record=RECORD | {"regions": {"level": 0.9, "rows": [row]}}))
    words = Document(page).text
    assert "thalamus" in words
    assert "11 10 – 12" in words
    assert "a value may lie outside its own" in words
    row |= {"mean_low": None, "mean_high": None, "reason": "the model has no calibration"}
    page = case_page(case(record=RECORD | {"regions": {"level": 0.9, "rows": [row]}}))
    words = Document(page).text
    assert "No intervals: the model has no calibration." in words
    assert "lie outside" not in words


def test_without_a_std_map_the_page_says_what_is_missing():
    words = Document(case_page(case(std=None, reference=truth()))).text
    assert "No intervals: no map of standard deviations is at hand; --std of" in words
    assert "fitted" not in words.split("How it was made")[0]
    assert "No reliability: no map of standard deviations is at hand." in words
    single = {"calibrated": False, "reason": "a single sample has no standard deviation"}
    words = Document(case_page(case(std=None, record=RECORD | {"std": single}))).text
    assert "No intervals: a single sample has no standard deviation." in words
    flat = case(std=np.zeros_like(truth()), reference=truth())
    words = Document(case_page(flat)).text
    assert "No reliability: the standard deviation is 0 everywhere." in words


@pytest.mark.parametrize(
    ("estimate", "interval", "said"),
    [(1.2e8, [2e7, 5e8], "as given"), (0.5, [0.2, 4e7], "as given; noise: 0.5 (1/5 to over 10)")],
)
def test_an_estimate_far_outside_any_dose_is_left_out(estimate, interval, said):
    dose = {"source": "given", "estimate": estimate, "interval95": interval}
    words = Document(case_page(case(record=RECORD | {"dose": dose}))).text
    assert f"{said} Planes" in words


def test_it_cites_software_and_paper_as_the_citation_file(document):
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (author,), (paper,) = cff["authors"], cff["references"]
    assert f"{author['name']}: {cff['title']}. Version 1.2.3." in document.text
    assert paper["title"] in document.text
    assert paper["doi"] in document.text


def test_words_and_numbers_read_well(document):
    assert "mean, 1 step " in document.text
    given = [fixed(-0.04, 1), fixed(-0.3), fixed(-12.6), fixed(None), fixed(20, 1)]
    assert given == ["0.0", "0", "−13", "–", "20.0"]


def test_without_a_record_the_page_says_so():
    page = case_page(case(record={"hashes": {"input": "ef" * 32}}, std=None))
    words = Document(page).text
    assert "Comparison of images" in words
    assert "gave no warnings" not in words
    assert "Warnings unknown" in words
    assert "ef" * 32 in words
    assert "petrt reconstruct IN" not in words
    assert "seed" not in words


def test_two_images_without_an_input():
    full = truth()
    page = case_page(case(input=full, reference=full, base="reference", record={}, std=None))
    words = Document(page).text
    assert "Activity, output / reference" in words
    assert "input" not in words
    assert "unknown" not in words
    assert "output − reference" in words


def test_volumes_without_activity_have_a_page():
    empty = np.zeros((12, 12, 12), np.float32)
    page = case_page(case(input=empty, output=empty, std=None, reference=empty))
    assert "Activity, output / input" in Document(page).text


def test_equal_input_gives_equal_pages():
    assert case_page(case()) == case_page(case())


def test_the_command_tells_what_decides_a_voxel():
    shipped = {"model": RECORD["model"] | {"shipped": "demo"}, "preset": None, "strength": 0.5}
    options = RECORD["options"] | {"series": True, "skip_background": False, "nonfinite": "zero"}
    other = RECORD | shipped | {"dose": {"source": "estimated"}, "options": options}
    command = command_of(other)
    assert command.startswith("petrt reconstruct IN OUT --model demo --sampler mean --steps 1 ")
    assert "--strength 0.5" in command
    assert "--precision fp32 --all-slices --nonfinite zero --series UID" in command
    assert "--dose" not in command
    assert "--max-voxels" not in command
    large = {"options": options | {"max_voxels": 1 << 30, "compress": "rle"}}
    assert "--max-voxels 1073741824 --compress rle" in command_of(RECORD | large)
    assert "--dose 0.0123456789" in command_of(RECORD | {"dose_fraction": 0.0123456789})


@pytest.mark.parametrize(
    "record",
    [
        {},
        {name: value for name, value in RECORD.items() if name != "options"},
        RECORD | {"options": RECORD["options"] | {"noise": "given"}},
        RECORD | {"engine": RECORD["engine"] | {"reason": "given"}},
    ],
)
def test_there_is_no_command_where_none_makes_it_again(record):
    assert command_of(record) == ""


def test_options_of_a_command():
    options = {"a": True, "b": False, "c": None, "d": [1, 2], "e": "two words", "f": 0}
    assert command_line("x", options) == "x --a --d 1 --d 2 --e 'two words' --f 0"


def test_a_minus_before_a_number_is_one():
    assert signed("maximum -17.1 %, one-step, -x") == "maximum −17.1 %, one-step, -x"


def test_pieces_escape():
    assert text('<a href="x">') == "&lt;a href=&quot;x&quot;&gt;"
    assert "<td>&lt;i&gt;</td>" in table(["<b>"], [["<i>"]])
    assert "&lt;h&gt;" in card("<h>", "")
