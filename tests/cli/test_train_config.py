"""petrt train --write-config."""

from __future__ import annotations

import pytest

from petrt.cli.app import run
from petrt.train.config import load_config


def test_it_writes_the_configuration_that_would_be_trained(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    given = ["--steps", "600000", "--seed", "7", "--workers", "3", "--precision", "fp32"]
    assert run(["train", "default", *given, "--write-config", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    wanted = load_config("default")
    data = wanted.data.model_copy(update={"workers": 3})
    changes = {"steps": 600000, "seed": 7, "precision": "fp32", "data": data}
    assert load_config(path) == wanted.model_copy(update=changes)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.toml"]


def test_a_file_is_kept_unless_it_may_be_replaced(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text("mine")
    command = ["train", "demo", "--write-config", str(path)]
    assert run(command) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert run([*command, "--overwrite"]) == 0
    assert load_config(path) == load_config("demo")
    # Nor is the source of a configuration replaced by what was read from it.
    assert run(["train", str(path), "--write-config", str(path), "--overwrite"]) == 2
    assert "also an input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--write-config", "mine.txt"], "--write-config mine.txt: not a name of TOML"),
        (["--write-config", "-"], "--write-config cannot be -"),
        (["--write-config", "a.toml", "--steps", "1"], "1 steps end before the denoiser joins"),
        (["--data", "d"], "--out missing"),
        (["--data", "d", "--out", "o", "--overwrite"], "--overwrite is for --write-config"),
    ],
)
def test_what_is_refused(options, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "demo", *options]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
