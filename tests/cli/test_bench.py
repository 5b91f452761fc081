"""petrt bench as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from petrt.cli.app import run

SMALL = ("--size", "32x32", "--slices", "2", "--repeats", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))


def test_table_json_and_picture(tiny_bundle, tmp_path, capsys):
    numbers, picture = tmp_path / "out.json", tmp_path / "out.png"
    arguments = ["bench", str(tiny_bundle), *SMALL, "--engine", "onnxruntime", "--steps", "2,own"]
    arguments += ["--sections", "volume", "--json", str(numbers), "--plot", str(picture)]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    result = json.loads(numbers.read_text())
    assert result["format"] == "petrt-bench"
    assert {e["steps"] for e in result["candidates"].values()} == {2, 10}
    for name in result["candidates"]:
        assert name in out
    assert "denoiser" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run(arguments) == 2  # the outputs exist
    assert "--overwrite" in capsys.readouterr().err


def test_a_dry_run_lists_and_measures_nothing(tiny_bundle, capsys):
    arguments = ["bench", str(tiny_bundle), *SMALL, "--dry-run", "--batch", "1x1,2x4"]
    assert run([*arguments, "--samples", "1,8", "--engine", "onnxruntime,tensorrt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "onnxruntime fp32 s1 n10 b1x1 on cpu"
    assert len([line for line in lines if line.startswith("onnxruntime")]) == 4
    assert lines[-1].startswith("absent: tensorrt: TensorRT does not run on a CPU")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--engine", "nonsense"], 2, "--engine has no 'nonsense'"),
        (["--size", "32"], 2, "--size 32 is not of the form 128x128"),
        (["--size", "33x32"], 2, "multiples of"),
        (["--batch", "8"], 2, "--batch 8 is not of the form 1x8"),
        (["--samples", "0"], 2, "--samples 0 is not a positive whole number"),
        (["--steps", "few"], 2, "--steps few"),
        (["--sections", "all,volume"], 2, "--sections has no 'all'"),
        (["--repeats", "0"], 2, ""),
        (["--engine", "tensorrt"], 4, "nothing to measure"),
        (["--device", "cuda:99"], 4, "cannot use cuda:99"),
        (["--json", "no/out.json"], 2, "its folder does not exist"),
    ],
)
def test_errors_have_their_exit_codes(tiny_bundle, capsys, arguments, code, says):
    # Of an option given twice the last counts.
    assert run(["bench", str(tiny_bundle), *SMALL, *arguments]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""


def test_torch_stays_out_where_it_is_not_measured(tiny_bundle):
    code = (
        "import sys; from petrt.cli.app import run; "
        f"code = run(['bench', {str(tiny_bundle)!r}, *{SMALL!r}, '--engine', 'onnxruntime', "
        "'--sections', 'volume']); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
