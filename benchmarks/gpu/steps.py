"""Steps of a GPU run: child processes side by side, each under a limit, none able to take others with it.

Standard library only: this runs before the packages are there. A step lives in a session of its own. When
its time is over the whole session gets SIGABRT, on which Python writes where every thread stands, even one
that hangs inside CUDA, and a few seconds later SIGKILL.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GRACE = 5.0  # seconds between asking a process to end and ending it
LEAST = 5.0  # a step that would have less time than this is not begun


@dataclass(frozen=True)
class Step:
    """A command, and when it may run.

    ``limit``: seconds. ``needs``: steps that must have succeeded before, else this one is left out.
    ``after``: steps that must have ended. ``pool``: at most so many of one pool run at once. ``alone``:
    nothing else runs meanwhile; what still runs ``latest`` seconds after the start of the stage is
    ended for it, and, where ``resumes``, begun again behind it. ``unfinished``: whether an attempt that
    ended left work that another one, with ``again`` appended to the command, can go on with.
    ``stand_in``: what was put in the place of a GPU's tools, if anything was.
    """

    name: str
    command: Sequence[str]
    limit: float
    needs: Sequence[str] = ()
    after: Sequence[str] = ()
    pool: str | None = None
    alone: bool = False
    latest: float = float("inf")
    resumes: bool = True
    niceness: int = 0
    unfinished: Callable[[], bool] | None = None
    again: Sequence[str] = ()
    attempts: int = 3
    environment: dict[str, str] = field(default_factory=dict)
    stand_in: str | None = None


@dataclass
class Outcome:
    """What became of a step: "waiting", "running", "ok", "failed", "ended" (out of time) or "left out"."""

    step: Step
    state: str = "waiting"
    why: str = ""
    attempt: int = 0
    begun: float = 0.0
    spent: float = 0.0
    first: float | None = None
    code: int | None = None
    log: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    ending: float | None = None  # since when it is asked to end
    displaced: str = ""  # the step that runs alone in its place: after that its turn comes again

    @property
    def over(self) -> bool:
        return self.state not in ("waiting", "running")

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        found: dict[str, Any] = {
            "step": self.step.name,
            "state": self.state,
            "seconds": round(self.spent, 1),
            "begun_s": None if self.first is None else round(self.first, 1),
            "exit": self.code,
            "attempts": self.attempt,
        }
        if self.why:
            found["why"] = self.why
        if self.step.stand_in:
            found["stand_in"] = self.step.stand_in
        if tests := test_counts(self.log):
            found["tests"] = tests
        return found


def test_counts(log: Path | None) -> str | None:
    """pytest's own count at the end of a log, such as "12 passed, 3 skipped"."""
    if log is None or not log.exists():
        return None
    text = log.read_text(errors="replace")
    counts = re.findall(r"^=* ?((?:\d+ \w+(?:, )?)+) in [\d.]+s", text, re.M)
    return counts[-1] if counts else None


class Runner:
    """Runs steps until all are over or ``seconds`` have passed.

    ``changed`` is called whenever one ends, ``tick`` every ``poll`` seconds.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        seconds: float,
        logs: Path,
        *,
        pools: dict[str, int] | None = None,
        changed: Callable[[], None] = lambda: None,
        tick: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = print,
        poll: float = 0.1,
    ) -> None:
        self.outcomes = {step.name: Outcome(step) for step in steps}
        self._seconds, self._logs, self._pools = seconds, logs, pools or {}
        self._changed, self._tick, self._say, self._poll = changed, tick, say, poll
        self._start = time.monotonic()
        self._stopped = ""
        logs.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        return self._seconds - (time.monotonic() - self._start)

    def stop(self, why: str) -> None:
        """End everything soon: what runs is ended, what waits is left out."""
        self._stopped = why

    def run(self) -> bool:
        """True if every step succeeded."""
        while not all(outcome.over for outcome in self.outcomes.values()):
            if self.left <= GRACE and not self._stopped:
                self.stop("the time of the stage was over")
            for outcome in self.outcomes.values():
                self._look_after(outcome)
            self._begin_what_may()
            self._tick()
            time.sleep(self._poll)
        return all(outcome.state == "ok" for outcome in self.outcomes.values())

    def _running(self) -> list[Outcome]:
        return [o for o in self.outcomes.values() if o.state == "running"]

    def _begin_what_may(self) -> None:
        for outcome in self.outcomes.values():
            if outcome.state != "waiting":
                continue
            if self._stopped:
                self._over(outcome, "left out" if outcome.attempt == 0 else "ended", self._stopped)
                continue
            failed = [n for n in outcome.step.needs if self._settled(n) and not self._good(n)]
            if failed:
                self._over(outcome, "left out", f"it needs {failed[0]}")
            elif self._may_begin(outcome):
                self._begin(outcome)

    def _settled(self, name: str) -> bool:
        return name not in self.outcomes or self.outcomes[name].over

    def _good(self, name: str) -> bool:
        return name not in self.outcomes or self.outcomes[name].state == "ok"

    def _may_begin(self, outcome: Outcome) -> bool:
        step, running = outcome.step, self._running()
        if not all(self._settled(name) for name in step.needs):
            return False
        if any(other.step.alone for other in running):
            return False
        if step.alone:
            return self._clear_for(outcome)
        if not all(self._settled(name) for name in step.after):
            return False
        if outcome.displaced and not self._settled(outcome.displaced):
            return False
        same = [o for o in running if step.pool is not None and o.step.pool == step.pool]
        return step.pool is None or len(same) < self._pools.get(step.pool, 1)

    def _clear_for(self, outcome: Outcome) -> bool:
        """Whether a step may run alone now; at its latest time those before it make room."""
        step, everything = outcome.step, list(self.outcomes.values())
        before = [o for o in everything[: everything.index(outcome)] if not o.displaced]
        late = time.monotonic() - self._start >= step.latest
        if late:
            for other in before:
                self._displace(other, step.name)
        elif not all(other.over for other in before):
            return False
        return not self._running()

    def _displace(self, outcome: Outcome, name: str) -> None:
        why = f"ended for {name}"
        if outcome.state == "running" and outcome.ending is None:
            outcome.displaced = name
            self._ask_to_end(outcome, why)
        elif outcome.state == "waiting":
            outcome.displaced = name
            if not outcome.step.resumes:
                self._over(outcome, "left out", why)

    def _begin(self, outcome: Outcome) -> None:
        step = outcome.step
        if self.left - GRACE < LEAST:
            self._over(outcome, "left out", "no time was left")
            return
        outcome.attempt += 1
        outcome.displaced, outcome.ending, outcome.why = "", None, ""
        command = [*step.command, *(step.again if outcome.attempt > 1 else ())]
        outcome.log = self._logs / f"{step.name}.log"
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1", **step.environment}
        nice = ["nice", "-n", str(step.niceness)] if step.niceness else []
        outcome.begun = time.monotonic()
        if outcome.first is None:
            outcome.first = outcome.begun - self._start
        self._say(f"== {outcome.begun - self._start:6.1f} s  {step.name} begins")
        with outcome.log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            try:
                outcome.process = subprocess.Popen(
                    [*nice, *command],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                self._over(outcome, "failed", str(error))
                return
        outcome.state = "running"

    def _look_after(self, outcome: Outcome) -> None:
        process = outcome.process
        if outcome.state != "running" or process is None:
            return
        now = time.monotonic()
        code = process.poll()
        if code is not None:
            self._ended(outcome, code)
        elif outcome.ending is not None:
            if now - outcome.ending > GRACE:
                signal_session(process, signal.SIGKILL)
        elif self._stopped:
            self._ask_to_end(outcome, self._stopped)
        elif outcome.spent + now - outcome.begun > outcome.step.limit:
            self._ask_to_end(outcome, f"took longer than its {outcome.step.limit:.0f} s")

    def _ask_to_end(self, outcome: Outcome, why: str) -> None:
        assert outcome.process is not None
        outcome.ending, outcome.why = time.monotonic(), why
        signal_session(outcome.process, signal.SIGABRT)

    def _ended(self, outcome: Outcome, code: int) -> None:
        assert outcome.process is not None
        signal_session(outcome.process, signal.SIGKILL)  # what it left behind
        outcome.spent += time.monotonic() - outcome.begun
        step, outcome.code, outcome.process = outcome.step, code, None
        again = outcome.attempt < step.attempts and not self._stopped
        if outcome.displaced and again and step.resumes:
            outcome.state = "waiting"
            self._say(f"   {step.name}: {outcome.why}, its turn comes again")
        elif outcome.ending is not None:
            self._over(outcome, "ended", outcome.why)
        elif step.unfinished is not None and step.unfinished() and again:
            outcome.state = "waiting"
            self._say(f"   {step.name}: exit {code} with work left, begun again")
        else:
            self._over(outcome, "ok" if code == 0 else "failed", "")
        self._changed()

    def _over(self, outcome: Outcome, state: str, why: str) -> None:
        outcome.state, outcome.why = state, why
        name, tail = outcome.step.name, f": {why}" if why else ""
        self._say(f"   {name}: {state}{tail}, {outcome.spent:.1f} s")
        if state in ("failed", "ended") and outcome.log is not None and outcome.log.exists():
            for line in outcome.log.read_text(errors="replace").splitlines()[-15:]:
                self._say(f"   | {line[:200]}")
        self._changed()


def signal_session(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a child and to all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
