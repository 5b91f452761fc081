"""Global options, help, and the commands that other files do not cover."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import sys
import time
from datetime import datetime

import nibabel
import numpy as np
import pytest

from petrt import __version__
from petrt.cli.app import run
from tests.helpers import write_nifti

COMMANDS = ("reconstruct", "evaluate", "train", "export", "build-engine", "bench")


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"petrt {__version__}\n"


def test_help_lists_every_command_and_the_exit_codes(capsys):
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert command in text
    assert "5 some cases failed" in re.sub(r"\s+", " ", text)


def test_usage_errors_exit_with_2(capsys):
    assert run(["reconstruct", "--nonsense"]) == 2
    assert run(["nonsense"]) == 2
    assert run(["--log-format", "xml", "inspect", "demo"]) == 2


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("reconstruct low.nii.gz", "argument 'OUT'"),
        ("reconstruct low.nii.gz --std std.nii.gz", "argument 'OUT'"),
        ("reconstruct -- low.nii.gz", "argument 'OUT'"),
        ("reconstruct", "argument 'IN...'"),
        ("evaluate out.nii.gz", "argument 'REF'"),
        ("bids study", "argument 'OUT'"),
        ("report", "argument '[IN] RUN'"),
        ("prepare --out data", "argument 'SOURCE...'"),
        ("prepare scans", "option '--out'"),
    ],
)
def test_the_argument_that_is_missing_is_named(words, missing, capsys):
    """The parser fills IN... OUT from both ends, and would say that IN is missing."""
    assert run(words.split()) == 2
    name = words.split()[0]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"petrt: error: Missing {missing}; see petrt {name} --help"


def test_inspect_shows_a_volume(tmp_path, capsys):
    path = tmp_path / "pet.nii.gz"
    data = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4) - 1
    nibabel.Nifti1Image(data, np.diag([-2.0, 2.0, 3.0, 1.0])).to_filename(path)
    assert run(["inspect", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["orientation"] == "LAS"
    assert facts["voxel_mm"] == [2.0, 2.0, 3.0]
    assert (facts["minimum"], facts["negative_voxels"]) == (-1.0, 1)


def test_errors_are_one_line_and_debug_shows_more(capsys, tmp_path):
    absent = str(tmp_path / "absent.nii.gz")
    assert run(["inspect", absent]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("petrt: error: absent.nii.gz: no such file")
    for arguments in (["--debug", "inspect", absent], ["inspect", absent, "--debug"]):
        assert run(arguments) == 3
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("Traceback")
        assert lines[-1].startswith("petrt: error: absent.nii.gz: no such file")


def test_an_error_of_the_system_that_nothing_expected_is_one_line(capsys, monkeypatch):
    def fail(_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", "/data/Smith^John/a\nb.nii")

    monkeypatch.setattr("petrt.engines.doctor.examine", fail)
    assert run(["doctor"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(r"petrt: error: a\nb.nii: the system refuses: Stale file handle; ")
    assert "Smith" not in line
    assert run(["--debug", "doctor"]) == 4
    assert capsys.readouterr().err.startswith("Traceback")


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "petrt: error: stopped by Ctrl-C"),
        (signal.SIGTERM, -signal.SIGTERM, "petrt: engine: "),
    ],
)
def test_a_signal_ends_a_command_and_leaves_no_output(tiny_bundle, tmp_path, number, code, words):
    """At once, in the middle of a batch of minutes. A shell shows the end by SIGTERM, here -15, as 143."""
    data = np.random.default_rng(0).gamma(2, 300, (64, 64, 16)).astype(np.float32)
    source = write_nifti(tmp_path / "low.nii", data)
    command = [
        sys.executable,
        "-m",
        "petrt",
        "reconstruct",
        str(source),
        str(tmp_path / "o.nii.gz"),
    ]
    command += ["--model", str(tiny_bundle), "--steps", "1000", "--samples", "64"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        time.sleep(0.3)
        process.send_signal(number)
        lines += process.communicate(timeout=20)[1].splitlines()
    assert lines[0].startswith("petrt: engine")
    assert process.returncode == code
    assert lines[-1].startswith(words)
    assert [path.name for path in tmp_path.iterdir()] == ["low.nii"]


def test_json_log_lines(tiny_bundle, tmp_path, capsys):
    source = tmp_path / "low.nii"
    data = np.random.default_rng(0).random((16, 16, 2)).astype(np.float32)
    write_nifti(source, data)
    arguments = ["reconstruct", str(source), str(tmp_path / "out.nii"), "--steps", "1"]
    arguments += ["--model", str(tiny_bundle), "--allow-activity-change"]
    assert run(["--log-format", "json", *arguments]) == 0
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (done,) = (record for record in records if record["event"] == "done")
    assert "activity ratio" in done["message"]
    assert (done["case"], done["level"]) == ("low.nii", "info")
    assert 0 < done["seconds"] < 1000
    for record in records:
        assert {"time", "level", "event", "case", "seconds", "message"} <= record.keys()
        assert datetime.fromisoformat(record["time"]).utcoffset() is not None
    assert any(record["event"] == "engine" for record in records)
    assert run(["--quiet", *arguments, "--overwrite"]) == 0
    assert capsys.readouterr().err == ""
