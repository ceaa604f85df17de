"""Where a run and its steps stand, and the questions that everybody asks of that.

States are made by `machine.apply` alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from runbook.core.events import Approvers, Machine, Outcome, StepFacts, Trigger, Undone
from runbook.core.failure import Failure
from runbook.core.plan import Effect, JsonObject, Plan, PlannedStep

DAWN = datetime.min.replace(tzinfo=UTC)


class Status(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"
    RUNNING = "running"
    """In flight, or in doubt."""
    DOUBTFUL = "doubtful"
    """In doubt, and only a person can tell."""
    ASKING = "asking"
    """Done but for a person's yes."""
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class Phase(StrEnum):
    """Where a run stands."""

    NEW = "new"
    DRIVING = "driving"
    STOPPING = "stopping"
    """Told to stop; goes on only when resumed."""
    FAILED = "failed"
    """Ended by a failure; may be resumed."""
    ENDED = "ended"
    """Succeeded, handed over, aborted or superseded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """All that the events say of one step."""

    status: Status = Status.WAITING
    attempt: int = 0
    """The newest attempt; 0: never started."""
    failures: int = 0
    """Failed attempts since the step last had fresh ones."""
    has_changed: bool = False
    """Whether any ended attempt changed something, as far as recorded."""
    outputs: JsonObject = field(default_factory=dict)
    progress: JsonObject | None = None
    failure: Failure | None = None
    reason: str = ""
    """Why it was skipped, is in doubt, or what it asks."""
    expires_at: datetime | None = None
    approvers: Approvers | None = None
    """Whose yes it wants; absent: that of whoever drives the run."""
    approved_by: tuple[str, ...] = ()
    not_before: datetime | None = None
    must_hold: bool = False
    """It runs again because of a reboot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """All that the events say of a run."""

    steps: Mapping[str, StepState]
    phase: Phase = Phase.NEW
    run_id: str = ""
    started_at: datetime = DAWN
    started_by: str = ""
    at: datetime = DAWN
    """When the newest event happened."""
    trigger: Trigger = Trigger.OPERATOR
    undone: Undone | None = None
    machine: Machine | None = None
    outcome: Outcome | None = None
    successor: str | None = None
    interrupted_s: float = 0.0
    """For how long, in all, nobody drove the run since its first step started."""
    consent: bool | None = None
    """A person's answer to whether a failure after a long interruption rolls back."""


OVER = frozenset({Status.SUCCEEDED, Status.SKIPPED, Status.FAILED})


def is_over(step: PlannedStep, now: StepState) -> bool:
    """Whether what needs this step may start."""
    if now.status is Status.FAILED:
        return step.is_finally or step.continue_reason is not None
    return now.status in OVER


def is_in_doubt(now: StepState) -> bool:
    """Whether the step's start is recorded and its end is not, nothing being in flight."""
    return now.status in (Status.RUNNING, Status.DOUBTFUL)


def has_changed(step: PlannedStep, now: StepState) -> bool:
    """Whether the step may have changed anything: doubt included."""
    return step.effect is not Effect.READS and (now.has_changed or is_in_doubt(now))


def has_changed_anything(plan: Plan, state: RunState) -> bool:
    """Whether any step of the run may have changed anything: doubt included."""
    return any(has_changed(step, state.steps[step.id]) for step in plan.steps)


def has_changed_after(plan: Plan, state: RunState) -> bool:
    """Whether the run changed something after the step that its rollback starts from."""
    after = plan.on_failure.after if plan.on_failure else None
    has_begun = after is not None and has_passed(plan, state, after)
    return has_begun and has_changed_anything(plan, state)


def facts(plan: Plan, state: RunState) -> dict[str, StepFacts]:
    """What a rollback of this run must know of its steps."""
    stand = ((step, state.steps[step.id]) for step in plan.steps)
    return {
        step.id: StepFacts(was_started=now.attempt > 0, has_changed=has_changed(step, now))
        for step, now in stand
    }


def failed_step(plan: Plan, state: RunState) -> PlannedStep | None:
    """The first step, finally steps left aside, whose failure ends the run."""
    for step in plan.steps:
        if state.steps[step.id].status is Status.FAILED and not is_over(step, state.steps[step.id]):
            return step
    return None


def is_rollback_due(plan: Plan, state: RunState) -> bool:
    """Whether a failure of this run, as it stands, hands it over to its rollback."""
    way_back = plan.on_failure
    if way_back is None or plan.undoes is not None or state.consent is False:
        return False
    return failed_step(plan, state) is not None and has_passed(plan, state, way_back.after)


def is_consent_due(plan: Plan, state: RunState) -> bool:
    """Whether a person must say if a failure after a long interruption rolls back."""
    stale_after_s = plan.on_failure.stale_after_s if plan.on_failure else 0.0
    is_open = state.consent is None and state.phase is Phase.DRIVING
    return is_open and is_rollback_due(plan, state) and state.interrupted_s > stale_after_s


def consent_question(state: RunState) -> str:
    """What that person is asked."""
    minutes = round(state.interrupted_s / 60)
    return f"interrupted for {minutes} minutes since its backup: roll back all the same?"


def has_passed(plan: Plan, state: RunState, step_id: str) -> bool:
    """Whether the step has once been over, though a reboot may demand it again."""
    now = state.steps[step_id]
    return now.must_hold or is_over(plan.step(step_id), now)
