"""What is wrong in a file that a specification describes; files written from one."""

from __future__ import annotations

import pytest

from petrt.errors import InputError
from petrt.files.toml import parsed
from petrt.files.toml_text import toml, written
from petrt.model.spec import CardSpec
from petrt.train.config import TrainConfig, load_config

PRESETS = ("default", "demo", "official", "paper")


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        (
            "coarse_weight =",
            "coarse_wieght =",
            "loss.coarse_wieght: unknown key; the nearest is coarse_weight",
        ),
        ("\nsteps =", "\nstpes =", "stpes: unknown key; the nearest is steps"),
        (
            "multipliers =",
            "multiplier =",
            "coarse.multiplier: unknown key; the nearest is multipliers",
        ),
        ("[optimizer]", "[qqq]", "qqq: unknown key; known are seed, steps, "),
        ("rate = ", "rate = -", "optimizer.rate: Input should be greater than 0"),
        ("gamma_max = 0.99\n", "gamma_max = 0.01\n", "loss: gamma_min 0.02 is not below gamma_max"),
        ('"bf16"\n', '"bf16\n', "is not valid TOML"),
    ],
    ids=lambda value: value.strip()[:20],
)
def test_the_first_wrong_key_is_named(right, wrong, says):
    text = "\n".join(
        line.split("  # ")[0] for line in written(load_config("default"), "x").splitlines()
    )
    assert right in text + "\n"
    with pytest.raises(InputError, match=r"^mine\.toml") as caught:
        parsed(TrainConfig, (text + "\n").replace(right, wrong, 1), "mine.toml")
    assert says in caught.value.message


def test_all_unknown_keys_are_named():
    text = "stpes = 1\n[loss]\ncoarse_wieght = 1\nqqq = 2\n"
    with pytest.raises(InputError) as caught:
        parsed(TrainConfig, text, "mine.toml")
    first, second, third = caught.value.message.removeprefix("mine.toml: ").split(". ")
    assert first == "loss.coarse_wieght: unknown key; the nearest is coarse_weight"
    assert second.startswith("loss.qqq: unknown key; known are coarse, coarse_weight, ")
    assert third == "stpes: unknown key; the nearest is steps"


def test_a_line_of_many_unknown_keys_ends():
    text = "".join(f"bias{k} = 0\n" for k in range(1000))
    with pytest.raises(InputError, match=r"\. 992 more unknown keys$") as caught:
        parsed(CardSpec, text, "card.toml")
    assert len(caught.value.message) < 1000


def test_a_model_card_is_told_the_same_way():
    with pytest.raises(InputError, match=r"^card\.toml: bias: unknown key; the nearest is biases$"):
        parsed(CardSpec, 'population = "a"\ntraining = "b"\nbias = []\n', "card.toml")


@pytest.mark.parametrize("name", PRESETS)
def test_a_written_file_is_read_back_as_the_same(name):
    config = load_config(name)
    text = written(config, f"Every key of {name}.")
    assert text.startswith(f"# Every key of {name}.\n")
    assert parsed(TrainConfig, text, name) == config
    for line in ("rate = ", "# Adam.", "; default 0.0001", "whole number, > 0"):
        assert line in text


def test_texts_of_any_kind_survive():
    told = 'quotes " and \\ and\nlines, µ, \x7f'
    card = CardSpec(population=told, training="", numbers=(told, "2"))
    assert parsed(CardSpec, written(card, "x"), "x") == card
    assert toml({100: 1.0, "a": [True, "b"]}) == '{ 100 = 1.0, a = [true, "b"] }'
