"""Every status and every phase against every event: what is in the table happens, nothing else.

The tables are written out here a second time on purpose: a slip in the machine's own must show.
"""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbook.core.events import (
    ApprovalGiven,
    ApprovalRefused,
    ApprovalRequested,
    CancelRequested,
    DoubtSettled,
    Event,
    Machine,
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
from runbook.core.machine import IllegalEvent, apply, begin
from runbook.core.plan import Effect, Plan, PlannedStep, Rerun, Retry
from runbook.core.state import Phase, RunState, Status, StepState

AT = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Machine(host="here", boot_id="1")
ATTEMPT = 2
STEP = PlannedStep(
    id="work", kind="work", effect=Effect.CHANGES, rerun=Rerun.PROBE, timeout_s=60,
    needs=("first",), retry=Retry(attempts=3, delay_s=5),
)  # fmt: skip
FIRST = replace(STEP, id="first", needs=())
PLAN = Plan(runbook="deploy", lock="lock", steps=(FIRST, STEP))


def failed(*, failure: Failure) -> StepFailed:
    """A failed attempt."""
    return StepFailed(at=AT, step="work", attempt=ATTEMPT, failure=failure, changed=True)


def settled(verdict: Verdict) -> DoubtSettled:
    """A settled doubt."""
    return DoubtSettled(
        at=AT, step="work", attempt=ATTEMPT, verdict=verdict, by="probe", reason="saw it"
    )


STEP_EVENTS: dict[str, Event] = {
    "started": StepStarted(at=AT, step="work", attempt=ATTEMPT + 1),
    "progressed": StepProgressed(at=AT, step="work", attempt=ATTEMPT, progress={"n": 1}),
    "succeeded": StepSucceeded(at=AT, step="work", attempt=ATTEMPT, outputs={}, changed=True),
    "failed, may be retried": failed(failure=Failure(code="RB501", message="no")),
    "failed for good": failed(failure=Failure(code="RB501", message="no", is_retryable=False)),
    "skipped": StepSkipped(at=AT, step="work", reason="`when` is false"),
    "done": settled(Verdict.DONE),
    "again": settled(Verdict.AGAIN),
    "settled as failed": settled(Verdict.FAILED),
    "unknown": settled(Verdict.UNKNOWN),
    "asked": ApprovalRequested(at=AT, step="work", attempt=ATTEMPT, question="go on?"),
    "yes": ApprovalGiven(at=AT, step="work", by="ann"),
    "no": ApprovalRefused(at=AT, step="work", by="ann"),
}
STEP_TABLE: dict[Status, dict[str, Status]] = {
    Status.WAITING: {"started": Status.RUNNING, "skipped": Status.SKIPPED},
    Status.RUNNING: {
        "progressed": Status.RUNNING,
        "succeeded": Status.SUCCEEDED,
        "failed, may be retried": Status.RETRYING,
        "failed for good": Status.FAILED,
        "done": Status.SUCCEEDED,
        "again": Status.WAITING,
        "settled as failed": Status.FAILED,
        "unknown": Status.DOUBTFUL,
        "asked": Status.ASKING,
    },
    Status.DOUBTFUL: {
        "done": Status.SUCCEEDED,
        "again": Status.WAITING,
        "settled as failed": Status.FAILED,
    },
    Status.ASKING: {"yes": Status.SUCCEEDED, "no": Status.FAILED},
    Status.RETRYING: {"started": Status.RUNNING, "skipped": Status.SKIPPED},
    Status.SUCCEEDED: {},
    Status.FAILED: {"yes": Status.FAILED, "no": Status.FAILED},
    Status.SKIPPED: {},
}
RUN_EVENTS: dict[str, Event] = {
    "started": RunStarted(at=AT, run_id="r", plan=PLAN, by="ann", machine=HERE),
    "cancelled": CancelRequested(at=AT, by="ann", signal="SIGINT"),
    "resumed": RunResumed(at=AT, by="ann", machine=HERE),
    "amended": PlanAmended(at=AT, by="ann", plan=PLAN),
    **{outcome.value: RunFinished(at=AT, outcome=outcome) for outcome in Outcome},
}
GIVEN_UP = dict.fromkeys(("handed_over", "aborted", "superseded"), Phase.ENDED)
RUN_TABLE: dict[Phase, dict[str, Phase]] = {
    Phase.NEW: {"started": Phase.DRIVING},
    Phase.DRIVING: {
        "cancelled": Phase.STOPPING,
        "resumed": Phase.DRIVING,
        "amended": Phase.DRIVING,
        "succeeded": Phase.ENDED,
        "failed": Phase.FAILED,
        **GIVEN_UP,
    },
    Phase.STOPPING: {"cancelled": Phase.STOPPING, "resumed": Phase.DRIVING, **GIVEN_UP},
    Phase.FAILED: {"resumed": Phase.DRIVING, **GIVEN_UP},
    Phase.ENDED: {},
}


def state_with(status: Status, phase: Phase = Phase.DRIVING) -> RunState:
    """A run in that phase, its second step in that status."""
    steps = {
        "first": StepState(status=Status.SUCCEEDED, attempt=1),
        "work": StepState(status=status, attempt=ATTEMPT),
    }
    return replace(begin(PLAN), phase=phase, at=AT, machine=HERE, steps=steps)


def refuse(state: RunState, event: Event) -> None:
    """Assert that the event is refused and leaves no trace."""
    before = deepcopy(state)

    with pytest.raises(IllegalEvent):
        apply(PLAN, state, event)

    assert state == before


@pytest.mark.parametrize("phase", [Phase.DRIVING, Phase.STOPPING])
@pytest.mark.parametrize("name", STEP_EVENTS)
@pytest.mark.parametrize("status", Status)
def test_a_step_takes_the_events_of_the_table_and_refuses_every_other(
    status: Status, name: str, phase: Phase
) -> None:
    state, event = state_with(status, phase), STEP_EVENTS[name]
    wanted = STEP_TABLE[status].get(name)
    if wanted is None:
        refuse(state, event)
        return

    after = apply(PLAN, state, event)

    assert after.steps["work"].status is wanted
    assert after.phase is phase
    assert after.at == event.at
    assert after.steps["first"] == state.steps["first"]


@pytest.mark.parametrize("phase", [Phase.NEW, Phase.FAILED, Phase.ENDED])
@pytest.mark.parametrize("name", STEP_EVENTS)
@pytest.mark.parametrize("status", Status)
def test_a_run_that_nobody_drives_refuses_every_step_event(
    status: Status, name: str, phase: Phase
) -> None:
    refuse(state_with(status, phase), STEP_EVENTS[name])


@pytest.mark.parametrize("name", RUN_EVENTS)
@pytest.mark.parametrize("phase", Phase)
def test_a_run_takes_the_events_of_the_table_and_refuses_every_other(
    phase: Phase, name: str
) -> None:
    state, event = state_with(Status.WAITING, phase), RUN_EVENTS[name]
    wanted = RUN_TABLE[phase].get(name)
    if wanted is None:
        refuse(state, event)
        return

    after = apply(PLAN, state, event)

    assert after.phase is wanted
    assert after.steps == state.steps


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (s, n)
        for s, events in STEP_TABLE.items()
        for n in events
        if n not in ("skipped", "yes", "no")
    ],
)
@pytest.mark.parametrize("off_by", [-1, 1])
def test_an_event_of_another_attempt_is_refused(status: Status, name: str, off_by: int) -> None:
    event = STEP_EVENTS[name]
    assert not isinstance(
        event,
        RunStarted | RunResumed | PlanAmended | CancelRequested | RunFinished | StepSkipped
        | ApprovalGiven | ApprovalRefused,
    )  # fmt: skip

    refuse(state_with(status), replace(event, attempt=event.attempt + off_by))


@pytest.mark.parametrize("name", STEP_EVENTS)
def test_an_event_of_an_unknown_step_is_refused(name: str) -> None:
    event = STEP_EVENTS[name]
    assert not isinstance(
        event, RunStarted | RunResumed | PlanAmended | CancelRequested | RunFinished
    )

    refuse(state_with(Status.RUNNING), replace(event, step="nowhere"))


@pytest.mark.parametrize("name", ["started", "skipped"])
@pytest.mark.parametrize(
    "status", [s for s in Status if s not in (Status.SUCCEEDED, Status.SKIPPED)]
)
def test_a_step_does_not_begin_before_what_it_needs_is_over(status: Status, name: str) -> None:
    state = state_with(Status.WAITING)
    first = StepState(status=status, attempt=1)

    refuse(replace(state, steps={**state.steps, "first": first}), STEP_EVENTS[name])


@pytest.mark.parametrize("phase", [Phase.DRIVING, Phase.STOPPING, Phase.FAILED])
@pytest.mark.parametrize("has_rebooted", [False, True])
@pytest.mark.parametrize("holds", [None, "app"])
@pytest.mark.parametrize("is_finally", [False, True])
@pytest.mark.parametrize("status", Status)
def test_resuming_makes_of_each_status_what_the_rules_say(
    status: Status, is_finally: bool, holds: str | None, has_rebooted: bool, phase: Phase
) -> None:
    plan = replace(PLAN, steps=(FIRST, replace(STEP, holds=holds, is_finally=is_finally)))
    machine = replace(HERE, boot_id="2") if has_rebooted else HERE
    had_ended = status in (Status.FAILED, Status.SUCCEEDED, Status.SKIPPED)
    gets_fresh_attempts = phase is Phase.FAILED and (
        status is Status.FAILED or (is_finally and had_ended)
    )
    is_held_up = has_rebooted and holds and status is Status.SUCCEEDED
    wanted = Status.RUNNING if status is Status.DOUBTFUL else status
    if gets_fresh_attempts or is_held_up:
        wanted = Status.WAITING

    state = apply(plan, state_with(status, phase), RunResumed(at=AT, by="ann", machine=machine))

    assert state.steps["work"].status is wanted
    assert state.machine == machine
    assert state.phase is Phase.DRIVING


def test_a_step_that_has_failed_with_a_reason_to_go_on_gets_no_fresh_attempts() -> None:
    plan = replace(PLAN, steps=(FIRST, replace(STEP, continue_reason="not critical")))

    state = apply(
        plan, state_with(Status.FAILED, Phase.FAILED), RunResumed(at=AT, by="ann", machine=HERE)
    )

    assert state.steps["work"].status is Status.FAILED


@pytest.mark.parametrize(("failures", "wait_s"), [(0, 5), (1, 10)])
def test_each_failure_doubles_the_wait_before_the_next_attempt(failures: int, wait_s: int) -> None:
    state = state_with(Status.RUNNING)
    work = replace(state.steps["work"], failures=failures)

    after = apply(
        PLAN,
        replace(state, steps={**state.steps, "work": work}),
        STEP_EVENTS["failed, may be retried"],
    )

    assert after.steps["work"].status is Status.RETRYING
    assert after.steps["work"].not_before == AT + timedelta(seconds=wait_s)


def test_the_last_attempt_that_fails_fails_the_step() -> None:
    state = state_with(Status.RUNNING)
    work = replace(state.steps["work"], failures=2)

    after = apply(
        PLAN,
        replace(state, steps={**state.steps, "work": work}),
        STEP_EVENTS["failed, may be retried"],
    )

    assert after.steps["work"].status is Status.FAILED


def test_the_time_between_the_last_event_and_a_resume_counts_as_interrupted() -> None:
    state = state_with(Status.RUNNING)
    later = RunResumed(at=AT + timedelta(minutes=7), by="ann", machine=HERE)

    once = apply(PLAN, state, later)
    twice = apply(PLAN, once, replace(later, at=AT + timedelta(minutes=10)))

    assert once.interrupted_s == 7 * 60
    assert twice.interrupted_s == 10 * 60


def test_time_before_the_first_step_or_a_clock_set_back_counts_as_nothing() -> None:
    unbegun = replace(state_with(Status.WAITING), steps=begin(PLAN).steps)
    later = RunResumed(at=AT + timedelta(hours=1), by="ann", machine=HERE)
    earlier = RunResumed(at=AT - timedelta(hours=1), by="ann", machine=HERE)

    assert apply(PLAN, unbegun, later).interrupted_s == 0
    assert apply(PLAN, state_with(Status.RUNNING), earlier).interrupted_s == 0
