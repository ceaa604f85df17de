"""The watcher for logs and pipes: lines with a time, appended, never rewritten; and a heartbeat."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runbook.cli.answers import Answers
from runbook.cli.progress import Progress
from runbook.core.actions import Ask
from runbook.core.events import Event
from runbook.core.plan import Plan
from runbook.core.state import RunState
from runbook.engine.watcher import Answer
from runbook.report.lines import Line, Mark, took
from runbook.units import format_duration

HEARTBEAT_S = 30.0
SHOW_EVERY_S = 10.0
_WORDS = {
    Mark.OK: "ok",
    Mark.FAILED: "FAILED",
    Mark.WARNING: "",
    Mark.GOES_ON: "",
    Mark.SKIPPED: "skipped",
    Mark.DOUBT: "",
    Mark.ASKS: "asks",
}
_URGENT = frozenset({Mark.FAILED, Mark.WARNING, Mark.ASKS})


@dataclass(slots=True)
class _Told:
    """What was last printed of a step, and when."""

    at_s: float
    shown_at_s: float = float("-inf")
    shown: str = ""


@dataclass(kw_only=True)
class PlainWatcher:
    """Prints a run to stderr, line by line."""

    say: Callable[[str], None]
    answers: Answers
    verbosity: int = 0
    heartbeat_s: float = HEARTBEAT_S
    show_every_s: float = SHOW_EVERY_S
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _told: dict[str, _Told] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._progress = Progress(clock=self.clock)
        self._guard = threading.RLock()
        self._is_over = threading.Event()
        self._pulse = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._pulse.start()

    def close(self) -> None:
        """Stop the heartbeat."""
        self._is_over.set()
        self._pulse.join()

    # --- Watcher --------------------------------------------------------------------------

    def saw(self, run_id: str, plan: Plan, seq: int, events: Sequence[Event]) -> None:
        """These events are on disk."""
        with self._guard:
            for line in self._progress.saw(run_id, plan, seq, events):
                if self.verbosity >= 0 or line.mark in _URGENT:
                    self._print(line.step, _text(line))

    def show(self, step: str, line: str) -> None:
        """What a step is doing right now."""
        with self._guard:
            self._progress.show(step, line)
            self._print_shown(step)

    def log(self, step: str, line: str) -> None:
        """A line of a step's log."""
        if self.verbosity > 0:
            with self._guard:
                self._print(step, line)

    def notice(self, text: str) -> None:
        """Something about the run as a whole."""
        with self._guard:
            self._print("", text)

    def answer(self, plan: Plan, state: RunState, ask: Ask) -> Answer | None:
        """A person's answer, or None."""
        return self.answers.answer(plan, state, ask)

    # --- heartbeat ------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self._is_over.wait(min(self.heartbeat_s, self.show_every_s) / 10):
            self.beat()

    def beat(self) -> None:
        """Print what is due: a shown line that was held back, or that a step still runs."""
        with self._guard:
            for step, flight in self._progress.flights.items():
                self._print_shown(step)
                told = self._told.setdefault(step, _Told(flight.since_s))
                if self.verbosity >= 0 and self.clock() - told.at_s >= self.heartbeat_s:
                    age = format_duration(self.clock() - flight.since_s)
                    shown = f": {flight.line}" if flight.line else ""
                    self._print(step, f"still running, {age}{shown}")

    def _print_shown(self, step: str) -> None:
        """Print what the step shows: at once where its state changed, else every so often."""
        flight = self._progress.flights[step]
        told = self._told.setdefault(step, _Told(flight.since_s))
        if self.verbosity < 0 or flight.line in ("", told.shown):
            return
        is_due = self.clock() - told.shown_at_s >= self.show_every_s
        if is_due or _is_failing(flight.line) != _is_failing(told.shown):
            told.shown, told.shown_at_s = flight.line, self.clock()
            self._print(step, flight.line)

    def _print(self, step: str, text: str) -> None:
        if step:
            self._told.setdefault(step, _Told(0.0)).at_s = self.clock()
        where = f"{step} | " if step else ""
        self.say(f"{self.now():%H:%M:%SZ} {where}{text}")


def _text(line: Line) -> str:
    parts = [_WORDS[line.mark], took(line)]
    head = " ".join(part for part in parts if part)
    gap = "  " if head and line.note else ""
    return f"{head}{gap}{line.note}"


def _is_failing(line: str) -> bool:
    """Whether a monitor's line tells of failures in a row."""
    found = re.search(r"Consecutive: (\d+)", line)
    return found is not None and found[1] != "0"
