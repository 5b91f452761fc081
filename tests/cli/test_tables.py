"""Tables fit a terminal of 80 columns, and no number in them is cut or broken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from petrt.bench.report import grid
from petrt.cli import build_engine, calibrate_report, demo, phantom, prepare, regions
from petrt.cli.app import run
from petrt.cli.evaluate_tables import Frame, print_frame, rules_of
from petrt.cli.output import Output
from petrt.evaluation.activity import Change, RoiStatistics
from petrt.evaluation.metrics import PROTOCOLS
from petrt.evaluation.organs import OrganError
from tests.helpers import write_nifti

LARGE = 1234567.891


@pytest.fixture
def same_at_80(monkeypatch, capsys) -> Callable[[Callable[[], object]], str]:
    """Print on 80 columns and on 300, and compare; returns what stands on 80."""

    def printed(show: Callable[[], object], columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        show()
        text = capsys.readouterr().out
        assert text
        return text

    def compare(show: Callable[[], object]) -> str:
        narrow, wide = (printed(show, columns) for columns in (80, 300))
        assert max(map(len, narrow.splitlines())) <= 80
        assert "…" not in narrow
        assert numbers(narrow) == numbers(wide)
        return narrow

    return compare


def numbers(text: str) -> Counter[str]:
    """Every number of a text, and how often it is there."""
    return Counter(re.findall(r"[-+]?\d[\d.,]*(?:e[-+]\d+)?", text))


@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "demo"],
        ["inspect", "demo", "--all"],
        ["inspect", "{volume}"],
        ["doctor"],
        ["info"],
        ["flops", "demo"],
        ["evaluate", "{volume}", "{volume}", "--labels", "{labels}", "--background", "1"],
    ],
    ids=" ".join,
)
def test_of_commands(command, tmp_path, same_at_80, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PETRT_CACHE", "cache")
    data = np.random.default_rng(0).gamma(2, 30000, (24, 24, 12)).astype(np.float32)
    labels = np.ones((24, 24, 12), np.uint8)
    labels[4:12, 4:12, 2:8] = 2
    write_nifti(tmp_path / "low.nii", data)
    write_nifti(tmp_path / "dseg.nii", labels)
    words = [word.format(volume="low.nii", labels="dseg.nii") for word in command]
    # A command to install something stands on one line, however long.
    monkeypatch.setattr("petrt.cli.doctor._print_fixes", lambda *_: None)
    same_at_80(lambda: run(words))


def test_of_evaluate_with_large_numbers(same_at_80):
    of_reference = {f"{name}_bias_percent": -123.4 for name in ("mean", "max", "peak")}
    values = {"mean": LARGE, "max": LARGE, "std": LARGE, "peak": LARGE}
    small = {"cov": 12.34, "volume_ml": 1234.5, "cnr": -12.3, "contrast_recovery": -12.3}
    roi = RoiStatistics(label=123, voxels=9, **values, **small, **of_reference)
    organ = OrganError(3, "kidneyRight", LARGE, LARGE, 1234.5, 1234.5)
    scores = {
        name: {"psnr": 123.456, "ssim": 0.12345, "nmse": 1234.5, "nrmse": 12.3}
        for name in PROTOCOLS
    }
    frame = Frame(scores, LARGE, Change(0.98765, -123.45), [roi], [organ])

    def show() -> None:
        console = Output()
        print_frame(console, frame)
        console.print(rules_of([*PROTOCOLS]))

    text = same_at_80(show)
    assert "kidneyRight" in text


@pytest.mark.parametrize("frames", [1, 2])
def test_of_regions(frames, same_at_80):
    values: dict[str, Any] = {"ml": 1234.5678, "reason": "no calibration for 3 samples"}
    for statistic in regions.STATISTICS:
        values |= {statistic: 12345.678, f"{statistic}_low": 12000.4, f"{statistic}_high": 1.3e8}
    rows = [
        {"frame": frame, "label": 1003, "name": "left hippocampus", **values}
        for frame in range(1, frames + 1)
    ]
    stats = {"label": "not for diagnostic use", "regions": {"level": 0.9, "rows": rows}}
    text = same_at_80(lambda: regions.show_table(stats))
    assert text.count("1.2e+04 to") == 3 * frames
    assert ("frame" in text) == (frames > 1)


def test_of_calibrate(same_at_80):
    by = {name: {"coverage": 0.987, "regions": 123456} for name in ("mean", "peak", "max")}
    judged = {
        "voxels": {"coverage": {"0.9": 0.9}, "by_fifth": [0.1, 0.99], "paired": [-12.3456, 0.1]},
        "regions": {"hot lesions": by, "white matter": by},
    }
    doses = {f"1/{dose}": judged for dose in (4, 100)}
    content = {"level": 0.9, "presets": {"fast": {"doses": doses}, "paper": {"doses": doses}}}
    title = "123 subjects (validation), simulated data; not for diagnostic use"
    same_at_80(lambda: calibrate_report.show(content, title))


def test_of_demo(same_at_80):
    scores = {
        label: {name: {"psnr": 34.567, "ssim": 0.98765, "nmse": 0.01234} for name in demo.PROTOCOLS}
        for label in ("input", "best Gaussian", "non-local means", "coarse", "AMS-8 mean")
    }
    text = same_at_80(lambda: demo.show(scores))
    assert text.count("AMS-8 mean") == 3


def test_of_phantom(same_at_80):
    keys = ("input", "input_variability", "output", "output_variability", "gaussian")
    row = dict.fromkeys((*keys, "gain_percent"), -1234.5) | {"diameter_mm": 37.0}
    bias = {"mean": -12.34, "low": -123.4, "high": 123.4}
    found = {
        "spheres": [row] * 6,
        "activity_ratio": 0.98765,
        "lung_input": 12.3,
        "lung_output": 45.6,
    }
    found |= {"bias": {"output": {"peak": bias}}}
    text = same_at_80(lambda: phantom._print({"phantoms": {"body": {"1/100": found}}}))
    assert "\\n" not in text


def test_of_prepare(same_at_80, monkeypatch):
    from petrt.data.prepare import summary

    row = {
        "subject": "sub-0123456",
        "split": "validation",
        "input": "128x128x89 at 2.00x2.00x2.00",
        "model grid": "128x128x128",
        "doses": "1/4, 1/10, 1/20, 1/50, 1/100",
        "activity ratio": "1.001, 1.002, 1.003, 1.004, 1.005",
        "noise": "0.101, 0.102, 0.103, 0.104, 0.105, 0.106",
    }
    cells = tuple(row.get(column, "-") for column in summary.COLUMNS)
    monkeypatch.setattr(summary, "rows", lambda *_: [cells])
    report = SimpleNamespace(index=None, split_of=None, outcomes=None)
    same_at_80(lambda: prepare._print(report))


def test_of_installed_engines(same_at_80, monkeypatch, tmp_path):
    from petrt.engines.store import folder

    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    record = SimpleNamespace(
        model=SimpleNamespace(name="a-model-of-ours"),
        engine="tensorrt",
        engine_version="10.13.3",
        precision="bf16",
        built_for="NVIDIA H100 80GB HBM3",
        profile="slices 1,16,32, samples 1,8,8, size 128x128",
        files={"a": SimpleNamespace(bytes=123_456_789)},
        verified=SimpleNamespace(psnr_db=67.89),
    )
    monkeypatch.setattr(folder, "installed", lambda: ([SimpleNamespace(record=record)], []))
    text = same_at_80(build_engine.show_installed)
    assert "123.5" in text


def test_of_bench():
    head = (
        "median of volumes",
        "volume",
        "p10",
        "p90",
        "a slice",
        "/ floor",
        "of peak",
        "load",
        "first",
    )
    short = grid(head[:4], [("native fp32 s1 n10", "1 s", "2 s", "3 s")])
    assert [line.split()[0] for line in short] == ["median", "native"]
    long = grid(head, [("onnxruntime fp32 s8 n1000 b16x8", *["395.1 ms"] * 8)])
    assert [line.split()[0] for line in long] == ["median", "volume", "onnxruntime", "395.1"]
    assert max(map(len, long)) <= 80
    assert long[3].count("395.1 ms") == 8
