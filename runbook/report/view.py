"""A run as people are told of it: computed from its plan, events and state, and what it undoes.

Nothing here is stored, and nothing here decides: whoever prints says the same, in text or in JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runbook.core.events import (
    ApprovalGiven,
    ApprovalRefused,
    Approvers,
    DoubtSettled,
    Event,
    RunFinished,
    RunStarted,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    Verdict,
)
from runbook.core.failure import Failure
from runbook.core.plan import Effect, JsonObject, Plan, PlannedStep
from runbook.core.state import (
    Phase,
    RunState,
    Status,
    StepState,
    consent_question,
    failed_step,
    has_changed,
    has_changed_after,
    has_changed_anything,
    is_consent_due,
    is_in_doubt,
)
from runbook.errors import ExitStatus
from runbook.report.ending import End, end_of
from runbook.report.world import describe_world


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A run as its journal has it."""

    plan: Plan
    events: Sequence[Event]
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step of a run."""

    id: str
    name: str
    kind: str
    status: Status
    is_in_doubt: bool
    """Its start is recorded, its end is not, and it may have changed something."""
    has_changed: bool
    attempts: int
    started_at: datetime | None
    ended_at: datetime | None
    took_s: float | None
    """From the newest attempt's start to its end."""
    reason: str
    """Why it was skipped, is in doubt, or what it asks."""
    failure: Failure | None
    outputs: JsonObject
    guidance: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a run waits for a person to say."""

    step: str
    kind: str
    question: str
    is_doubt: bool
    """Whether the answer is done, again or failed; else it is yes or no."""
    approvers: Approvers | None = None
    """Whose yes it wants; absent: that of whoever drives the run."""
    approved_by: tuple[str, ...] = ()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run."""

    id: str
    runbook: str
    summary: str
    project: str
    environment: str
    lock: str
    by: str
    trigger: str
    started_at: datetime
    at: datetime
    """When its newest event happened."""
    end: End
    exit_status: ExitStatus | None
    """What the process that drove it left with; absent: not asked of a process."""
    signal: str | None
    error: str | None
    """What cut its driving short, if anything did."""
    """What kept the journal from being written."""
    note: str
    """Why it was aborted."""
    steps: tuple[StepView, ...]
    failed: StepView | None
    waiting: tuple[Waiting, ...]
    undone: "RunView | None"
    """Rollbacks: the run that it undoes."""
    is_changed: bool
    """Whether it, or the run that it undoes, changed anything."""
    can_roll_back: bool
    """Whether `rollback` would have something to undo."""
    world: tuple[str, ...]
    """In what state the system is, a statement each."""

    @property
    def took_s(self) -> float:
        """From its first event to its newest."""
        return (self.at - self.started_at).total_seconds()

    def ids(self, *statuses: Status) -> list[str]:
        """The steps that stand so, in order; those in doubt left aside."""
        return [s.id for s in self.steps if s.status in statuses and not s.is_in_doubt]


def view_run(
    run: Recording,
    *,
    undone: Recording | None = None,
    rollback: Recording | None = None,
    exit_status: ExitStatus | None = None,
    signal: str | None = None,
    error: str | None = None,
) -> RunView:
    """See a run; `undone` is what it undoes, `rollback` what followed it."""
    plan, state = run.plan, run.state
    steps = tuple(_view_steps(run))
    first, last = run.events[0], run.events[-1]
    assert isinstance(first, RunStarted)
    end = end_of(plan, state, (rollback.plan, rollback.state) if rollback else None)
    undone_changed = undone is not None and has_changed_anything(undone.plan, undone.state)
    return RunView(
        id=state.run_id,
        runbook=plan.runbook,
        summary=plan.summary,
        project=plan.project,
        environment=plan.environment,
        lock=plan.lock,
        by=first.by,
        trigger=str(state.trigger),
        started_at=state.started_at,
        at=state.at,
        end=end,
        exit_status=exit_status,
        signal=signal,
        error=error,
        note=last.reason if isinstance(last, RunFinished) else "",
        steps=steps,
        failed=_failed(run, steps),
        waiting=tuple(_waiting(plan, state)) if state.phase is Phase.DRIVING else (),
        undone=view_run(undone) if undone else None,
        is_changed=has_changed_anything(plan, state) or undone_changed,
        can_roll_back=plan.undoes is None and has_changed_after(plan, state),
        world=_world(run, undone, end),
    )


def _world(run: Recording, undone: Recording | None, end: End) -> tuple[str, ...]:
    if end is End.ROLLED_BACK:
        return ("the system is as before",)
    past = (undone.plan, undone.state) if undone else None
    return describe_world((run.plan, run.state), undone=past)


def _failed(run: Recording, steps: Sequence[StepView]) -> StepView | None:
    """The step whose failure ended the run; where no main step failed, a finally step may have."""
    failed = failed_step(run.plan, run.state)
    if failed is None:
        return next((view for view in steps if view.status is Status.FAILED), None)
    return next(view for view in steps if view.id == failed.id)


def _waiting(plan: Plan, state: RunState) -> list[Waiting]:
    found = []
    for step in plan.steps:
        now = state.steps[step.id]
        if now.status in (Status.ASKING, Status.DOUBTFUL):
            found.append(
                Waiting(
                    step=step.id,
                    kind=step.kind,
                    question=now.reason,
                    is_doubt=now.status is Status.DOUBTFUL,
                    approvers=now.approvers if now.status is Status.ASKING else None,
                    approved_by=now.approved_by,
                    expires_at=now.expires_at,
                )
            )
    failed = failed_step(plan, state)
    if failed and is_consent_due(plan, state):
        question = consent_question(state)
        found.append(Waiting(step=failed.id, kind=failed.kind, question=question, is_doubt=False))
    return found


@dataclass(slots=True)
class _Clock:
    """When a step's newest attempt started and ended."""

    started_at: datetime | None = None
    ended_at: datetime | None = None


def _is_doubt_serious(step: PlannedStep, now: StepState) -> bool:
    """What only reads just runs again."""
    return step.effect is not Effect.READS or now.status is Status.DOUBTFUL


def _view_steps(run: Recording) -> list[StepView]:
    clocks = {step.id: _Clock() for step in run.plan.steps}
    for event in run.events:
        match event:
            case StepStarted():
                clocks[event.step] = _Clock(started_at=event.at)
            case (
                StepSucceeded() | StepFailed() | StepSkipped() | ApprovalGiven() | ApprovalRefused()
            ):
                clocks[event.step].ended_at = event.at
            case DoubtSettled() if event.verdict in (Verdict.DONE, Verdict.FAILED):
                clocks[event.step].ended_at = event.at
            case _:
                pass
    views = []
    for step in run.plan.steps:
        now, clock = run.state.steps[step.id], clocks[step.id]
        if now.status is Status.ASKING:
            clock.ended_at = None
        took_s = None
        if clock.started_at and clock.ended_at:
            took_s = (clock.ended_at - clock.started_at).total_seconds()
        views.append(
            StepView(
                id=step.id,
                name=step.name or step.id,
                kind=step.kind,
                status=now.status,
                is_in_doubt=is_in_doubt(now) and _is_doubt_serious(step, now),
                has_changed=has_changed(step, now),
                attempts=now.attempt,
                started_at=clock.started_at,
                ended_at=clock.ended_at,
                took_s=took_s,
                reason=now.reason,
                failure=now.failure,
                outputs=now.outputs if now.status is Status.SUCCEEDED else {},
                guidance=step.guidance,
            )
        )
    return views
