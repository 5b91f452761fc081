"""The Containerfile: its stages, and the script that runs its steps without a container engine."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Containerfile").read_text()


@pytest.fixture(scope="module")
def check() -> Any:
    spec = importlib.util.spec_from_file_location(
        "check_container", ROOT / "release/check_container.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_container"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["check_container"]


def test_both_targets_and_what_they_need(check):
    stages = check.stages(TEXT)
    assert check._needed(stages, "cpu") == ["build-cpu", "cpu"]
    assert check._needed(stages, "cuda") == ["build-cuda", "cuda"]
    for name in ("cpu", "cuda"):
        words = dict(stages[name].steps)
        assert words["CMD"] == '["petrt", "--help"]'
        assert int(words["USER"]) > 0  # not root


def test_bases_are_pinned_to_a_release(check):
    for stage in check.stages(TEXT).values():
        assert re.fullmatch(r"docker\.io/[\w/.-]+:\d[\w.-]*", stage.base)


def test_extras_of_the_images_exist():
    extras = {each for found in re.findall(r"\[([a-z,-]+)\]\"", TEXT) for each in found.split(",")}
    assert extras == {"cuda", "tensorrt-rtx"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras <= {*project["optional-dependencies"]}


@pytest.fixture
def run(check, tmp_path, monkeypatch) -> Any:
    """Runs the target "second" of a Containerfile's text, in tmp_path / "scratch"."""
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "pyproject.toml").write_text("")
    check.subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    monkeypatch.setattr(check, "ROOT", repository)
    monkeypatch.setattr(check.venv, "create", lambda *_, **__: None)

    def runs(text: str) -> dict[str, Any]:
        (repository / "Containerfile").write_text(text)
        return check.run("second", tmp_path / "scratch")

    return runs


def test_steps_run_in_the_folder_of_their_stage(run, tmp_path, capfd):
    result = run("""
FROM docker.io/library/a:1 AS first
WORKDIR /src
COPY . .
RUN mkdir /wheels \\
 && cp pyproject.toml /wheels/x
FROM docker.io/library/a:1 AS second
COPY --from=first /wheels /wheels
ENV PATH=/opt/bin:$PATH
RUN useradd nobody
RUN test -f /wheels/x && case "$PATH" in /*/opt/bin:*) ;; *) exit 1 ;; esac
CMD ["echo", "it ran"]
""")
    assert "it ran" in capfd.readouterr().out.splitlines()
    assert (tmp_path / "scratch" / "second" / "wheels" / "x").is_file()
    assert result["passed"]
    outcomes = ["done"] * 5 + ["left out: users are not made"] + ["done"] * 2
    assert [step["outcome"] for step in result["steps"]] == outcomes
    assert str(tmp_path) not in json.dumps(result)


def test_a_target_ends_with_the_step_that_fails(run, tmp_path):
    result = run("""
FROM docker.io/library/a:1 AS first
WORKDIR /src
RUN false && touch /src/one
RUN touch /src/two
FROM docker.io/library/a:1 AS second
COPY --from=first /src /src
""")
    assert not result["passed"]
    assert [step["outcome"] for step in result["steps"]] == ["done", "failed with exit code 1"]
    assert [*(tmp_path / "scratch" / "first" / "src").iterdir()] == []


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_the_stored_result_is_that_of_the_containerfile(check, target):
    """A step that was changed since has no result: run release/check_container.py again."""
    result = json.loads((ROOT / "benchmarks/results/container.json").read_text())[target]
    stages = check.stages(TEXT)
    steps = [
        (name, f"{word} {rest}")
        for name in check._needed(stages, target)
        for word, rest in stages[name].steps
    ]
    assert [(step["stage"], step["step"]) for step in result["steps"]] == steps
    assert result["passed"]


@pytest.mark.parametrize("text", ["RUN true", "FROM a:1", "FROM a:1 AS b\nADD x y"])
def test_what_it_cannot_read_is_refused(check, text):
    with pytest.raises(ValueError, match=r"before|without|unknown"):
        check.stages(text)
