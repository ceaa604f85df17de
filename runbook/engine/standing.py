"""How a run stands towards the next one under its lock: finished, in the way, or replaceable."""

from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from runbook.core.events import Outcome, RunFinished, StepSkipped, Trigger
from runbook.core.plan import Plan
from runbook.core.state import Phase, RunState, failed_step, has_changed_anything, is_in_doubt
from runbook.errors import NotConfirmed

STALE_AFTER_S = 900.0
"""A run interrupted for longer than this before it changed anything is begun anew."""


class Standing(StrEnum):
    """What the next run under the same lock has to do with this one."""

    FINISHED = "finished"
    SUPERSEDABLE = "supersedable"
    """It changed nothing, or failed with nothing in doubt and no rollback due."""
    CLAIMS = "claims"
    """Only its resume, its rollback and its abort may proceed."""


def standing(plan: Plan, state: RunState) -> Standing:
    """How a run stands.

    A run that is handed over is finished here: its rollback stands in its place.
    """
    if state.phase is Phase.ENDED:
        return Standing.FINISHED
    if state.undone is not None:
        must_finish = state.trigger is Trigger.FAILURE or not state.undone.had_succeeded
        if must_finish or has_changed_anything(plan, state):
            return Standing.CLAIMS
        return Standing.SUPERSEDABLE
    if not has_changed_anything(plan, state):
        return Standing.SUPERSEDABLE
    has_doubt = any(is_in_doubt(now) for now in state.steps.values())
    if state.outcome is Outcome.FAILED and not has_doubt:
        return Standing.SUPERSEDABLE
    return Standing.CLAIMS


def closed(
    plan: Plan, state: RunState, fact: StepSkipped | RunFinished
) -> StepSkipped | RunFinished:
    """The fact as it is recorded: a no to a `confirm` before any change gives the run up."""
    failed = failed_step(plan, state)
    failure = state.steps[failed.id].failure if failed and failed.kind == "confirm" else None
    must_finish = state.undone is not None and not state.undone.had_succeeded
    if not isinstance(fact, RunFinished) or failure is None or failure.code != NotConfirmed.code:
        return fact
    if must_finish or has_changed_anything(plan, state):
        return fact
    return replace(fact, outcome=Outcome.ABORTED, reason=f"{failure.message}; nothing was changed")


def is_stale(plan: Plan, state: RunState, at: datetime) -> bool:
    """Whether to begin anew at that time rather than to go on: it changed nothing, long ago.

    Never a rollback, nor a run that was somebody's to approve: what they saw is what runs.
    """
    gap_s = state.interrupted_s + (at - state.at).total_seconds()
    is_bound = state.undone is not None or any(now.approvers for now in state.steps.values())
    return gap_s > STALE_AFTER_S and not is_bound and not has_changed_anything(plan, state)
