"""Every shell line of the pages that is no command of petrt: what it names exists, and its options do."""

from __future__ import annotations

import pytest

from tests.docs.shell import ALL, Fault, check, lines, recipes

LINES = {line: page.name for page in ALL for line in lines(page)}
LINES |= dict.fromkeys(recipes(), "Makefile")
OTHERS = {line: name for line, name in LINES.items() if not line.startswith("petrt ")}


def test_there_are_lines_of_many_kinds():
    first = {line.split()[0] for line in OTHERS}
    assert {"make", "pip", "python", "docker", "srun", "torchrun", "accelerate"} <= first


@pytest.mark.parametrize("line", OTHERS, ids=lambda line: f"{OTHERS[line]}: {line[:60]}")
def test_what_it_names_exists(line: str):
    check(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("make everything", "everything is none of targets"),
        ("make accept NEWER=model", "NEWER is none of the Makefile's variables"),
        ("make test # then make rest", "rest is none of targets"),
        ("pip install '.[gpus]'", "gpus is none of petrt's extras"),
        ("pip install petra", "petra is not petrt"),
        ("pip install . --fast", "unrecognized arguments: --fast"),
        ("pip install . && make everything", "everything is none of targets"),
        ("python -m benchmarks.nothing", "no module benchmarks.nothing"),
        ("python release/nothing.py", "no file release/nothing.py"),
        ("python release/check_container.py gpu", "gpu"),
        ("python -m benchmarks.clinic --fast", "unrecognized arguments: --fast"),
        ("python -m benchmarks.flops paper", "benchmarks.flops takes no arguments"),
        ("docker build -f Containerfile --target gpu -t a .", "gpu is none of"),
        ("docker build -f Dockerfile --target cpu -t a .", "Dockerfile is none of files"),
        ("docker run --rm petrt:gpu petrt doctor", "petrt:gpu is none of images"),
        ("podman run --rm IMAGE petra doctor", "petra is no command"),
        ("srun --gres=gpu:1 petra", "petra is no command"),
        ("export PETRT_CASH=/tmp", "PETRT_CASH is none of petrt's variables"),
        ("benchmarks/gpu.sh --stages 1", "--stages is none of its options"),
        ("torchrun --processes 2 -m petrt train demo", "--processes"),
        ("conda install petrt", "conda is no command"),
    ],
)
def test_a_line_with_a_fault_is_told_of(line: str, said: str):
    with pytest.raises(Fault) as caught:
        check(line)
    assert said in str(caught.value)
