"""The watcher for programs: an event a line on stdout, first the version of the format."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runbook import __version__
from runbook.cli.answers import Answers
from runbook.core.actions import Ask
from runbook.core.events import Event
from runbook.core.plan import Plan
from runbook.core.state import RunState
from runbook.engine.watcher import Answer
from runbook.report.document import event_line

FORMAT = "runbook.events/1"
SHOW_EVERY_S = 10.0


@dataclass(kw_only=True)
class JsonlWatcher:
    """Writes a run as lines of JSON."""

    write: Callable[[str], None]
    answers: Answers
    clock: Callable[[], float] = time.monotonic
    _shown_at_s: dict[str, float] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._put({"type": "version", "format": FORMAT, "version": __version__})

    def close(self) -> None:
        """Nothing is kept back."""

    def saw(self, run_id: str, plan: Plan, seq: int, events: Sequence[Event]) -> None:
        """These events are on disk."""
        with self._guard:
            for number, event in enumerate(events, start=seq):
                self.write(event_line(run_id, number, event))

    def show(self, step: str, line: str) -> None:
        """What a step is doing right now: a line of it every so often."""
        now_s = self.clock()
        with self._guard:
            if now_s - self._shown_at_s.get(step, float("-inf")) < SHOW_EVERY_S:
                return
            self._shown_at_s[step] = now_s
        self._put({"type": "shown", "step": step, "line": line})

    def log(self, step: str, line: str) -> None:
        """A step's log is a file, and not repeated here."""

    def notice(self, text: str) -> None:
        """Something about the run as a whole."""
        self._put({"type": "notice", "text": text})

    def answer(self, plan: Plan, state: RunState, ask: Ask) -> Answer | None:
        """A person's answer, or None."""
        return self.answers.answer(plan, state, ask)

    def _put(self, content: dict[str, str]) -> None:
        with self._guard:
            self.write(json.dumps(content, ensure_ascii=False))
