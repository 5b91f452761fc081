"""One command accepts a model that keeps all bars and refuses any other, by its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accept import judge, run
from benchmarks.accept.policy import DEFAULT, Policy, read_policy
from petrt.data.simulate import write_dataset
from petrt.errors import InputError
from petrt.export.bundle import export_model
from tests.models import tiny_model, tiny_spec

GOOD = {
    "standard.psnr": 30.0,
    "standard.ssim": 0.9,
    "activity_ratio": 1.01,
    "grey_bias": 1.0,
    "white_bias": -2.0,
    "lesion_peak_bias": -4.0,
    "coverage": 91.0,
    "seconds": 2.0,
}
ENGINE = {"psnr_db": 90.0, "difference_percent": 0.01}


def verdict(old: dict[str, Any], new: dict[str, Any], **engine: float) -> set[str]:
    """The criteria that ``new`` misses, of two subjects of which the second is as GOOD as can be."""
    columns = ({20: {"a": GOOD | each, "b": GOOD}} for each in (old, new))
    found = judge.judged(read_policy(), *columns, ENGINE | engine, "fp32")
    assert judge.accepted(found) == all(each.met is not False for each in found)
    return {each.criterion for each in found if each.met is False}


def test_equals_are_accepted():
    assert verdict({}, {}) == set()


@pytest.mark.parametrize(
    ("new", "missed"),
    [
        ({"standard.psnr": 29.7}, {"PSNR, dB - old"}),
        ({"standard.psnr": 29.4}, {"PSNR, dB - old", "PSNR, dB - old, worst subject"}),
        ({"standard.psnr": 29.85}, set()),
        ({"standard.ssim": 0.88}, {"SSIM - old"}),
        ({"activity_ratio": 0.90}, {"activity, %", "activity, worst subject, %"}),
        ({"activity_ratio": 1.049}, {"activity, %"}),
        ({"grey_bias": 12.0}, {"grey matter, %"}),
        ({"white_bias": -12.0}, {"white matter, %"}),
        ({"lesion_peak_bias": -20.0}, {"SUVpeak of lesions, %", "SUVpeak bias over old, points"}),
        ({"coverage": 60.0}, {"coverage of 90 % intervals"}),
        ({"seconds": 9.0}, {"time over old"}),
    ],
)
def test_each_bar_refuses_alone(new, missed):
    assert verdict({}, new) == missed


def test_an_engine_that_computes_something_else_is_refused():
    assert verdict({}, {}, psnr_db=50.0) == {"engine in fp32 against float32: PSNR, dB"}
    assert verdict({}, {}, difference_percent=2.0) == {
        "engine in fp32 against float32: difference, %"
    }


def test_what_neither_has_is_not_judged_and_what_is_lost_is_refused():
    nothing = {"coverage": None, "lesion_peak_bias": None}
    columns = {20: {"a": GOOD | nothing}}
    found = judge.judged(read_policy(), columns, columns, ENGINE, "fp32")
    assert {each.criterion for each in found if each.met is None} == {
        "SUVpeak of lesions, %",
        "SUVpeak bias over old, points",
        "coverage of 90 % intervals",
    }
    assert judge.accepted(found)
    lost = judge.judged(read_policy(), {20: {"a": GOOD}}, columns, ENGINE, "fp32")
    assert not judge.accepted(lost)
    blurred = {20: {"a": GOOD | {"standard.ssim": float("nan")}}}
    lost = judge.judged(read_policy(), {20: {"a": GOOD}}, blurred, ENGINE, "fp32")
    assert [each.criterion for each in lost if each.met is False] == ["SSIM - old"]


def test_a_policy_with_a_wrong_key_is_refused(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(DEFAULT.read_text().replace("ssim", "ssmi"))
    with pytest.raises(
        InputError, match=r"policy\.toml: against_old\.ssmi: unknown key; the nearest is ssim"
    ):
        read_policy(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_policy(tmp_path / "absent.toml")


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subjects")
    write_dataset(folder, [900, 901], 2023, (20,), shape=(40, 40, 12))
    return folder


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with other residuals: noise in place of its own small ones."""
    folder = tmp_path_factory.mktemp("models") / "worse"
    export_model(tiny_model(), tiny_spec().model_copy(update={"sigma_r": 5.0}), folder)
    return folder


def open_bars(path: Path) -> Path:
    """A policy that asks nothing of one model alone and leaves the time free: its networks are random."""
    policy = read_policy().model_dump()
    policy["absolute"] = {
        **dict.fromkeys(policy["absolute"], 1e6),
        "coverage_percent": (0.0, 100.0),
    }
    policy["against_old"]["time_ratio"] = 1e6
    lines = []
    for table, keys in policy.items():
        lines.append(f"[{table}]")
        for key, value in keys.items():
            if isinstance(value, dict):
                value = "{" + ", ".join(f"{k} = {v}" for k, v in value.items()) + "}"
            lines.append(f"{key} = {list(value) if isinstance(value, tuple) else value}")
    path.write_text("\n".join(lines))
    assert read_policy(path) == Policy.model_validate(policy)
    return path


def accept(tmp_path: Path, subjects: Path, old: object, new: object, *more: object) -> int:
    options = ["--data", subjects, "--subjects", 2, "--doses", 20, "--threads", 1, "--slices", 8]
    out = tmp_path / "acceptance.json"
    return run.main([str(each) for each in (old, new, *options, "--out", out, *more)])


def test_the_same_model_on_another_engine(tmp_path, subjects, tiny_bundle, capsys):
    policy = open_bars(tmp_path / "policy.toml")
    engines = ("--engine-old", "native", "--engine-new", "onnxruntime")
    assert accept(tmp_path, subjects, tiny_bundle, tiny_bundle, "--policy", policy, *engines) == 0
    record = json.loads((tmp_path / "acceptance.json").read_text())
    assert record["accepted"]
    assert record["old"]["sha256"] == record["new"]["sha256"]
    assert record["new"]["engine"].startswith("onnxruntime")
    assert {*record["numbers"]["new"]["20"]} == {"sub-0900", "sub-0901"}
    assert record["date"][:2] == "20"
    assert "accepted" in capsys.readouterr().out


def test_a_worse_model_and_the_projects_own_bars(tmp_path, subjects, tiny_bundle, worse, capsys):
    policy = open_bars(tmp_path / "policy.toml")
    assert accept(tmp_path, subjects, tiny_bundle, worse, "--policy", policy) == 1
    record = json.loads((tmp_path / "acceptance.json").read_text())
    missed = {each["criterion"] for each in record["criteria"] if each["met"] is False}
    assert "PSNR, dB - old" in missed
    assert "MISSED" in capsys.readouterr().out


def test_random_networks_do_not_keep_the_projects_own_bars(tmp_path, subjects, tiny_bundle):
    assert accept(tmp_path, subjects, tiny_bundle, tiny_bundle) == 1


def test_errors_are_one_line_with_their_code(tmp_path, subjects, tiny_bundle, capsys):
    assert accept(tmp_path, subjects, tmp_path / "absent", tiny_bundle) == 3
    text = capsys.readouterr().err
    assert text.startswith("accept: ")
    assert text.count("\n") == 1
    assert accept(tmp_path, tmp_path, tiny_bundle, tiny_bundle) == 3
