"""Bars and differences from made-up sections, and their tables."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality.bars import bars
from benchmarks.quality.differences import differences
from benchmarks.quality.report import read, write
from benchmarks.quality.results import Results

SUBJECTS = ["sub-0900", "sub-0901", "sub-0902"]
PSNR = "standard.psnr"
WHOLE = {"samples": 8, "view": "whole volume"}


def section(methods: dict[str, dict[str, list[float]]]) -> dict:
    """A section at 1/100 dose: method -> metric -> value of each of three subjects."""
    means = {n: {k: [v[0], 0.1] for k, v in metrics.items()} for n, metrics in methods.items()}
    return {
        "subjects": SUBJECTS,
        "settings": WHOLE,
        "values": {"1/100": methods},
        "mean_sd": {"1/100": means},
    }


def above(*gains: float) -> dict[str, list[float]]:
    """PSNR of three subjects, so much above 25, 26 and 27.5 dB; one gain stands for three."""
    three = gains if len(gains) == 3 else gains * 3
    return {PSNR: [base + gain for base, gain in zip((25, 26, 27.5), three, strict=True)]}


def filters() -> dict:
    gains = {"low-dose": 0, "best Gaussian": 5, "non-local means": 5.2}
    return section({name: above(gain) for name, gain in gains.items()})


def bm4d() -> dict:
    return section({"BM4D": above(5.9)})


def model() -> dict:
    regions = {
        "activity_ratio": [1.001, 0.985, 1.003],
        "grey_bias": [-2, -3, -4],
        "white_bias": [5, 6, 7],
        "lesion_peak_bias": [-12, None, -6],
    }
    return section(
        {"coarse": above(6.6), "one sample": above(5, 5.7, 6.4), "AMS-8": above(6.8) | regions}
    )


def rows(**gains: float) -> dict:
    """Rows of Table 2 whose AMS mean lies so far above their coarse prediction, to 0.01 dB."""
    made = {}
    for name, gain in gains.items():
        methods = {
            "coarse": above(0),
            "one sample": above(gain - 1),
            "AMS-8": above(gain - 0.01, gain, gain + 0.01),
        }
        made[name] = {"what": name, "weights_million": 1.0, "gmac": 2.0, **section(methods)}
    return {"settings": WHOLE, "rows": made}


def calibration(share: float) -> dict:
    one = {"mean": share, "sd": 0.01, "ci95": [share - 0.01, share + 0.01], "range": [0.5, 1.0]}
    coverage = {"calibrated std": {"0.9": one | {"subjects": 3}}, "samples' std": {"0.9": one}}
    return {"doses": {"1/100": {"coverage": coverage, "error_by_std": {}}}}


def verdicts(sections: dict) -> dict[str, bool | None]:
    return {bar["what"]: bar["met"] for bar in bars(Results(sections))}


def test_each_bar_is_met_or_missed_by_its_number():
    found = verdicts(
        {"classical": filters(), "bm4d": bm4d(), "model": model(), "calibration": calibration(0.88)}
    )
    assert found["AMS over low-dose"] is True  # 6.8
    assert found["AMS over the best Gaussian"] is False  # 1.8
    assert found["AMS over non-local means"] is True  # 1.6
    assert found["AMS over BM4D"] is False  # 0.9
    assert found["AMS over one sample"] is True  # 1.8, 1.1, 0.4
    assert found["coverage of calibrated 90 % intervals"] is True
    assert found["activity ratio"] is True
    assert found["mean of grey matter"] is True
    assert found["mean of white matter"] is False  # +6
    assert found["SUVpeak of hot lesions"] is True  # -9 of two subjects
    by_what = {
        bar["what"]: bar for bar in bars(Results({"classical": filters(), "model": model()}))
    }
    low = by_what["AMS over low-dose"]
    assert (low["got"], low["subjects"]) == (pytest.approx(6.8), 3)
    assert low["ci95"] == pytest.approx([6.8, 6.8])
    ratio = by_what["activity ratio"]
    assert ratio["got"] == pytest.approx(-0.366667)
    assert ratio["each"] is False  # one subject is 1.5 % off
    assert by_what["SUVpeak of hot lesions"]["subjects"] == 2


@pytest.mark.parametrize(("share", "met"), [(0.84, False), (0.85, True), (0.96, False)])
def test_coverage_bar(share, met):
    assert (
        verdicts({"calibration": calibration(share)})["coverage of calibrated 90 % intervals"]
        is met
    )


def judged(worst: float, share: float) -> dict:
    voxels = {"subjects": 12, "paired": [worst - 0.01, worst], "by_fifth": [share, 0.9]}
    voxels["by_tissue"] = {"grey": 0.9, "csf": 0.2, "lesion": share}
    statistics = {"mean": {"coverage": 0.95}, "peak": {"coverage": share}}
    return {"voxels": voxels, "regions": {"5 ml": statistics, "lesion": statistics}}


def test_intervals_of_voxels_and_regions():
    found = verdicts({"uncertainty": {"samplers": {"fast": {"1/20": judged(-0.001, 0.8)}}}})
    assert {
        what.removeprefix("fast, 1/20: "): met for what, met in found.items() if met is not None
    } == {
        "map less than the intensity, worst subject": True,
        "90 % of voxels, lowest fifth of the std": False,
        "90 % of voxels, highest fifth of the std": True,
        "90 % of voxels, grey": True,
        "90 % of voxels, lesion": False,
        "90 % of mean, 5 ml": True,
        "90 % of peak, lesion": False,
    }
    worse = {"uncertainty": {"samplers": {"fast": {"1/20": judged(0.001, 0.9)}}}}
    assert [w for w, met in verdicts(worse).items() if met is False] == [
        "fast, 1/20: map less than the intensity, worst subject"
    ]


def test_what_was_not_measured_is_neither_met_nor_missed():
    assert set(verdicts({}).values()) == {None}
    assert verdicts({"model": model()})["AMS over low-dose"] is None


def test_row_b_is_the_coarse_prediction_of_row_c():
    found = verdicts({"rows": rows(c=0.2, d=0.5)})
    assert found["row c with AMS over row b"] is True
    assert verdicts({"rows": rows(c=-0.2)})["row c with AMS over row b"] is False
    own = rows(c=-0.2)
    own["rows"]["b"] = section({"coarse": above(-1)})
    assert verdicts({"rows": own})["row c with AMS over row b"] is True


def test_additions_help_where_the_interval_says_so():
    found = bars(Results({"rows": rows(c=0.2, d=0.5, e=0.4, f=0.401)}))
    by_what = {bar["what"]: bar for bar in found}
    assert by_what["neighbouring slices: row d - row c"]["helps"] is True
    assert by_what["spectrum: row e - row d"]["helps"] is False
    assert by_what["contrastive term: row f - row e"]["got"] == pytest.approx(0.001)
    noisy = rows(c=0.0, d=0.0)
    noisy["rows"]["d"]["values"]["1/100"]["AMS-8"] = above(-1, 1, 0.5)
    d = {bar["what"]: bar for bar in bars(Results({"rows": noisy}))}
    assert d["neighbouring slices: row d - row c"]["helps"] is None


def compared(view: str) -> set[str]:
    """Metrics in which a model that saw ``view`` is compared with a filter that saw all."""
    ours, theirs = model(), filters()
    ours["settings"] = {"samples": 8, "view": {"1/100": view}}
    for each, name in ((ours, "AMS-8"), (theirs, "low-dose")):
        each["values"]["1/100"][name]["standard.ssim"] = [0.9, 0.91, 0.92]
    found = differences(Results({"classical": theirs, "model": ours}))
    return {each["metric"] for each in found if each["what"] == "AMS-8 - low-dose"}


def test_only_what_was_taken_over_the_same_voxels_is_compared():
    """PSNR looks at active voxels alone, which the head's box holds; SSIM at all there is."""
    assert compared("whole volume") == {"standard.psnr", "standard.ssim"}
    assert compared("head's box") == {"standard.psnr"}
    assert compared("head's box, every 4th slice") == set()
    assert compared("whole volume, every 4th slice") == set()
    cut = model()
    cut["settings"] = {"samples": 8, "view": {"1/100": "whole volume, every 2th slice"}}
    found = verdicts({"classical": filters(), "model": cut})
    assert found["AMS over low-dose"] is None
    assert found["AMS over one sample"] is True


def test_sections_stay_when_another_is_replaced(tmp_path):
    write(tmp_path, {"classical": filters(), "bm4d": bm4d(), "rows": rows(c=0.1, d=0.3)})
    again = write(tmp_path, {**read(tmp_path / "quality.json"), "model": model()})
    kept = json.loads((tmp_path / "quality.json").read_text())
    assert kept == again
    assert set(kept["sections"]) == {"classical", "bm4d", "rows", "model"}
    assert kept["sections"]["classical"] == filters()
    whats = {each["what"] for each in kept["differences"]}
    assert {"AMS-8 - BM4D", "AMS-8 - one sample", "AMS-8 - coarse", "row c - row b"} <= whats
    table = (tmp_path / "quality.md").read_text()
    assert "| (b) P alone (P of row c) |" in table
    assert "| AMS over the best Gaussian | >= 2 dB | +1.8 dB | +1.8 … +1.8 | missed |" in table
    assert "not for diagnostic use" in table
