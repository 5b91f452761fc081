"""Steps of a GPU run: side by side, within their time, and none takes the others with it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import steps as gpu_steps
from benchmarks.gpu.steps import Runner, Step

HANGS = "import signal, time; signal.pthread_sigmask(signal.SIG_BLOCK, [15, 2]); time.sleep(60)"


def python(name: str, code: str, limit: float = 20, **options) -> Step:
    return Step(name, [sys.executable, "-c", code], limit, **options)


def run(steps, folder: Path, seconds: float = 60, **options) -> dict[str, gpu_steps.Outcome]:
    runner = Runner(steps, seconds, folder / "logs", say=lambda text: None, poll=0.02, **options)
    runner.run()
    return runner.outcomes


def states(outcomes) -> dict[str, str]:
    return {name: outcome.state for name, outcome in outcomes.items()}


def test_one_that_fails_leaves_the_others_but_those_that_need_it(tmp_path):
    steps = [
        python("bad", "raise SystemExit(3)"),
        python("good", "print('fine')"),
        python("needs", "", needs=("bad",)),
        python("after", "", after=("bad",)),
    ]
    outcomes = run(steps, tmp_path)
    assert states(outcomes) == {"bad": "failed", "good": "ok", "needs": "left out", "after": "ok"}
    assert outcomes["bad"].record()["exit"] == 3
    assert outcomes["needs"].record()["why"] == "it needs bad"
    assert "fine" in (tmp_path / "logs" / "good.log").read_text()


def test_one_that_hangs_says_where_and_is_ended_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_steps, "GRACE", 0.5)
    pid = tmp_path / "pid"
    child = f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', {HANGS!r}]); "
    child += f"open({str(pid)!r}, 'w').write(str(c.pid)); {HANGS}"
    outcome = run([python("hangs", child, limit=2)], tmp_path)["hangs"]
    assert (outcome.state, outcome.why) == ("ended", "took longer than its 2 s")
    assert "most recent call first" in (tmp_path / "logs" / "hangs.log").read_text()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid.read_text()}").exists() and time.monotonic() < deadline:
        status = Path(f"/proc/{pid.read_text()}/stat").read_text()
        if status.rsplit(")", 1)[1].split()[0] == "Z":  # ended; whoever adopted it has to notice
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid.read_text()}").exists()


def test_a_process_that_ignores_every_request_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_steps, "GRACE", 0.3)
    deaf = ["bash", "-c", "trap '' ABRT TERM INT; while true; do read -t 1 < /dev/zero; done"]
    outcome = run([Step("deaf", deaf, 1)], tmp_path)["deaf"]
    assert (outcome.state, outcome.code) == ("ended", -9)


def test_nothing_runs_beside_a_step_that_runs_alone(tmp_path):
    mark = "import os, time; open({name!r}, 'w').close(); time.sleep(0.4); os.remove({name!r})"
    names = [str(tmp_path / f"busy-{i}") for i in range(3)]
    busy = [python(f"busy-{i}", mark.format(name=name)) for i, name in enumerate(names)]
    look = f"import glob, sys; sys.exit(len(glob.glob({str(tmp_path / 'busy-*')!r})))"
    outcomes = run([*busy[:2], python("alone", look, alone=True), busy[2]], tmp_path)
    assert set(states(outcomes).values()) == {"ok"}


def test_a_step_that_runs_alone_makes_room_for_itself_and_the_others_go_on_behind(tmp_path):
    log = tmp_path / "order"

    def write(text: str, seconds: float) -> str:
        return f"import time; time.sleep({seconds}); open({str(log)!r}, 'a').write({text!r})"

    slow = f"import sys, time\nif not sys.argv[1:]: time.sleep(30)\n{write('slow ', 0)}"
    steps = [
        python("slow", slow, again=["--again"]),
        python("optional", write("optional ", 30), resumes=False),
        python("queued", write("queued ", 0), pool="p"),
        python("alone", write("alone ", 0), alone=True, latest=1.0),
    ]
    outcomes = run(steps, tmp_path)
    assert states(outcomes) == {"slow": "ok", "optional": "ended", "queued": "ok", "alone": "ok"}
    assert log.read_text().split() == ["queued", "alone", "slow"]
    assert outcomes["slow"].record()["attempts"] == 2


def test_a_pool_runs_so_many_at_once(tmp_path):
    steps = [python(f"p{i}", "import time; time.sleep(0.5)", pool="compile") for i in range(3)]
    outcomes = run(steps, tmp_path, pools={"compile": 2})
    begun = sorted(outcome.first for outcome in outcomes.values())
    assert begun[1] - begun[0] < 0.3
    assert begun[2] - begun[0] > 0.4


def test_work_that_an_attempt_left_is_gone_on_with(tmp_path):
    done = tmp_path / "done"
    code = f"import os, sys; open({str(done)!r}, 'a').write('x') if sys.argv[1:] else os.abort()"
    step = python("twice", code, unfinished=lambda: not done.exists(), again=["--resume"])
    outcome = run([step], tmp_path)["twice"]
    assert (outcome.state, outcome.attempt, done.read_text()) == ("ok", 2, "x")


def test_work_that_nobody_can_finish_is_not_tried_for_ever(tmp_path):
    step = python("never", "raise SystemExit(1)", unfinished=lambda: True, attempts=3)
    outcome = run([step], tmp_path)["never"]
    assert (outcome.state, outcome.attempt) == ("failed", 3)


def test_at_the_end_of_the_time_everything_stops_and_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_steps, "GRACE", 0.5)
    monkeypatch.setattr(gpu_steps, "LEAST", 0.5)
    told = []
    begun = time.monotonic()
    steps = [python("long", "import time; time.sleep(60)"), python("next", "", after=("long",))]
    outcomes = run(steps, tmp_path, seconds=3, changed=lambda: told.append(1))
    assert time.monotonic() - begun < 5
    assert states(outcomes) == {"long": "ended", "next": "left out"}
    assert outcomes["next"].why == "the time of the stage was over"
    assert told


def test_the_count_of_pytest_is_read_from_its_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("======== 12 passed, 3 skipped in 4.56s ========\n")
    assert gpu_steps.test_counts(log) == "12 passed, 3 skipped"
    log.write_text("1 failed, 2 passed in 0.10s\n")
    assert gpu_steps.test_counts(log) == "1 failed, 2 passed"
    assert gpu_steps.test_counts(tmp_path / "none") is None


@pytest.mark.skipif(not hasattr(os, "nice"), reason="needs nice")
def test_a_nice_step_is_nice(tmp_path):
    code = f"import os, sys; sys.exit(os.nice(0) != {min(19, os.nice(0) + 7)})"
    assert run([python("nice", code, niceness=7)], tmp_path)["nice"].state == "ok"


def test_a_command_that_does_not_exist_fails_like_any_other(tmp_path):
    outcomes = run([Step("none", ["/no/such/tool"], 5), python("good", "")], tmp_path)
    assert states(outcomes) == {"none": "failed", "good": "ok"}
