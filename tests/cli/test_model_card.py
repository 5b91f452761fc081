"""petrt inspect of a model: the card first; and what petrt export says of a training."""

from __future__ import annotations

import json
import logging

import pytest

from petrt.cli.app import run
from petrt.cli.validation import tell_validation, validation_of
from petrt.model.bundle import load_bundle


def record(coarse: float, ams: float = 31.0, low: float = 25.0) -> dict[str, object]:
    psnr = {"standard": {"low": low, "coarse": coarse, "sample": 28.0, "ams": ams}}
    return {"step": 400, "validation": {"step": 300, "psnr": psnr}}


def test_inspect_begins_with_the_card(capsys):
    assert run(["inspect", "demo"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    model = load_bundle("demo").model
    assert lines[0].startswith("demo: ")
    assert "not for diagnostic use" in "\n".join(lines[:4])
    words = " ".join(text.split())
    assert model.card is not None
    for sentence in (model.card.population, *model.card.biases):
        assert sentence in words
    assert load_bundle("demo").identity in text
    said = load_bundle("demo").manifest.export["source"]["validation"]["psnr"]["standard"]
    assert f"dB: input {said['low']:.2f}, coarse {said['coarse']:.2f}" in words
    assert "export.verified" not in text
    assert len(lines) < 60
    assert lines[-1] == "all of it: petrt inspect demo --all"


def test_all_of_it_is_an_option_and_in_the_json(capsys):
    assert run(["inspect", "demo", "--all"]) == 0
    text = capsys.readouterr().out
    assert "export.verified.runtime.coarse: " in text
    assert text.startswith("card.population: ")
    assert run(["inspect", "demo", "--json"]) == 0
    assert {"card", "identity", "model", "export"} <= json.loads(capsys.readouterr().out).keys()


def test_a_bundle_without_a_card_or_a_training(tiny_bundle, capsys):
    assert run(["inspect", str(tiny_bundle)]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "card none; petrt export --card adds one" in words
    assert "not calibrated; petrt calibrate fits it" in words
    assert "validation" not in words


def test_the_options_of_dicom_are_not_for_a_model(capsys):
    assert run(["inspect", "demo", "--all-series"]) == 2
    assert "--series and --all-series are for DICOM" in capsys.readouterr().err


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, "petrt")

    def tell(training: dict[str, object]) -> list[tuple[str, str]]:
        caplog.clear()
        tell_validation(training)
        return [(each.levelname, each.getMessage()) for each in caplog.records]

    return tell


def test_export_says_step_and_validation(told):
    ((level, text),) = told(record(coarse=30.0))
    assert level == "INFO"
    assert text == (
        "exported from step 400 of its training, PSNR at step 300 (standard), dB: "
        "input 25.00, coarse 30.00, one sample 28.00, AMS 31.00"
    )
    assert told({"step": 5, "validation": None}) == [
        ("INFO", "exported from step 5 of its training, without a validation")
    ]
    assert told({}) == []  # weights of the method's authors


def test_a_coarse_prediction_worse_than_the_input_is_a_warning(told):
    _, (level, text) = told(record(coarse=24.5))
    assert level == "WARNING"
    assert text.startswith("warning: coarse is 0.50 dB worse than the input in the validation: ")
    _, first, second = told(record(coarse=24.0, ams=20.0))
    assert "coarse is 1.00 dB" in first[1]
    assert "AMS is 5.00 dB" in second[1]


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"validation": None},
        {"validation": {"step": 1, "psnr": {}}},
        {"validation": {"step": 1, "psnr": {"paper": {"low": None}}}},
        {"validation": "none"},
    ],
)
def test_records_without_a_validation(training):
    assert validation_of(training) is None


def test_without_the_standard_protocol_another_is_told():
    found = validation_of({"validation": {"step": 2, "psnr": {"paper": {"low": 1.0, "ams": None}}}})
    assert found is not None
    assert (found.protocol, dict(found.psnr), found.warnings) == ("paper", {"low": 1.0}, [])
