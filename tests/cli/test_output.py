"""What commands print: foreign texts on one line and never as markup, closed pipes, logs before and after."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from petrt import errors
from petrt.cli.app import run
from petrt.cli.logs import LogOptions
from petrt.cli.output import Output, add_row, say
from petrt.errors import UsageError
from petrt.files.names import printable
from petrt.files.outputs import check_output
from tests.helpers import write_nifti

HOSTILE = "a\npetrt: error: forged \x1b[31m[red] [/] \u202e"
VOLUME = np.random.default_rng(0).gamma(2, 300, (16, 16, 2)).astype(np.float32)


def petrt(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "petrt", *map(os.fsencode, map(str, arguments))]
    return subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("text", [HOSTILE, os.fsdecode(b"\xff.nii"), "one\u2028two", "x\0y"])
def test_foreign_text_is_one_printable_line(text, capsys):
    assert printable(text).isprintable()
    say(text)
    table = Table("name")
    add_row(table, text)
    Output().print(table)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == printable(text)
    assert all(line.isprintable() for line in printed.splitlines())
    assert printable(text) in printed.splitlines()[-2].strip(" │|") + printed


def test_usual_text_is_left_alone():
    for text in ("Müller 1 [red].nii", "µm ± 2", ""):
        assert printable(text) is text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_record_is_one_line_whatever_it_holds(log_format, capsys):
    LogOptions(log_format=log_format).apply()
    logger = logging.getLogger("petrt.io")
    try:
        logger.warning("%s: odd", HOSTILE)
    finally:
        logging.getLogger("petrt").handlers.clear()
        logging.getLogger("petrt").propagate = True
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "forged" in line
    assert not line.startswith("petrt: error")


def test_a_hostile_name_in_every_command_that_shows_it(tmp_path, tiny_bundle, capsys):
    path = write_nifti(tmp_path / f"{HOSTILE.replace('/', '')}.nii", VOLUME)
    commands = [
        ["inspect", str(path)],
        ["evaluate", str(path), str(path)],
        ["reconstruct", str(path), str(tmp_path / "o.nii"), "--model", str(tiny_bundle)],
        ["reconstruct", str(path), str(tmp_path / "p.nii"), "--dry-run"],
        ["flops", str(path)],
        ["prepare", str(path), "--out", str(tmp_path / "d")],
    ]
    for command in commands:
        run(command)
        printed = capsys.readouterr()
        lines = [*printed.out.splitlines(), *printed.err.splitlines()]
        assert lines, command
        assert all(line.isprintable() for line in lines), command
        assert not any(line.startswith("petrt: error: forged") for line in lines)


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("utf-8", marks=pytest.mark.slow)])
def test_names_that_a_terminal_cannot_show(tmp_path, encoding):
    path = f"{tmp_path}/{os.fsdecode('Grüße'.encode() + bytes([255, 254]))}.nii"
    write_nifti(tmp_path / "plain.nii", VOLUME).rename(path)
    for arguments in (["inspect", path], ["evaluate", path, path]):
        done = petrt(*arguments, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
    done = petrt("inspect", path + "x.nii", PYTHONIOENCODING=encoding)
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1


def test_a_closed_pipe_ends_with_141_and_no_word(tmp_path):
    read, write = os.pipe()
    os.close(read)
    for arguments in (["inspect", "demo"], ["inspect", "demo", "--json"], ["--help"]):
        command = [sys.executable, "-m", "petrt", *arguments]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (141, b""), arguments
    os.close(write)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("--version",), ("inspect", "demo")])
def test_stdout_on_a_full_disk_is_one_line(arguments, buffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered}
    command = [sys.executable, "-m", "petrt", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment, text=True, check=False
        )
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("petrt: error: the system refuses: No space left on device")


def test_a_log_that_nobody_reads_does_not_end_a_run(tmp_path, tiny_bundle):
    low = write_nifti(tmp_path / "low.nii", VOLUME)
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "petrt", "reconstruct", str(low), str(tmp_path / "o.nii")]
    command += ["--model", str(tiny_bundle), "--steps", "1", "--allow-activity-change"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=write, check=False)
    os.close(write)
    assert done.returncode == 0
    assert (tmp_path / "o.nii").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--log-format", "json", "inspect", "absent.nii"],
        ["inspect", "absent.nii", "--log-format", "json"],
        ["inspect", "absent.nii", "--log-format=json", "--quiet"],
        ["inspect", "--nonsense", "--log-format", "json"],
        ["--log-format", "json", "nonsense"],
    ],
)
def test_the_last_error_has_the_form_of_the_log_and_the_exit_code(arguments, capsys):
    code = run(arguments)
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(records) == 1
    assert records[0]["level"] == "error"
    assert records[0]["exit_code"] == code
    assert code in (2, 3)


def test_options_of_the_log_stand_before_or_after_the_command(capsys):
    for arguments in (["-q", "inspect", "demo"], ["inspect", "demo", "-q"]):
        assert run(arguments) == 0
        assert capsys.readouterr().err == ""
    for arguments in (["-v", "inspect", "demo"], ["inspect", "-v", "demo"]):
        assert run(arguments) == 0
    assert LogOptions(quiet=True) | LogOptions(log_format="json") == LogOptions(
        quiet=True, log_format="json"
    )


def test_a_fault_of_petrt_is_one_line_and_exit_code_1(monkeypatch, capsys):
    def fail(_):
        raise KeyError("inside")

    monkeypatch.setattr("petrt.cli.inspect.describe_bundle", fail)
    assert run(["inspect", "demo", "--json"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "petrt: error: a fault of petrt: KeyError: 'inside'; run it with --debug"
    )


def test_a_command_leaves_the_log_of_its_caller_as_it_was():
    logger = logging.getLogger("petrt")
    before = logger.handlers[:], logger.level, logger.propagate
    run(["--log-format", "json", "-q", "inspect", "absent.nii"])
    assert (logger.handlers[:], logger.level, logger.propagate) == before


def test_hints_name_what_the_caller_can_do(tmp_path):
    there = tmp_path / "there.nii"
    there.write_bytes(b"")
    said = {}
    for caller, options in (("Python", None), ("with", ["overwrite"]), ("without", ["model"])):
        errors.speak_of(options)
        try:
            with pytest.raises(UsageError) as caught:
                check_output(there)
        finally:
            errors.speak_of(None)
        said[caller] = caught.value.hint
    assert said == {
        "Python": "overwrite=True replaces it",
        "with": "--overwrite replaces it",
        "without": "choose another output path",
    }
    assert errors.way("nonfinite", "zero", "replaces them") == "nonfinite='zero' replaces them"
    assert errors.way("max_voxels", "12", "lets it in") == "max_voxels=12 lets it in"


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_only_records_go_to_stdout(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    low = write_nifti(tmp_path / "low.nii", VOLUME)
    if option == "--json":
        assert run(["evaluate", str(low), str(low), option, "-"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["inputs"]["reference"]["name"] == "low.nii"
        assert "PSNR" in printed.err
    else:
        assert run(["bench", "demo", "--dry-run", option, "-"]) == 2
        assert "only --json" in capsys.readouterr().err
    assert not Path("-").exists()
