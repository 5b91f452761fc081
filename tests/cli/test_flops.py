"""petrt flops as a user runs it."""

from __future__ import annotations

import json

import pytest

from petrt.cli.app import run
from petrt.nets import PRESETS
from petrt.nets.count import count


def test_table_and_json_say_the_same(tmp_path, capsys):
    out = tmp_path / "flops.json"
    assert run(["flops", "paper", "--samples", "8", "--json", str(out)]) == 0
    text, found = capsys.readouterr().out, json.loads(out.read_text())
    for word in ("unfolded, from PyTorch", "PyTorch and steps, equal", "denoiser", "26,596,801"):
        assert word in text
    total = count(PRESETS["paper"]).total(10, samples=8)
    assert found["unfolded"]["total"]["macs"] == total.macs
    assert found["unfolded"]["total"]["attention_macs"] == total.attention_macs
    assert f"{total.macs / 1e6:,.2f}" in text
    for form in ("folded", "unfolded"):
        parts, whole = found[form]["parts"], found[form]["total"]
        assert whole["flops"] == 2 * (whole["macs"] + whole["attention_macs"])
        assert sum(p["calls"] * p["flops"] for p in parts.values()) == whole["flops"]
        assert sum(p["share"] for p in parts.values()) == pytest.approx(1, abs=1e-5)
        assert [p["calls"] for p in parts.values()] == [1, 1, 80]
        assert f"{whole['flops'] / 1e6:,.2f}" in text
    ratio = found["folded"]["total"]["flops"] / found["unfolded"]["total"]["flops"]
    assert found["folded_over_unfolded"] == pytest.approx(ratio, abs=1e-6)


def test_options_reach_the_count(tmp_path):
    def counted(*options: str):
        out = tmp_path / "f.json"
        arguments = ["flops", "tiny", "--json", str(out), "--overwrite", *options]
        assert run(arguments) == 0
        return json.loads(out.read_text())

    base = counted("--size", "32x48")
    assert (base["size"], base["steps"], base["samples"]) == ([32, 48], 10, 1)
    assert counted("--size", "32x48", "--steps", "3")["folded"]["parts"]["denoiser"]["calls"] == 3
    spread = counted("--size", "32x48", "--upsample", "transposed")
    assert spread["upsample"] == "transposed"
    assert spread["folded"]["total"]["macs"] < base["folded"]["total"]["macs"]
    assert spread["unfolded"] == base["unfolded"]


def test_table_2(tmp_path, capsys):
    out = tmp_path / "t.json"
    assert run(["flops", "--table2", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    for word in ("SR3", "128.737", "128.740", "5972.24", "5973", "144.84", "145"):
        assert word in text
    rows = json.loads(out.read_text())["rows"]
    assert [row["row"] for row in rows] == ["a", "b", "c", "d", "d", "e", "f"]


def test_table_2_beside_a_subject(capsys):
    assert run(["flops", "tiny", "--table2", "--json", "-"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["subject"] == "tiny"
    assert len(found["table2"]["rows"]) == 7
    assert "denoiser" in printed.err
    assert "SR3" in printed.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "nothing to count"),
        (["nothing"], 3, "no preset, checkpoint or bundle 'nothing'"),
        (["paper", "--size", "100x128"], 2, "multiples of 8"),
        (["paper", "--size", "large"], 2, "--size is 'large'"),
        (["paper", "--upsample", "bicubic"], 2, "'bicubic' is not one of 'conv', 'transposed'"),
        (["demo", "--upsample", "conv"], 2, "cannot be changed"),
        (["--table2", "--upsample", "conv"], 2, "--table2 has its own networks"),
        (["tiny", "--json", "absent/f.json"], 2, "its folder does not exist"),
    ],
)
def test_exit_codes(arguments, code, words, capsys):
    assert run(["flops", *arguments]) == code
    assert words in capsys.readouterr().err
