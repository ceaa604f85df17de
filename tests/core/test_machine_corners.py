"""Short stories in which the machine has gone wrong, or easily could."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbook.core.actions import Action, Ask, Execute, Record, Stop
from runbook.core.approval import objection
from runbook.core.events import (
    ApprovalGiven,
    ApprovalRefused,
    ApprovalRequested,
    Approvers,
    DoubtSettled,
    Event,
    Machine,
    Outcome,
    RunFinished,
    RunResumed,
    RunStarted,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    Undone,
    Verdict,
)
from runbook.core.failure import Failure
from runbook.core.machine import apply, fold, next_actions
from runbook.core.plan import Effect, OnFailure, Plan, PlannedStep, Rerun, Retry
from runbook.core.state import Phase, RunState, Status, facts

AT = datetime(2026, 1, 1, tzinfo=UTC)


def step(
    name: str, *needs: str, effect: Effect = Effect.CHANGES, holds: str | None = None
) -> PlannedStep:
    """A step that is tried once."""
    return PlannedStep(
        id=name, kind="work", needs=needs, effect=effect, rerun=Rerun.PROBE, timeout_s=60,
        holds=holds,
    )  # fmt: skip


def last(name: str, effect: Effect = Effect.CHANGES) -> PlannedStep:
    """A finally step."""
    return replace(step(name, effect=effect), is_finally=True, rerun=Rerun.SAFE)


def plan_of(*steps: PlannedStep, after: str | None = None) -> Plan:
    """A plan, with a rollback if it says after what."""
    plan = Plan(runbook="deploy", lock="lock", steps=steps)
    if after is None:
        return plan
    way_back = Plan(runbook="rollback", lock="lock", steps=(step("undo"),), undoes="deploy")
    return replace(plan, on_failure=OnFailure(plan=way_back, after=after))


def begun(plan: Plan) -> RunStarted:
    """The run's first event."""
    return RunStarted(at=AT, run_id="r", plan=plan, by="ann", machine=boot(1))


def boot(number: int) -> Machine:
    """The machine after so many boots."""
    return Machine(host="host", boot_id=str(number))


def started(name: str, attempt: int = 1) -> StepStarted:
    """An intent."""
    return StepStarted(at=AT, step=name, attempt=attempt)


def done(name: str, attempt: int = 1) -> list[Event]:
    """A whole attempt that went well."""
    end = StepSucceeded(at=AT, step=name, attempt=attempt, outputs={}, changed=True)
    return [started(name, attempt), end]


def failure(name: str, attempt: int = 1, *, is_retryable: bool = False) -> StepFailed:
    """The bad end of an attempt."""
    why = Failure(code="RB501", message="no", is_retryable=is_retryable)
    return StepFailed(at=AT, step=name, attempt=attempt, failure=why, changed=True)


def settled(name: str, verdict: Verdict, attempt: int = 1) -> DoubtSettled:
    """What a probe found."""
    return DoubtSettled(
        at=AT, step=name, attempt=attempt, verdict=verdict, by="probe", reason="saw it"
    )


def resumed(boots: int = 1, *, after: timedelta = timedelta(0)) -> RunResumed:
    """Another process takes over."""
    return RunResumed(at=AT + after, by="ann", machine=boot(boots))


def actions_after(plan: Plan, events: Sequence[Event], *in_flight: str) -> tuple[Action, ...]:
    """What is to be done after these events."""
    return next_actions(plan, fold(plan, [begun(plan), *events]), frozenset(in_flight))


def is_end(actions: tuple[Action, ...], outcome: Outcome) -> bool:
    """Whether all that is left is to end the run so."""
    return [
        action.event.outcome
        for action in actions
        if isinstance(action, Record) and isinstance(action.event, RunFinished)
    ] == [outcome]


# --- approvals ------------------------------------------------------------------------------


def test_a_refused_approval_after_after_is_rolled_back() -> None:
    plan = plan_of(step("backup"), step("confirm", "backup", effect=Effect.READS), after="backup")
    question = ApprovalRequested(at=AT, step="confirm", attempt=1, question="go on?")
    no = ApprovalRefused(at=AT, step="confirm", by="ann")

    actions = actions_after(plan, [*done("backup"), started("confirm"), question, no])

    assert is_end(actions, Outcome.HANDED_OVER)


def test_a_refused_approval_with_a_reason_to_go_on_does_not_keep_a_later_rollback_away() -> None:
    confirm = replace(step("confirm", "backup", effect=Effect.READS), continue_reason="optional")
    plan = plan_of(step("backup"), confirm, step("release", "confirm"), after="backup")
    question = ApprovalRequested(at=AT, step="confirm", attempt=1, question="go on?")
    no = ApprovalRefused(at=AT, step="confirm", by="ann")
    until_no: list[Event] = [*done("backup"), started("confirm"), question, no]

    actions = actions_after(plan, [*until_no, started("release"), failure("release")])

    assert is_end(actions, Outcome.HANDED_OVER)


def test_a_step_that_changes_something_and_then_asks_has_changed_something() -> None:
    plan = plan_of(step("release"))
    question = ApprovalRequested(at=AT, step="release", attempt=1, question="go on?")
    yes = ApprovalGiven(at=AT, step="release", by="ann")
    asking = fold(plan, [begun(plan), started("release"), question])
    approved = fold(plan, [begun(plan), started("release"), question, yes])

    assert facts(plan, asking)["release"].has_changed
    assert facts(plan, approved)["release"].has_changed


def asked_of(*names: str, required: int = 1, allow_self: bool = False) -> RunState:
    """A run of `ann` whose step asks these people until a minute later."""
    plan = plan_of(step("ok", effect=Effect.READS))
    question = ApprovalRequested(
        at=AT, step="ok", attempt=1, question="go on?", expires_at=AT + timedelta(minutes=1),
        approvers=Approvers(required=required, names=names, allow_self=allow_self),
    )  # fmt: skip
    return fold(plan, [begun(plan), started("ok"), question])


def test_nobody_approves_what_they_started_unless_that_is_allowed() -> None:
    assert "started this run" in (objection(asked_of(), "ok", "ann", AT) or "")
    assert objection(asked_of(allow_self=True), "ok", "ann", AT) is None
    assert objection(asked_of(), "ok", "bob", AT) is None


def test_only_those_who_are_named_approve_and_only_until_it_expires() -> None:
    state = asked_of("bob", "eve")

    assert objection(state, "ok", "eve", AT) is None
    assert "none of those who may: bob, eve" in (objection(state, "ok", "mallory", AT) or "")
    assert "expired at 2026-" in (objection(state, "ok", "eve", AT + timedelta(minutes=1)) or "")


def test_one_person_does_not_count_twice() -> None:
    plan = plan_of(step("ok", effect=Effect.READS))
    yes = ApprovalGiven(at=AT, step="ok", by="bob")
    once = apply(plan, asked_of(required=2), yes)
    twice = apply(plan, once, yes)
    both = apply(plan, twice, replace(yes, by="eve"))

    assert "another person is wanted" in (objection(once, "ok", "bob", AT) or "")
    assert twice.steps["ok"].status is Status.ASKING
    assert both.steps["ok"].status is Status.SUCCEEDED
    assert both.steps["ok"].outputs["by"] == ["bob", "eve"]


def test_consent_to_a_late_rollback_is_no_approval_of_the_step_that_failed() -> None:
    plan = plan_of(step("ok", effect=Effect.READS))
    yes = ApprovalGiven(at=AT, step="ok", by="bob")
    refused = apply(plan, asked_of(required=2), ApprovalRefused(at=AT, step="ok", by="eve"))
    consented = apply(plan, refused, yes)

    assert consented.consent
    assert consented.steps["ok"] == refused.steps["ok"]


def test_a_step_that_asks_nobody_else_takes_no_approval() -> None:
    plan = plan_of(step("ok", effect=Effect.READS))
    question = ApprovalRequested(at=AT, step="ok", attempt=1, question="go on?")
    own = fold(plan, [begun(plan), started("ok"), question])
    ended = replace(asked_of(), phase=Phase.FAILED)

    for state in (own, ended):
        assert "waits for nobody's approval" in (objection(state, "ok", "bob", AT) or "")


# --- finally --------------------------------------------------------------------------------


def test_a_reading_finally_step_is_not_stopped_after_a_failure() -> None:
    plan = plan_of(step("work"), last("report", Effect.READS))

    actions = actions_after(
        plan, [started("work"), failure("work"), started("report")], "report"
    )  # fmt: skip

    assert not any(isinstance(action, Stop) for action in actions)


def test_finally_steps_run_after_a_failure_whose_consequence_a_reboot_cut_off() -> None:
    plan = plan_of(step("up", holds="app"), step("work", "up"), last("report"))

    actions = actions_after(plan, [*done("up"), started("work"), failure("work"), resumed(2)])

    assert actions


def test_finally_steps_run_though_what_a_reboot_demanded_has_failed() -> None:
    plan = plan_of(step("up", holds="app"), step("work", "up"), last("report"))

    actions = actions_after(plan, [*done("up"), resumed(2), started("up", 2), failure("up", 2)])

    assert actions == (Execute(step="report", attempt=1),)


def test_a_finally_step_in_doubt_is_settled_before_the_run_is_handed_over() -> None:
    plan = plan_of(
        step("backup"), step("up", "backup", holds="app"), last("report"), after="backup"
    )
    begun_last: list[Event] = [*done("backup"), *done("up"), started("report"), resumed(2)]

    actions = actions_after(plan, [*begun_last, started("up", 2), failure("up", 2)])

    assert actions == (Execute(step="report", attempt=1, in_doubt=True),)


# --- reboots --------------------------------------------------------------------------------


def test_a_step_that_a_reboot_demanded_and_a_probe_finds_done_lets_the_others_go_on() -> None:
    plan = plan_of(step("up", holds="app"), step("work", "up"))
    demanded: list[Event] = [*done("up"), resumed(2), started("up", 2), resumed(2)]

    actions = actions_after(plan, [*demanded, settled("up", Verdict.DONE, 2)])

    assert actions == (Execute(step="work", attempt=1),)


def test_a_step_that_a_reboot_demanded_and_that_is_not_wanted_lets_the_others_go_on() -> None:
    plan = plan_of(step("up", holds="app"), step("work", "up"))
    skipped = StepSkipped(at=AT, step="up", reason="`when` is false")

    actions = actions_after(plan, [*done("up"), resumed(2), skipped])

    assert actions == (Execute(step="work", attempt=1),)


def test_a_step_that_a_reboot_demanded_and_that_fails_with_a_reason_lets_the_others_go_on() -> None:
    up = replace(step("up", holds="app"), continue_reason="not critical")
    plan = plan_of(up, step("work", "up"))

    actions = actions_after(plan, [*done("up"), resumed(2), started("up", 2), failure("up", 2)])

    assert actions == (Execute(step="work", attempt=1),)


STOP_AND_START = plan_of(
    step("stop", holds="app"), step("migrate", "stop"), step("start", "migrate", holds="app"),
    step("watch", "start"),
)  # fmt: skip


def test_after_two_reboots_it_is_still_the_last_step_of_a_resource_that_runs_again() -> None:
    events: list[Event] = [*done("stop"), *done("migrate"), *done("start")]

    actions = actions_after(STOP_AND_START, [*events, resumed(2), resumed(3)])

    assert actions == (Execute(step="start", attempt=2),)


def test_after_a_reboot_doubts_are_settled_once_the_world_is_as_it_was() -> None:
    events: list[Event] = [*done("stop"), *done("migrate"), started("start")]

    actions = actions_after(STOP_AND_START, [*events, resumed(2)])

    assert actions == (Execute(step="stop", attempt=2),)


def test_a_failure_whose_rollback_a_reboot_cut_off_is_still_rolled_back() -> None:
    plan = plan_of(step("up", holds="app"), step("work", "up"), after="up")

    actions = actions_after(plan, [*done("up"), started("work"), failure("work"), resumed(2)])

    assert is_end(actions, Outcome.HANDED_OVER)


def test_what_came_after_after_is_rolled_back_if_after_fails_when_it_runs_again() -> None:
    plan = plan_of(step("up", holds="app"), step("work", "up"), step("rest", "work"), after="up")
    events: list[Event] = [*done("up"), *done("work"), resumed(2), started("up", 2)]

    actions = actions_after(plan, [*events, failure("up", 2)])

    assert is_end(actions, Outcome.HANDED_OVER)


# --- what is scheduled ----------------------------------------------------------------------


def test_a_retry_that_waits_for_its_time_is_called_off_once_another_step_has_failed() -> None:
    flaky = replace(step("flaky"), retry=Retry(attempts=3))
    plan = plan_of(flaky, step("work"))
    again = failure("flaky", is_retryable=True)

    actions = actions_after(
        plan, [started("flaky"), started("work"), again, failure("work")], "flaky"
    )

    assert actions == (Stop(step="flaky"),)


# --- what holds -----------------------------------------------------------------------------


def test_a_failure_whose_rollback_is_stale_asks_one_person_and_heeds_the_answer() -> None:
    plan = plan_of(step("backup"), step("work", "backup"), after="backup")
    long_pause = resumed(after=timedelta(minutes=16))
    events: list[Event] = [*done("backup"), started("work"), failure("work"), long_pause]
    yes, no = ApprovalGiven(at=AT, step="work", by="a"), ApprovalRefused(at=AT, step="work", by="a")

    asked = actions_after(plan, events)
    after_yes = actions_after(plan, [*events, yes])
    after_no = actions_after(plan, [*events, no])

    assert [type(action) for action in asked] == [Ask]
    assert is_end(after_yes, Outcome.HANDED_OVER)
    assert is_end(after_no, Outcome.FAILED)


def test_an_interruption_of_exactly_the_limit_is_not_stale() -> None:
    plan = plan_of(step("backup"), step("work", "backup"), after="backup")
    pause = resumed(after=timedelta(minutes=15))

    actions = actions_after(plan, [*done("backup"), started("work"), failure("work"), pause])

    assert is_end(actions, Outcome.HANDED_OVER)


def test_a_doubt_that_no_probe_could_settle_is_asked_about_only_where_nothing_is_rolled_back() -> (
    None
):
    plan = plan_of(step("backup"), step("a", "backup"), step("b", "backup"), after="backup")
    events: list[Event] = [
        *done("backup"), started("a"), started("b"), settled("a", Verdict.UNKNOWN), failure("b"),
    ]  # fmt: skip

    with_way_back = actions_after(plan, events)
    without = actions_after(replace(plan, on_failure=None), events)

    assert is_end(with_way_back, Outcome.HANDED_OVER)
    assert [type(action) for action in without] == [Ask]


def test_a_rollback_that_fails_just_ends_whatever_its_plan_says() -> None:
    plan = replace(plan_of(step("undo"), step("check", "undo"), after="undo"), undoes="deploy")

    actions = actions_after(plan, [*done("undo"), started("check"), failure("check")])

    assert is_end(actions, Outcome.FAILED)


IN_DOUBT: list[Event] = [started("work")]
DOUBTFUL: list[Event] = [started("work"), settled("work", Verdict.UNKNOWN)]
HALF_DONE: list[Event] = [started("work"), settled("work", Verdict.AGAIN)]
FAILED: list[Event] = [started("work"), failure("work")]
NOT_DONE: list[Event] = [
    started("work"), replace(settled("work", Verdict.AGAIN), changed=False)
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "is_undone"),
    [
        ([], False), (IN_DOUBT, True), (DOUBTFUL, True), (HALF_DONE, True), (FAILED, True),
        (done("work"), True), (NOT_DONE, False),
    ],
)  # fmt: skip
def test_a_rollback_step_is_skipped_only_if_what_it_undoes_surely_changed_nothing(
    events: list[Event], is_undone: bool
) -> None:
    plan = plan_of(step("work"), step("other"))
    undo = replace(step("undo"), undoes=("work", "other"))
    way_back = replace(plan_of(undo), undoes="deploy")
    undone = Undone(run_id="r", steps=facts(plan, fold(plan, [begun(plan), *events])))
    start = replace(begun(way_back), undone=undone)

    actions = next_actions(way_back, fold(way_back, [start]), frozenset())

    assert [type(action) for action in actions] == [Execute if is_undone else Record]


def test_after_a_reboot_the_last_step_of_a_resource_runs_before_what_is_left() -> None:
    events: list[Event] = [*done("stop"), *done("migrate"), *done("start")]

    at_first = actions_after(STOP_AND_START, [*events, resumed(2)])
    then = actions_after(STOP_AND_START, [*events, resumed(2), *done("start", 2)])

    assert at_first == (Execute(step="start", attempt=2),)
    assert then == (Execute(step="watch", attempt=1),)


def test_after_a_reboot_even_what_does_not_need_the_resource_waits_for_it() -> None:
    plan = plan_of(step("up", holds="app"), step("other"))

    actions = actions_after(plan, [*done("up"), resumed(2)])

    assert actions == (Execute(step="up", attempt=2),)
