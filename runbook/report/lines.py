"""A run while it goes on, line by line: what each event says to whoever watches. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from runbook.core.events import (
    ApprovalGiven,
    ApprovalRefused,
    ApprovalRequested,
    CancelRequested,
    DoubtSettled,
    Event,
    Outcome,
    PlanAmended,
    RunFinished,
    RunResumed,
    RunStarted,
    StepFailed,
    StepProgressed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    Trigger,
    Verdict,
)
from runbook.core.plan import Effect, JsonObject, Plan
from runbook.units import format_duration, format_size


class Mark(Enum):
    """What a line is about; its value stands before it."""

    OK = "ok"
    FAILED = "x"
    WARNING = "!"
    GOES_ON = ">"
    SKIPPED = "-"
    DOUBT = "~"
    ASKS = "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something to tell."""

    mark: Mark
    step: str = ""
    """Empty: it is about the run as a whole."""
    took_s: float | None = None
    note: str = ""


@dataclass(slots=True)
class Teller:
    """Turns events into lines; remembers when each step started, and whose yes it wants."""

    _started: dict[str, datetime] = field(default_factory=dict)
    _wanted: dict[str, int] = field(default_factory=dict)

    def tell(self, run_id: str, plan: Plan, event: Event) -> Line | None:
        """What this event says; nothing, where nobody needs to know."""
        match event:
            case RunStarted() | RunResumed() | PlanAmended() | CancelRequested() | RunFinished():
                return _tell_of_run(run_id, plan, event)
            case StepStarted():
                self._started[event.step] = event.at
                attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
                return Line(mark=Mark.GOES_ON, step=event.step, note=f"started{attempt}")
            case StepProgressed():
                return None
            case _:
                return self._tell_of_step(plan, event)

    def _tell_of_step(
        self,
        plan: Plan,
        event: StepSucceeded
        | StepFailed
        | StepSkipped
        | DoubtSettled
        | ApprovalRequested
        | ApprovalGiven
        | ApprovalRefused,
    ) -> Line:
        step, took_s = event.step, self._took_s(event.step, event.at)
        match event:
            case StepSucceeded():
                note = _note(plan, event)
                return Line(mark=Mark.OK, step=step, took_s=took_s, note=note)
            case StepFailed():
                return Line(mark=Mark.FAILED, step=step, took_s=took_s, note=event.failure.message)
            case StepSkipped():
                return Line(mark=Mark.SKIPPED, step=step, note=event.reason)
            case DoubtSettled():
                return _tell_of_doubt(event)
            case ApprovalRequested():
                self._wanted[step] = event.approvers.required if event.approvers else 1
                return Line(mark=Mark.ASKS, step=step, note=event.question)
            case ApprovalGiven():
                self._wanted[step] = wanted = self._wanted.get(step, 1) - 1
                note = _by(event.by, event.note)
                if wanted > 0:
                    return Line(mark=Mark.ASKS, step=step, note=f"{note}; {wanted} more wanted")
                return Line(mark=Mark.OK, step=step, took_s=took_s, note=note)
            case ApprovalRefused():
                note = f"refused {_by(event.by, event.note)}"
                return Line(mark=Mark.FAILED, step=step, took_s=took_s, note=note)

    def _took_s(self, step: str, at: datetime) -> float | None:
        started = self._started.get(step)
        return (at - started).total_seconds() if started else None


def _tell_of_run(
    run_id: str,
    plan: Plan,
    event: RunStarted | RunResumed | PlanAmended | CancelRequested | RunFinished,
) -> Line | None:
    match event:
        case RunStarted() if event.undone is not None:
            way = "rolling back" if event.trigger is Trigger.FAILURE else "undoing"
            note = f"{way} {event.undone.run_id} by {plan.runbook} ({run_id})"
            return Line(mark=Mark.GOES_ON, note=note)
        case RunStarted():
            where = f" -> {plan.environment}" if plan.environment else ""
            return Line(mark=Mark.GOES_ON, note=f"{run_id}: {plan.summary or plan.runbook}{where}")
        case RunResumed():
            return Line(mark=Mark.GOES_ON, note=f"resumed by {event.by}")
        case PlanAmended():
            return Line(mark=Mark.WARNING, note=f"follows an amended plan, adopted by {event.by}")
        case CancelRequested():
            return Line(mark=Mark.WARNING, note=f"{event.signal} received: no new step starts")
        case RunFinished() if event.outcome is Outcome.ABORTED:
            by = f" by {event.by}" if event.by else ""
            return Line(mark=Mark.WARNING, note=f"aborted{by}: {event.reason}")
        case RunFinished():
            return None


def _tell_of_doubt(event: DoubtSettled) -> Line:
    match event.verdict:
        case Verdict.DONE:
            return Line(mark=Mark.OK, step=event.step, note=f"was done already: {event.reason}")
        case Verdict.AGAIN:
            return Line(mark=Mark.DOUBT, step=event.step, note=f"not finished: {event.reason}")
        case Verdict.FAILED:
            return Line(mark=Mark.FAILED, step=event.step, note=_by(event.by, event.reason))
        case Verdict.UNKNOWN:
            return Line(mark=Mark.DOUBT, step=event.step, note=f"in doubt: {event.reason}")


def _note(plan: Plan, event: StepSucceeded) -> str:
    if passed_over := _passed_over(event.outputs):
        return passed_over
    size = event.outputs.get("size_bytes")
    if isinstance(size, int) and not isinstance(size, bool):
        return format_size(size)
    is_idle = not event.changed and plan.step(event.step).effect is not Effect.READS
    return "nothing to change" if is_idle else ""


def _passed_over(outputs: JsonObject) -> str:
    """What fails and does not count, or does not tell: shown all the same."""
    if note := inconclusive(outputs):
        return note
    broken, results = outputs.get("broken"), outputs.get("results")
    if isinstance(broken, dict) and broken:
        return f"broken already: {len(broken)} of what is checked later"
    if isinstance(results, list):
        checks = [check for check in results if isinstance(check, dict)]
        failing = [str(check.get("name")) for check in checks if check.get("ok") is False]
        return f"fails, not counted: {', '.join(failing)}" if failing else ""
    discounted = outputs.get("discounted")
    if isinstance(discounted, int) and discounted > 0:
        return f"{discounted} failures not counted"
    return ""


def inconclusive(outputs: JsonObject) -> str:
    """That a monitor has passed although its samples do not tell; else nothing."""
    is_it = outputs.get("verdict") == "inconclusive"
    return "passed, but inconclusive: the samples do not tell" if is_it else ""


def _by(who: str, note: str) -> str:
    return f'by {who} ("{note}")' if note else f"by {who}"


_DROPPED_FIRST = ("Consecutive:", "Checks:", "Remaining:")


def fit(line: str, width: int) -> str:
    """The line in so many columns: of a monitor's fields the least telling go first."""
    fields = line.split(" | ")
    for label in _DROPPED_FIRST:
        if len(" | ".join(fields)) <= width:
            break
        fields = [text for text in fields if not text.startswith(label)]
    while len(" | ".join(fields)) > width and len(fields) > 1:
        fields.pop()
    text = " | ".join(fields)
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def took(line: Line) -> str:
    """How long it took, or nothing."""
    return format_duration(line.took_s) if line.took_s is not None else ""
