"""petrt node: what is refused before anything is received."""

from __future__ import annotations

import subprocess
import sys

import pytest

from petrt.cli import needs
from petrt.cli.app import run
from petrt.cli.node import _listen, _server
from petrt.errors import UsageError

TO = ("--forward", "PACS@127.0.0.1:104")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (TO, "nothing to receive from; give --port or --dicomweb"),
        (("--port", "0", "--allow", "A"), "nowhere to send series; give --forward"),
        (("--port", "0", *TO), "--port takes objects of nobody; give --allow AE"),
        (("--port", "0", "--allow", "A" * 17, *TO), "AE title is"),
        (("--port", "0", "--allow", "A", "--forward", "PACS"), "--forward is 'PACS'"),
        (("--dicomweb", "http://user:secret@h/dicom-web"), "--dicomweb holds a password"),
        (("--dicomweb", "http://h/dicom-web", "--study", "x"), "--study is not a UID"),
        (("--once", *TO, "--nonfinite", "x"), "'--nonfinite': 'x' is not one of"),
        (("--once", *TO, "--quiet-seconds", "nan"), "--quiet-seconds"),
        (("--once", *TO, "--dose", "2"), "dose"),
    ],
)
def test_usage(tiny_bundle, tmp_path, capsys, arguments, text):
    queue = tmp_path / "q"
    assert run(["node", "--queue", str(queue), "--model", str(tiny_bundle), *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert "secret" not in error
    assert not queue.exists()


def test_an_empty_queue_is_worked_off(tiny_bundle, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["--model", str(tiny_bundle), "--once", *TO]
    assert run(["node", "--queue", str(tmp_path / "q"), *arguments]) == 0
    assert run(["node", "--queue", str(tmp_path / "file"), *arguments]) == 2
    assert "file" in capsys.readouterr().err


def test_a_network_that_can_reach_it_is_warned_of(caplog, monkeypatch):
    _listen("127.0.0.1", 104, "PETRT", ["A"])
    assert caplog.messages == []
    _listen("0.0.0.0", 104, "PETRT", ["A"])
    assert "0.0.0.0 can be reached from the network" in caplog.text
    monkeypatch.setenv("PETRT_DICOMWEB_AUTHORIZATION", "Bearer secret")
    caplog.clear()
    _server("https://pacs.example/dicom-web")
    _server("http://127.0.0.1/dicom-web")
    assert caplog.messages == []
    _server("http://pacs.example/dicom-web")
    assert "unencrypted over http" in caplog.text
    assert "secret" not in caplog.text


def test_without_its_packages(monkeypatch):
    monkeypatch.setattr(needs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"petrt node needs pynetdicom and dicomweb-client"
    ) as caught:
        needs.need_network("petrt node")
    assert caught.value.hint == "pip install 'petrt[node]'"


def test_the_packages_are_imported_on_use():
    code = "import petrt.cli.app, sys; print({'pynetdicom', 'dicomweb_client'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
