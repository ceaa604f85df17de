"""Who watches a run: what a runtime tells people, what it asks them, and how it leaves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runbook.core.actions import Ask
from runbook.core.events import Event, Verdict
from runbook.core.plan import Plan
from runbook.core.state import RunState
from runbook.errors import RunbookError


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a person said."""

    verdict: Verdict
    """`done` also means yes, `failed` also means no."""
    by: str
    reason: str = ""


class Watcher(Protocol):
    """Somebody who shows a run to people, and asks them."""

    def saw(self, run_id: str, plan: Plan, seq: int, events: Sequence[Event]) -> None:
        """These events are on disk; `seq` is the first one's number."""

    def show(self, step: str, line: str) -> None:
        """What a step is doing right now; from any thread."""

    def log(self, step: str, line: str) -> None:
        """A line of a step's log, redacted; from any thread."""

    def notice(self, text: str) -> None:
        """Something about the run as a whole."""

    def answer(self, plan: Plan, state: RunState, ask: Ask) -> Answer | None:
        """A person's answer, or None where nobody is there to give one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Where a runtime left a run."""

    run_id: str
    plan: Plan
    state: RunState
    signal: str | None = None
    """The signal that ended the driving, if one did."""
    error: RunbookError | None = None
    """What cut the driving short, if anything did: such as a journal that cannot be written."""
