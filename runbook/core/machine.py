"""The machine: what an event makes of a run, and what is to be done next. All deciding is here.

Rules
 1. A run's state is a fold over its events; `apply` refuses an event that its tables do not know.
 2. A step starts once all that it needs is over: succeeded, skipped, or failed with a reason to
    go on.
 3. Recorded as running and not in flight means in doubt. A step in doubt is settled before anything
    else becomes of it; what a probe cannot tell, a person is asked.
 4. A failed attempt is followed by another while the plan's `retry` allows. A crash costs none.
 5. Once a step has failed for good, or the run was told to stop, nothing new starts. What only
    reads is stopped; what changes something is waited for.
 6. A failure after the plan's `after` hands the run over to its rollback, without asking anybody
    about steps in doubt: they count as started and changed. A rollback never triggers another.
 7. Finally steps run when all else is over, whether it went well or not, unless a rollback follows:
    it has them as its own last steps.
 8. A rollback step with `undoes` is skipped if each of the steps it names never started or changed
    nothing. Without a run to undo, every step runs.
 9. Resuming a failed run gives its failed steps fresh attempts and runs its finally steps again.
10. After a reboot, each resource's last completed up or stop step runs again before anything else.
11. A resumed run may follow an amended plan; whatever has begun stays as it was planned.
12. Where a step wants the yes of other people, it waits for as many of them as it wants.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from runbook.core.actions import Action, Ask, Execute, Record, Stop
from runbook.core.amendment import obstacles
from runbook.core.approval import wants_more
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
    Verdict,
)
from runbook.core.failure import Failure
from runbook.core.plan import Effect, Plan, PlannedStep
from runbook.core.state import (
    OVER,
    Phase,
    RunState,
    Status,
    StepState,
    consent_question,
    failed_step,
    is_consent_due,
    is_over,
    is_rollback_due,
)
from runbook.errors import AnsweredFailed, NotConfirmed, RunbookError

STEP_TRANSITIONS: Mapping[tuple[Status, str], Status] = {
    (Status.WAITING, "StepStarted"): Status.RUNNING,
    (Status.WAITING, "StepSkipped"): Status.SKIPPED,
    (Status.RETRYING, "StepStarted"): Status.RUNNING,
    (Status.RETRYING, "StepSkipped"): Status.SKIPPED,
    (Status.RUNNING, "StepProgressed"): Status.RUNNING,
    (Status.RUNNING, "StepSucceeded"): Status.SUCCEEDED,
    (Status.RUNNING, "StepFailed, attempts left"): Status.RETRYING,
    (Status.RUNNING, "StepFailed"): Status.FAILED,
    (Status.RUNNING, "ApprovalRequested"): Status.ASKING,
    (Status.RUNNING, "DoubtSettled done"): Status.SUCCEEDED,
    (Status.RUNNING, "DoubtSettled again"): Status.WAITING,
    (Status.RUNNING, "DoubtSettled failed"): Status.FAILED,
    (Status.RUNNING, "DoubtSettled unknown"): Status.DOUBTFUL,
    (Status.DOUBTFUL, "DoubtSettled done"): Status.SUCCEEDED,
    (Status.DOUBTFUL, "DoubtSettled again"): Status.WAITING,
    (Status.DOUBTFUL, "DoubtSettled failed"): Status.FAILED,
    (Status.DOUBTFUL, "RunResumed"): Status.RUNNING,
    (Status.ASKING, "ApprovalGiven"): Status.SUCCEEDED,
    (Status.ASKING, "ApprovalGiven, more wanted"): Status.ASKING,
    (Status.ASKING, "ApprovalRefused"): Status.FAILED,
    (Status.FAILED, "ApprovalGiven"): Status.FAILED,
    (Status.FAILED, "ApprovalRefused"): Status.FAILED,
    (Status.FAILED, "RunResumed, run had failed"): Status.WAITING,
    (Status.SUCCEEDED, "RunResumed, rebooted"): Status.WAITING,
}
"""What an event makes of the step that it names; anything else is illegal."""

RUN_TRANSITIONS: Mapping[tuple[Phase, str], Phase] = {
    (Phase.NEW, "RunStarted"): Phase.DRIVING,
    (Phase.DRIVING, "CancelRequested"): Phase.STOPPING,
    (Phase.STOPPING, "CancelRequested"): Phase.STOPPING,
    (Phase.DRIVING, "RunResumed"): Phase.DRIVING,
    (Phase.STOPPING, "RunResumed"): Phase.DRIVING,
    (Phase.FAILED, "RunResumed"): Phase.DRIVING,
    (Phase.DRIVING, "PlanAmended"): Phase.DRIVING,
    (Phase.DRIVING, "RunFinished failed"): Phase.FAILED,
    (Phase.DRIVING, "RunFinished succeeded"): Phase.ENDED,
} | {
    (phase, f"RunFinished {outcome}"): Phase.ENDED
    for phase in (Phase.DRIVING, Phase.STOPPING, Phase.FAILED)
    for outcome in (Outcome.HANDED_OVER, Outcome.ABORTED, Outcome.SUPERSEDED)
}
"""What an event makes of the run. A step's event leaves it as it is: driving, or stopping."""


class IllegalEvent(Exception):
    """The event cannot follow the ones before it: a journal or a runtime is wrong."""


def begin(plan: Plan) -> RunState:
    """The state before the first event."""
    return RunState(steps={step.id: StepState() for step in plan.steps})


def fold(plan: Plan, events: Iterable[Event]) -> RunState:
    """The state after all these events, of which the first plan is that."""
    state = begin(plan)
    for event in events:
        state = apply(plan, state, event)
        plan = event.plan if isinstance(event, PlanAmended) else plan
    return state


def apply(plan: Plan, state: RunState, event: Event) -> RunState:
    """The state after one more event; raises IllegalEvent."""
    match event:
        case RunStarted() | RunResumed() | PlanAmended() | CancelRequested() | RunFinished():
            return replace(_apply_to_run(plan, state, event), at=event.at)
        case _:
            if state.phase not in (Phase.DRIVING, Phase.STOPPING) or event.step not in state.steps:
                raise IllegalEvent(f"{_label(event)} while the run is {state.phase}")
            step = _apply_to_step(plan, state, event)
            consent = state.consent
            if state.steps[event.step].status is Status.FAILED:
                consent = isinstance(event, ApprovalGiven)
            steps = {**state.steps, event.step: step}
            return replace(state, at=event.at, consent=consent, steps=steps)


def _label(event: Event) -> str:
    match event:
        case DoubtSettled():
            return f"DoubtSettled {event.verdict}"
        case RunFinished():
            return f"RunFinished {event.outcome}"
        case _:
            return type(event).__name__


RunEvent = RunStarted | RunResumed | PlanAmended | CancelRequested | RunFinished


def _apply_to_run(plan: Plan, state: RunState, event: RunEvent) -> RunState:
    phase = RUN_TRANSITIONS.get((state.phase, _label(event)))
    if phase is None:
        raise IllegalEvent(f"{_label(event)} while the run is {state.phase}")
    match event:
        case RunStarted():
            return replace(
                state, phase=phase, run_id=event.run_id, trigger=event.trigger,
                undone=event.undone, machine=event.machine, started_at=event.at,
                started_by=event.by,
            )  # fmt: skip
        case CancelRequested():
            return replace(state, phase=phase)
        case RunFinished():
            return replace(state, phase=phase, outcome=event.outcome, successor=event.successor)
        case RunResumed():
            return _resume(plan, state, event)
        case PlanAmended():
            if reasons := obstacles(plan, event.plan, state):
                raise IllegalEvent(f"PlanAmended: {'; '.join(reasons)}")
            steps = {step.id: state.steps.get(step.id, StepState()) for step in event.plan.steps}
            return replace(state, steps=steps)
        case _:
            assert_never(event)


def _resume(plan: Plan, state: RunState, event: RunResumed) -> RunState:
    had_failed = state.phase is Phase.FAILED
    has_rebooted = state.machine is not None and state.machine.boot_id != event.machine.boot_id
    holding = [step for step in plan.steps if step.holds and _holds(state.steps[step.id])]
    last_holding = {step.holds: step.id for step in holding}
    steps = dict(state.steps)
    for step in plan.steps:
        now = steps[step.id]
        is_fatal = now.status is Status.FAILED and step.continue_reason is None
        if now.status is Status.DOUBTFUL:
            steps[step.id] = replace(now, status=Status.RUNNING)
        elif had_failed and (is_fatal or (step.is_finally and now.status in OVER)):
            steps[step.id] = replace(now, status=Status.WAITING, failures=0, not_before=None)
        elif has_rebooted and now.status is Status.SUCCEEDED and step.id in last_holding.values():
            steps[step.id] = replace(now, status=Status.WAITING, must_hold=True, not_before=None)
    gap_s = (event.at - state.at).total_seconds()
    was_begun = any(step.attempt and not step.approvers for step in state.steps.values())
    return replace(
        state, phase=Phase.DRIVING, machine=event.machine, steps=steps, outcome=None,
        consent=None if had_failed else state.consent,
        interrupted_s=state.interrupted_s + (max(gap_s, 0) if was_begun else 0),
    )  # fmt: skip


def _holds(now: StepState) -> bool:
    return now.status is Status.SUCCEEDED or now.must_hold


StepEvent = (
    StepStarted | StepProgressed | StepSucceeded | StepFailed | StepSkipped
    | DoubtSettled | ApprovalRequested | ApprovalGiven | ApprovalRefused
)  # fmt: skip


def _apply_to_step(plan: Plan, state: RunState, event: StepEvent) -> StepState:
    step, now = plan.step(event.step), state.steps[event.step]
    label = _label(event)
    if isinstance(event, StepFailed):
        has_attempts_left = event.failure.is_retryable and now.failures + 1 < step.retry.attempts
        label += ", attempts left" if has_attempts_left else ""
    if isinstance(event, ApprovalGiven) and wants_more(now, event.by):
        label += ", more wanted"
    status = STEP_TRANSITIONS.get((now.status, label))
    attempt = now.attempt + (1 if isinstance(event, StepStarted) else 0)
    if status is None or getattr(event, "attempt", now.attempt) != attempt:
        raise IllegalEvent(f"{label} while `{step.id}` is {now.status}, attempt {now.attempt}")
    if isinstance(event, StepStarted | StepSkipped) and not _is_ready(plan, state, step):
        raise IllegalEvent(f"{label} before what `{step.id}` needs is over")
    after = _describe_step(step, state, replace(now, status=status), event)
    return replace(after, must_hold=after.must_hold and not is_over(step, after))


def _describe_step(
    step: PlannedStep, state: RunState, now: StepState, event: StepEvent
) -> StepState:
    match event:
        case StepStarted():
            return replace(now, attempt=event.attempt, not_before=None, failure=None, reason="")
        case StepProgressed():
            return replace(now, progress=event.progress)
        case StepSucceeded():
            has_changed = now.has_changed or event.changed
            return replace(now, outputs=event.outputs, failure=None, has_changed=has_changed)
        case StepFailed():
            failures = now.failures + 1
            delay_s = step.retry.delay_after_s(failures, f"{state.run_id}/{step.id}")
            return replace(
                now, failure=event.failure, failures=failures,
                has_changed=now.has_changed or event.changed,
                not_before=event.at + timedelta(seconds=delay_s),
            )  # fmt: skip
        case StepSkipped():
            return replace(now, reason=event.reason)
        case DoubtSettled():
            is_told = event.verdict is not Verdict.UNKNOWN
            is_no = event.verdict is Verdict.FAILED and event.failure is None
            no = _no(AnsweredFailed, f"{event.by} says that it failed") if is_no else None
            return replace(
                now, reason=event.reason,
                failure=no or event.failure,
                has_changed=now.has_changed or (is_told and event.changed),
                outputs=event.outputs or now.outputs,
            )  # fmt: skip
        case ApprovalRequested():
            return replace(
                now, outputs=event.outputs, reason=event.question, expires_at=event.expires_at,
                has_changed=True, approvers=event.approvers, approved_by=(),
            )  # fmt: skip
        case ApprovalGiven() if now.approvers is None or now.status is Status.FAILED:
            return now
        case ApprovalGiven():
            people = tuple(dict.fromkeys((*now.approved_by, event.by)))
            return replace(now, approved_by=people, outputs=now.outputs | {"by": [*people]})
        case ApprovalRefused():
            why = f"refused by {event.by}" + (f": {event.note}" if event.note else "")
            return replace(now, failure=now.failure or _no(NotConfirmed, why))
        case _:
            assert_never(event)


def _no(error: type[RunbookError], message: str) -> Failure:
    return Failure(code=error.code, message=message, is_retryable=False)


def _is_ready(plan: Plan, state: RunState, step: PlannedStep) -> bool:
    steps = state.steps
    holds_back = any(other.must_hold for other in steps.values()) and not steps[step.id].must_hold
    holds_back = holds_back and not step.is_finally
    return not holds_back and all(is_over(plan.step(need), steps[need]) for need in step.needs)


def _has_nothing_to_undo(state: RunState, step: PlannedStep) -> bool:
    if state.undone is None or not step.undoes:
        return False
    undone = [state.undone.steps.get(step_id) for step_id in step.undoes]
    return all(fact is None or not (fact.was_started and fact.has_changed) for fact in undone)


def next_actions(plan: Plan, state: RunState, in_flight: frozenset[str]) -> tuple[Action, ...]:
    """What is to be done now, in order of the plan; never again what is already in flight.

    Nothing to do and nothing in flight means: the run is over, told to stop, or waits for a person.
    """
    if state.phase is Phase.STOPPING:
        return _stop(plan, state, in_flight)
    if state.phase is not Phase.DRIVING:
        return ()
    if failed_step(plan, state):
        return _after_failure(plan, state, in_flight)
    main = [step for step in plan.steps if not step.is_finally]
    held = [step for step in main if state.steps[step.id].must_hold]
    actions = _go_on(plan, state, in_flight, held or main)
    if actions or not all(is_over(step, state.steps[step.id]) for step in main):
        return actions
    return _finish(plan, state, in_flight)


def settling_actions(plan: Plan, state: RunState, in_flight: frozenset[str]) -> tuple[Action, ...]:
    """What settles doubts as far as a probe can, and nothing else: the run is being given up."""
    doubts = [step for step in plan.steps if state.steps[step.id].status is Status.RUNNING]
    return _go_on(plan, state, in_flight, doubts)


def _stop(plan: Plan, state: RunState, in_flight: frozenset[str]) -> tuple[Action, ...]:
    """Stop what only reads, and what only waits for its next attempt."""
    idle = {Status.WAITING, Status.RETRYING}
    steps = [step for step in plan.steps if step.id in in_flight]
    return tuple(
        Stop(step=step.id)
        for step in steps
        if step.effect is Effect.READS or state.steps[step.id].status in idle
    )


def _go_on(
    plan: Plan, state: RunState, in_flight: frozenset[str], steps: Iterable[PlannedStep]
) -> tuple[Action, ...]:
    actions: list[Action] = []
    for step in steps:
        now = state.steps[step.id]
        if step.id in in_flight:
            continue
        match now.status:
            case Status.RUNNING:
                actions.append(Execute(step=step.id, attempt=now.attempt, in_doubt=True))
            case Status.DOUBTFUL | Status.ASKING:
                actions.append(Ask(step=step.id, question=now.reason, expires_at=now.expires_at))
            case Status.WAITING | Status.RETRYING if _is_ready(plan, state, step):
                actions.append(_start(state, step, now))
            case _:
                pass
    return tuple(actions)


def _start(state: RunState, step: PlannedStep, now: StepState) -> Action:
    if _has_nothing_to_undo(state, step):
        reason = f"nothing to undo: {', '.join(step.undoes)} changed nothing"
        return Record(event=StepSkipped(at=state.at, step=step.id, reason=reason))
    return Execute(step=step.id, attempt=now.attempt + 1, not_before=now.not_before)


def _after_failure(plan: Plan, state: RunState, in_flight: frozenset[str]) -> tuple[Action, ...]:
    is_due = is_rollback_due(plan, state)
    unsettled = {Status.RUNNING} if is_due else {Status.RUNNING, Status.DOUBTFUL}
    waited_for = [step for step in plan.steps if is_due or not step.is_finally]
    doubts = [step for step in waited_for if state.steps[step.id].status in unsettled]
    unneeded = in_flight & {step.id for step in waited_for}
    actions = _stop(plan, state, unneeded) + _go_on(plan, state, in_flight, doubts)
    if actions or any(step.id in in_flight for step in waited_for):
        return actions
    if not is_due:
        return _finish(plan, state, in_flight)
    failed = failed_step(plan, state)
    assert failed is not None
    if is_consent_due(plan, state):
        return (Ask(step=failed.id, question=consent_question(state)),)
    return (Record(event=RunFinished(at=state.at, outcome=Outcome.HANDED_OVER)),)


def _finish(plan: Plan, state: RunState, in_flight: frozenset[str]) -> tuple[Action, ...]:
    last = [step for step in plan.steps if step.is_finally]
    actions = _go_on(plan, state, in_flight, last)
    if actions or not all(is_over(step, state.steps[step.id]) for step in last):
        return actions
    fatal = [step for step in plan.steps if step.continue_reason is None]
    has_failed = any(state.steps[step.id].status is Status.FAILED for step in fatal)
    outcome = Outcome.FAILED if has_failed else Outcome.SUCCEEDED
    return (Record(event=RunFinished(at=state.at, outcome=outcome)),)
