"""The end of a run as text: what happened, how the system stands, last the command that goes on."""

import textwrap
from collections.abc import Sequence

from runbook.core.events import Approvers, Trigger
from runbook.core.failure import Failure
from runbook.core.state import Status
from runbook.report.commands import WayOn, headline, way_on
from runbook.report.ending import End
from runbook.report.lines import inconclusive
from runbook.report.view import RunView, StepView, Waiting
from runbook.report.world import UNCHANGED
from runbook.units import format_duration

LABEL_WIDTH = 13
MARGIN = " " * (LABEL_WIDTH + 2)
TAIL_LINES = 10
_OPEN = (Status.RUNNING, Status.DOUBTFUL, Status.ASKING)


def end_text(view: RunView, *, invocation: str, log_dir: str, width: int = 80) -> str:
    """All that the end of a run says; the last line can be typed as it stands."""
    if view.end is End.SUCCEEDED:
        return _succeeded(view, invocation, width)
    if view.end in (End.ABORTED, End.SUPERSEDED):
        note = f": {view.note}" if view.note else ""
        has_begun = any(step.has_changed for step in view.steps)
        word = "not rolled back" if view.undone and not has_begun else view.end
        return f"{word}: {view.id}{note}\n"
    way = way_on(view, invocation)
    blocks = [_head(view), "", *_facts(view, invocation, log_dir, width), *_ways(way)]
    return "\n".join(blocks) + "\n"


def _succeeded(view: RunView, invocation: str, width: int) -> str:
    lines = [f"`{s.id}` {note}" for s in view.steps if (note := inconclusive(s.outputs))]
    took = format_duration(view.took_s)
    if view.undone is None:
        continued = [s for s in view.steps if s.status is Status.FAILED]
        lines += [f"went on without `{s.id}`: {_why(s)}" for s in continued]
        lines.append(f"succeeded: {view.id} in {took}")
    elif view.trigger != Trigger.FAILURE:
        lines.append(f"succeeded: {view.id} in {took}; {view.undone.id} is undone{_idle(view)}")
    else:
        lines += _rolled_back(view.undone, invocation, width)
        lines[-1] += _idle(view)
    return "\n".join(lines) + "\n"


def _rolled_back(undone: RunView, invocation: str, width: int) -> list[str]:
    lines = []
    if failed := undone.failed:
        log = f"{invocation} logs {undone.id} {failed.id}"
        lines = [*_failure_lines(failed, width), f"  {'Log':<{LABEL_WIDTH}}{log}", ""]
    return [*lines, f"rolled back: the system is as before, {_how_it_failed(undone)}"]


def _idle(rollback: RunView) -> str:
    """That a rollback has left everything stopped, as it was when its restore point was made."""
    done = [step for step in rollback.steps if step.status is Status.SUCCEEDED]
    points = [step for step in done if step.kind == "load_restore_point"]
    nothing_ran = any(step.outputs.get("served") is False for step in points)
    is_up = any(step.kind.endswith("_up") for step in done)
    return "; nothing ran at that point: everything is stopped" if nothing_ran and not is_up else ""


def _how_it_failed(view: RunView) -> str:
    if view.failed is None:
        return f"{view.id} failed"
    return f"{view.id} failed at `{view.failed.id}`: {_why(view.failed)}"


def _why(step: StepView) -> str:
    return step.failure.message if step.failure else "no reason is recorded"


def _head(view: RunView) -> str:
    of = f" of {view.undone.id}" if view.undone else ""
    status = f"  [exit {int(view.exit_status)}]" if view.exit_status is not None else ""
    return f"{headline(view)}  {view.id}{of}{status}"


def _facts(view: RunView, invocation: str, log_dir: str, width: int) -> list[str]:
    rows = []
    if view.error:
        rows.append(_row("Stopped", view.error, width))
    if view.failed and view.end is not End.INTERRUPTED:
        rows += _failure_lines(view.failed, width)
    for waiting in view.waiting:
        rows.append(_row("Question", f"{waiting.step}: {waiting.question}", width))
        if waiting.approvers:
            rows.append(_row("Wanted", _wanted(waiting, waiting.approvers, view.by), width))
    if view.undone:
        rows += _undone_lines(view.undone, width)
    rows.append(_row("State now", "; ".join(view.world), width))
    rows += _step_lists(view, width)
    if view.failed and view.failed.guidance:
        rows += _guidance(view.failed.guidance)
    spot = view.failed or next((s for s in view.steps if s.status in _OPEN), None)
    logs = f"{invocation} logs {view.id}" + (f" {spot.id}" if spot else "")
    path = f"{log_dir}/{spot.id}.log" if spot else log_dir
    # What can be typed or opened is never wrapped.
    rows += [f"  {'Log':<{LABEL_WIDTH}}{path}", f"{MARGIN}{logs}"]
    return rows


def _wanted(waiting: Waiting, approvers: Approvers, starter: str) -> str:
    """Whose yes is wanted, and until when."""
    people = ", ".join(approvers.names) if approvers.names else f"other people than {starter}"
    if approvers.allow_self and not approvers.names:
        people = "anybody"
    said = f"; so far by {', '.join(waiting.approved_by)}" if waiting.approved_by else ""
    until = f"; until {waiting.expires_at:%Y-%m-%d %H:%M} UTC" if waiting.expires_at else ""
    return f"the yes of {approvers.required} of {people}{said}{until}"


def _undone_lines(view: RunView, width: int) -> list[str]:
    if view.failed is None:
        return [_row("Undoing", view.id, width)]
    rows = [_row("Undoing", _how_it_failed(view), width)]
    return rows + _tail_lines(view.failed.failure)


def _failure_lines(step: StepView, width: int) -> list[str]:
    """Why a step failed: its message, its last lines, its hint."""
    failure = step.failure or Failure(code="", message="no reason is recorded")
    rows = [_row("Why", f"`{step.id}`: {failure.message}", width)]
    if failure.where and failure.where not in failure.message:
        rows.append(_row("", f"in: {failure.where}", width))
    rows += _tail_lines(failure)
    if failure.hint:
        rows.append(_row("", f"help: {failure.hint}", width))
    return rows


def _tail_lines(failure: Failure | None) -> list[str]:
    lines = failure.output_tail[-TAIL_LINES:] if failure else ()
    return [f"{MARGIN}| {line}" for line in lines]


def _step_lists(view: RunView, width: int) -> list[str]:
    if view.world == (UNCHANGED,) and not any(s.attempts for s in view.steps):
        return []
    in_doubt = [s.id for s in view.steps if s.is_in_doubt]
    lists = [
        ("Was done", view.undone.ids(Status.SUCCEEDED) if view.undone else []),
        ("Done", view.ids(Status.SUCCEEDED)),
        ("Skipped", view.ids(Status.SKIPPED)),
        ("In doubt", in_doubt),
        ("Asking", view.ids(Status.ASKING)),
        ("Failed", view.ids(Status.FAILED, Status.RETRYING)),
        ("Unfinished", view.ids(Status.RUNNING)),
        ("Not started", view.ids(Status.WAITING)),
    ]
    return [_row(label, " ".join(ids), width) for label, ids in lists if ids]


def steps_text(view: RunView) -> str:
    """Every step of a run with how it stands and how long it took."""
    names = max((len(step.id) for step in view.steps), default=0)
    lines = [f"{view.id}: {view.summary or view.runbook}"]
    for step in view.steps:
        status = "in doubt" if step.is_in_doubt else str(step.status)
        duration = format_duration(step.took_s) if step.took_s is not None else ""
        note = step.failure.message if step.failure else step.reason
        lines.append(f"  {step.id:<{names}}  {status:<9}  {duration:>6}  {note}".rstrip())
    return "\n".join(lines)


def _guidance(text: str) -> list[str]:
    lines = text.strip().splitlines()
    labels = ["What to do", *[""] * (len(lines) - 1)]
    return [
        "",
        *(
            f"  {label:<{LABEL_WIDTH}}{line}".rstrip()
            for label, line in zip(labels, lines, strict=True)
        ),
        "",
    ]


def _ways(way: WayOn) -> Sequence[str]:
    if way.main is None:
        return []
    others = ["", "Or:", *way.others] if way.others else []
    return [*others, "", "Go on with:", way.main]


def _row(label: str, text: str, width: int) -> str:
    """A labelled line, wrapped under itself; a command is never broken inside a word."""
    wrapped = textwrap.wrap(
        text, max(width - len(MARGIN), 20), break_long_words=False, break_on_hyphens=False
    )
    lines = wrapped or [""]
    first = f"  {label:<{LABEL_WIDTH}}{lines[0]}"
    return "\n".join([first, *(f"{MARGIN}{line}" for line in lines[1:])])
