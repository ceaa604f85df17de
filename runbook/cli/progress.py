"""What is in flight while a run goes on: kept by every watcher that shows it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runbook.core.events import (
    ApprovalRequested,
    DoubtSettled,
    Event,
    StepFailed,
    StepStarted,
    StepSucceeded,
)
from runbook.core.plan import Plan
from runbook.report.lines import Line, Mark, Teller


@dataclass(slots=True)
class Flight:
    """A step in flight."""

    since_s: float
    """When it started, or was taken up again, by the monotonic clock."""
    line: str = ""
    """What it showed last."""


@dataclass(slots=True)
class Progress:
    """Follows a run by its events."""

    clock: Callable[[], float] = time.monotonic
    flights: dict[str, Flight] = field(default_factory=dict)
    width: int = 0
    """Of the longest step id."""
    _teller: Teller = field(default_factory=Teller)

    def saw(self, run_id: str, plan: Plan, seq: int, events: Sequence[Event]) -> list[Line]:
        """What these events say; of a run that is taken up again, in short."""
        if seq == 0:
            self.flights.clear()
            self.width = max((len(step.id) for step in plan.steps), default=0)
        lines = []
        for event in events:
            line = self._teller.tell(run_id, plan, event)
            lines += [line] if line else []
            self._follow(event)
        return self._in_short(events, lines) if seq == 0 and len(events) > 1 else lines

    def _follow(self, event: Event) -> None:
        match event:
            case StepStarted():
                self.flights[event.step] = Flight(self.clock())
            case StepSucceeded() | StepFailed() | DoubtSettled() | ApprovalRequested():
                self.flights.pop(event.step, None)
            case _:
                pass

    def _in_short(self, events: Sequence[Event], lines: list[Line]) -> list[Line]:
        """The header, what was done before, and what was in flight when the last process went."""
        over = [line.step for line in lines if line.mark in (Mark.OK, Mark.SKIPPED)]
        told = [line for line in lines if not line.step]
        short = [told[0]] if told else []
        if done := [step for step in dict.fromkeys(over) if step not in self.flights]:
            short.append(Line(mark=Mark.OK, note=f"done before: {', '.join(done)}"))
        short += [
            Line(mark=Mark.DOUBT, step=step, note="was in flight: finding out what became of it")
            for step in self.flights
        ]
        return short + told[-1:] if len(told) > 1 else short

    def show(self, step: str, line: str) -> Flight:
        """Keep what a step does right now; it may have been taken up without a new start."""
        flight = self.flights.setdefault(step, Flight(self.clock()))
        flight.line = line
        return flight
