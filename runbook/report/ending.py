"""How a run that nobody drives any more stands, in one word and one exit status."""

from enum import StrEnum

from runbook.core.events import Outcome, Trigger
from runbook.core.plan import Plan
from runbook.core.state import (
    Phase,
    RunState,
    Status,
    has_changed_anything,
    is_consent_due,
    is_in_doubt,
)
from runbook.errors import ExitStatus, error_classes

SIGNAL_STATUSES = {
    "SIGHUP": ExitStatus.HUNG_UP,
    "SIGINT": ExitStatus.INTERRUPTED,
    "SIGTERM": ExitStatus.TERMINATED,
}


class End(StrEnum):
    """The end states, as people read them."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"
    ROLLBACK_FAILED = "rollback failed"
    PARKED = "waiting for an answer"
    INTERRUPTED = "interrupted"
    UNFINISHED = "unfinished"
    """Its driver died, or still lives."""
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


def end_of(plan: Plan, state: RunState, rollback: "tuple[Plan, RunState] | None" = None) -> End:
    """The end state of a run; `rollback` is the one that followed it, if any did."""
    if state.outcome is Outcome.HANDED_OVER and rollback is not None:
        end = end_of(*rollback)
        return {End.SUCCEEDED: End.ROLLED_BACK, End.FAILED: End.ROLLBACK_FAILED}.get(end, end)
    if rollback is not None and rollback[1].outcome is Outcome.SUCCEEDED:
        return End.ROLLED_BACK
    match state.outcome:
        case Outcome.SUCCEEDED:
            return End.SUCCEEDED
        case Outcome.ABORTED:
            return End.ABORTED
        case Outcome.SUPERSEDED:
            return End.SUPERSEDED
        case Outcome.FAILED | Outcome.HANDED_OVER:
            return End.FAILED
        case None:
            return _end_of_unfinished(plan, state)


def _end_of_unfinished(plan: Plan, state: RunState) -> End:
    statuses = {now.status for now in state.steps.values()}
    if state.phase is Phase.STOPPING:
        return End.INTERRUPTED
    if Status.RUNNING in statuses:
        return End.UNFINISHED
    if statuses & {Status.ASKING, Status.DOUBTFUL} or is_consent_due(plan, state):
        return End.PARKED
    return End.UNFINISHED


def exit_status(
    plan: Plan, state: RunState, *, signal: str | None = None, is_cut_short: bool = False
) -> ExitStatus:
    """The exit status of the process that left a run in this state.

    `signal` ended the driving; `is_cut_short`: by an error that is no step's.
    """
    is_changed = has_changed_anything(plan, state)
    is_rollback_of_failure = state.trigger is Trigger.FAILURE
    if is_cut_short:
        is_serious = is_changed or state.undone is not None
        return ExitStatus.ROLLBACK_FAILED if is_serious else ExitStatus.UNFIT
    if state.outcome is Outcome.SUCCEEDED:
        return ExitStatus.ROLLED_BACK if is_rollback_of_failure else ExitStatus.SUCCEEDED
    if state.outcome is Outcome.ABORTED:
        return ExitStatus.FAILED
    if signal and state.phase not in (Phase.FAILED, Phase.ENDED):
        return SIGNAL_STATUSES[signal]
    if is_rollback_of_failure:
        return ExitStatus.ROLLBACK_FAILED
    has_doubt = any(is_in_doubt(now) for now in state.steps.values())
    if state.undone is not None and (is_changed or has_doubt):
        return ExitStatus.ROLLBACK_FAILED
    if state.phase is not Phase.FAILED:
        return ExitStatus.PARKED
    return ExitStatus.FAILED if is_changed else _status_of_failure(plan, state)


def _status_of_failure(plan: Plan, state: RunState) -> ExitStatus:
    """Where nothing was changed, the failure itself says what kind of mending it needs."""
    codes = [now.failure.code for now in state.steps.values() if now.failure]
    known = error_classes()
    statuses = {known[code].exit_status for code in codes if code in known}
    return ExitStatus.UNFIT if statuses == {ExitStatus.UNFIT} else ExitStatus.FAILED
