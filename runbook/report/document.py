"""Runs and errors as JSON documents: the same facts as the text, every time in UTC."""

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from runbook.core.events import Event, RunStarted
from runbook.core.failure import Failure
from runbook.core.plan import JsonObject
from runbook.errors import ExitStatus, RunbookError
from runbook.report.commands import way_on
from runbook.report.view import RunView, StepView, Waiting


def run_document(view: RunView, *, invocation: str) -> JsonObject:
    """A run with its steps, and what to type next."""
    way = way_on(view, invocation)
    return {
        **run_row(view),
        "summary": view.summary,
        "trigger": view.trigger,
        "exit_status": None if view.exit_status is None else int(view.exit_status),
        "signal": view.signal,
        "error": view.error,
        "is_changed": view.is_changed,
        "system": list(view.world),
        "waiting": [_waiting(waiting) for waiting in view.waiting],
        "failed": view.failed.id if view.failed else None,
        "steps": [_step(step) for step in view.steps],
        "undone": run_document(view.undone, invocation=invocation) if view.undone else None,
        "commands": {"go_on": way.main, "others": list(way.others)},
    }


def run_row(view: RunView) -> JsonObject:
    """A run in a list."""
    return {
        "id": view.id,
        "runbook": view.runbook,
        "project": view.project,
        "environment": view.environment,
        "lock": view.lock,
        "end": str(view.end),
        "by": view.by,
        "started_at": _time(view.started_at),
        "last_at": _time(view.at),
        "took_s": round(view.took_s, 3),
    }


def _waiting(waiting: Waiting) -> JsonObject:
    document: JsonObject = {
        "step": waiting.step,
        "question": waiting.question,
        "answers": ["done", "again", "failed"] if waiting.is_doubt else ["done", "failed"],
        "expires_at": _time(waiting.expires_at),
        "approval": None,
    }
    if waiting.approvers:
        document["answers"] = ["approve", "reject"]
        document["approval"] = {
            "required": waiting.approvers.required,
            "of": list(waiting.approvers.names),
            "allow_self": waiting.approvers.allow_self,
            "approved_by": list(waiting.approved_by),
        }
    return document


def _step(step: StepView) -> JsonObject:
    return {
        "id": step.id,
        "name": step.name,
        "kind": step.kind,
        "status": str(step.status),
        "is_in_doubt": step.is_in_doubt,
        "has_changed": step.has_changed,
        "attempts": step.attempts,
        "started_at": _time(step.started_at),
        "ended_at": _time(step.ended_at),
        "took_s": None if step.took_s is None else round(step.took_s, 3),
        "reason": step.reason or None,
        "failure": _failure(step.failure),
        "outputs": step.outputs,
    }


def _failure(failure: Failure | None) -> JsonObject | None:
    if failure is None:
        return None
    return {
        "code": failure.code,
        "message": failure.message,
        "hint": failure.hint,
        "where": failure.where,
        "output_tail": list(failure.output_tail),
    }


def error_document(
    error: RunbookError,
    *,
    exit_status: ExitStatus,
    hint: str | None,
    diagnostics: Sequence[JsonObject] = (),
) -> JsonObject:
    """Why a command did not do what it was asked for."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": hint,
            "where": error.where,
            "exit_status": int(exit_status),
        },
        "diagnostics": list(diagnostics),
    }


def event_line(run_id: str, seq: int, event: Event) -> str:
    """An event as one line of JSON; a plan is left out, all else is there."""
    content = {
        field.name: _plain(getattr(event, field.name))
        for field in fields(event)
        if field.name != "plan"
        and not (isinstance(event, RunStarted) and field.name in ("run_id", "undone"))
    }
    if isinstance(event, RunStarted):
        content["runbook"] = event.plan.runbook
        content["environment"] = event.plan.environment
        content["undoes"] = event.undone.run_id if event.undone else None
    head = {"type": type(event).__name__, "run": run_id, "seq": seq}
    return json.dumps(head | content, ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return _time(value)
        case StrEnum():
            return str(value)
        case Failure():
            return _failure(value)
        case _ if hasattr(value, "__dataclass_fields__"):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="milliseconds") if at else None
