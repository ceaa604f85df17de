"""What a resumed run may adopt of its runbook as it reads now: all but what it has done already."""

from collections.abc import Sequence
from dataclasses import replace

from runbook.core.events import Event, PlanAmended, RunStarted
from runbook.core.plan import Effect, Plan, PlannedStep
from runbook.core.state import RunState, Status, StepState, has_changed

_FIXED = {"name": "runbook", "environment": "environment", "lock": "lock", "`for`": "undoes"}
"""What no amendment changes of a plan: what people call it, by its field."""


def plan_of(events: Sequence[Event]) -> Plan:
    """The plan that a run follows after these events, the first of which starts it."""
    for event in reversed(events):
        if isinstance(event, RunStarted | PlanAmended):
            return event.plan
    raise ValueError("a run begins with RunStarted")


def obstacles(before: Plan, after: Plan, state: RunState) -> list[str]:
    """Why a run that stands there cannot follow the other plan, a reason each; none: it can.

    A step that has begun stays as it was, but for one that failed and is to start anew; what that
    has changed stays changed, and is not to be forgotten.
    """
    reasons = [
        f"its {what} was `{getattr(before, name)}`, and is `{getattr(after, name)}` now"
        for what, name in _FIXED.items()
        if getattr(before, name) != getattr(after, name)
    ]
    if any(now.approvers for now in state.steps.values()):
        reasons.append("somebody was asked to approve it as it was")
    steps = {step.id: step for step in after.steps}
    for step in before.steps:
        now, new = state.steps[step.id], steps.get(step.id)
        if new is None and (_is_begun(now) or has_changed(step, now)):
            reasons.append(f"step `{step.id}` is gone, and has begun already")
        elif new and _is_begun(now) and _essence(new) != _essence(step):
            reasons.append(f"step `{step.id}` is another, and was {now.status} already")
        elif new and new.effect is Effect.READS and has_changed(step, now):
            reasons.append(f"step `{step.id}` only reads now, and has changed something already")
    return reasons


def _is_begun(now: StepState) -> bool:
    return now.status is not Status.WAITING or now.must_hold


def _essence(step: PlannedStep) -> PlannedStep:
    return replace(step, name="", guidance=None, place="")
