"""CaseRunner one after the other: files are read and written meanwhile, and told of in order."""

from __future__ import annotations

import errno
import json
import logging
import threading
from typing import Any

import nibabel
import numpy as np
import pytest

from petrt.cli.app import run
from petrt.cli.cases import CaseRunner, InputCase, Written, summary
from petrt.errors import InputError, PetrtError
from tests.cli.input_cases import cases
from tests.models import noisy_blob

WAIT = 20.0  # seconds until a test that hangs fails


class Staged(CaseRunner):
    """Cases without files: a name is read, run and written, and may fail at any of these."""

    def __init__(self, fails: dict[str, str] | None = None) -> None:
        super().__init__(None, None, "refuse", 1, None)  # type: ignore[arg-type]
        object.__setattr__(self, "fails", fails or {})
        object.__setattr__(self, "running", {name: threading.Event() for name in "abcd"})
        object.__setattr__(self, "reading", {name: threading.Event() for name in "abcd"})
        object.__setattr__(self, "threads", [])

    def step(self, what: str, name: str) -> None:
        self.threads.append((what, name, threading.current_thread()))  # type: ignore[attr-defined]
        if self.fails.get(name) == what:  # type: ignore[attr-defined]
            raise InputError(f"{name} cannot be {what}")

    def _read(self, case: InputCase) -> Any:
        name = case.source.name
        self.reading[name].set()  # type: ignore[attr-defined]
        self.step("read", name)
        return name

    def _reconstruct(self, case: InputCase, volume: Any, label: str) -> Any:
        self.running[volume].set()  # type: ignore[attr-defined]
        self.step("run", volume)
        return volume

    def _write(self, case: InputCase, volume: Any, result: Any) -> Any:
        assert case.source.name == volume == result
        self.step("written", volume)
        return Written([(logging.INFO, f"{volume} done")], {"seconds": {"total": 1.0}})


def test_lines_come_in_the_order_of_the_cases_from_one_thread(caplog):
    todo = Staged()
    with caplog.at_level(logging.INFO, "petrt"):
        assert todo.run(cases("abcd")) == []
    assert [r.message for r in caplog.records] == ["a done", "b done", "c done", "d done"]
    assert {r.thread for r in caplog.records} == {threading.get_ident()}
    assert {t for what, _, t in todo.threads if what == "run"} == {threading.current_thread()}


def test_the_next_case_is_read_and_the_last_one_written_while_one_runs():
    class Overlapping(Staged):
        def _reconstruct(self, case: InputCase, volume: Any, label: str) -> Any:
            following = chr(ord(volume) + 1)
            if following in "bcd":
                assert self.reading[following].wait(WAIT)
            return super()._reconstruct(case, volume, label)

        def _write(self, case: InputCase, volume: Any, result: Any) -> Any:
            following = chr(ord(volume) + 1)
            if following in "bcd":
                assert self.running[following].wait(WAIT)
            return super()._write(case, volume, result)

    assert Overlapping().run(cases("abcd")) == []


@pytest.mark.parametrize("what", ["read", "run", "written"])
def test_a_failure_is_told_in_its_place_and_stops_nothing(what, caplog):
    with caplog.at_level(logging.INFO, "petrt"):
        failures = Staged({"b": what, "d": what}).run(cases("abcd"))
    assert [e.message for e in failures] == [f"{name} cannot be {what}" for name in "bd"]
    told = [r.message.removeprefix("failed: ") for r in caplog.records]
    assert told == ["a done", f"b: b cannot be {what}", "c done", f"d: d cannot be {what}"]


@pytest.mark.parametrize("what", ["read", "run", "written"])
def test_the_error_of_a_single_case_is_raised(what, caplog):
    with pytest.raises(PetrtError, match=f"a cannot be {what}"):
        Staged({"a": what}).run(cases("a"))
    assert not caplog.records


@pytest.mark.parametrize("what", ["read", "run", "written"])
def test_an_error_of_the_system_fails_its_case_only(what, caplog):
    class Stale(Staged):
        def step(self, place: str, name: str) -> None:
            if place == what and name == "b":
                raise OSError(errno.ESTALE, "Stale file handle", "/data/Smith^John/b.nii")
            super().step(place, name)

    with caplog.at_level(logging.INFO, "petrt"):
        (failure,) = Stale().run(cases("abc"))
    assert str(failure).startswith("b.nii: the system refuses: Stale file handle; ")
    told = [r.message.partition(":")[0] for r in caplog.records]
    assert told == ["a done", "failed", "c done"]
    assert failure.exit_code == 4
    with pytest.raises(PetrtError, match="Stale file handle"):
        Stale().run(cases("b"))


def test_what_is_no_error_of_a_case_ends_the_run():
    class Broken(Staged):
        def _reconstruct(self, case: InputCase, volume: Any, label: str) -> Any:
            raise KeyError(volume)

    with pytest.raises(KeyError):
        Broken().run(cases("abc"))


def test_the_summary_warns_and_counts_background():
    frame = {"activity_ratio": None, "background_slices": 2}
    stats = {
        "warnings": ["odd"],
        "frames": [frame, frame],
        "seconds": {"total": 1.26},
        "label": "x",
    }
    assert summary("o.nii", stats) == [
        (logging.WARNING, "warning: o.nii: odd"),
        (logging.INFO, "o.nii: 4 background slices are set to 0"),
        (logging.INFO, "o.nii: activity ratio undefined, 1.3 s, x"),
    ]


def test_warnings_of_the_reader_are_logged_once_and_recorded(tiny_bundle, tmp_path, capsys):
    """A file that states two voxel sizes, without and with --quiet."""
    path, record = tmp_path / "low.nii", tmp_path / "run.json"
    image = nibabel.Nifti1Image(noisy_blob((16, 16, 3)), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.set_qform(np.diag([4.0, 4.0, 4.0, 1.0]), code="aligned")
    image.to_filename(path)
    for option in ("-v", "-q"):
        arguments = [
            "reconstruct",
            str(path),
            str(tmp_path / "out.nii"),
            "--model",
            str(tiny_bundle),
            option,
        ]
        arguments += [
            "--json",
            str(record),
            "--allow-activity-change",
            "--steps",
            "1",
            "--overwrite",
        ]
        assert run(arguments) == 0
        said = capsys.readouterr().err.count("two voxel sizes")
        assert said == (1 if option == "-v" else 0)
        (warning, *_) = json.loads(record.read_text())["warnings"]
        assert warning.startswith("two voxel sizes: sform 2 x 2 x 2")
