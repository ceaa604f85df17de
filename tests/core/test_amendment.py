"""A run that follows its runbook as it reads now has done what it has done."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runbook.core.amendment import obstacles, plan_of
from runbook.core.events import (
    ApprovalRequested,
    Approvers,
    Machine,
    Outcome,
    PlanAmended,
    RunFinished,
    RunResumed,
    RunStarted,
    StepFailed,
    StepStarted,
)
from runbook.core.failure import Failure
from runbook.core.machine import IllegalEvent, apply, fold, next_actions
from runbook.core.plan import Effect, Plan, PlannedStep, Rerun
from runbook.core.state import Phase, RunState, Status, has_changed
from tests.core.conftest import DAWN, MAIN, Scenario, tell

HERE = Machine(host="here", boot_id="boot")
AT = DAWN.replace(year=2027)
LAST = PlannedStep(id="new", kind="work", effect=Effect.CHANGES, rerun=Rerun.SAFE, timeout_s=60)


@st.composite
def resumed(draw: st.DrawFn) -> tuple[Plan, RunState]:
    """A run that was interrupted somewhere, or has failed, and was taken up again."""
    seed = draw(st.integers(0, 10_000))
    story = tell(Scenario(seed=seed, size=4, crashes=2, failures=2, resumes=1, has_way_back=False))
    events = story.journal[MAIN]
    state = fold(story.plan, events[: draw(st.integers(1, len(events)))])
    if state.phase is Phase.ENDED:
        state = fold(story.plan, events[:1])
    assume(not any(now.approvers for now in state.steps.values()))
    return story.plan, apply(story.plan, state, RunResumed(at=AT, by="ann", machine=HERE))


def amended(plan: Plan) -> PlanAmended:
    return PlanAmended(at=AT, by="ann", plan=plan)


@given(resumed())
def test_what_the_run_knows_of_its_steps_stays_and_new_ones_wait(
    run: tuple[Plan, RunState],
) -> None:
    plan, state = run
    longer = replace(plan, steps=(*plan.steps, LAST))

    after = apply(plan, state, amended(longer))

    assert {name: after.steps[name] for name in state.steps} == state.steps
    assert after.steps["new"].status is Status.WAITING


def test_what_somebody_was_asked_to_approve_does_not_change_under_them() -> None:
    plan = Plan(runbook="deploy", lock="lock", steps=(LAST,))
    begun = RunStarted(at=AT, run_id="r", plan=plan, by="ann", machine=HERE)
    asked = ApprovalRequested(
        at=AT, step="new", attempt=1, question="go on?", approvers=Approvers()
    )
    state = fold(plan, [begun, StepStarted(at=AT, step="new", attempt=1), asked])
    more = replace(plan, steps=(LAST, replace(LAST, id="more")))

    assert "asked to approve it as it was" in "".join(obstacles(plan, more, state))


@given(resumed())
def test_a_step_that_has_begun_can_neither_go_nor_change(run: tuple[Plan, RunState]) -> None:
    plan, state = run
    for step in plan.steps:
        is_free = (
            state.steps[step.id].status is Status.WAITING and not state.steps[step.id].must_hold
        )
        others = tuple(each for each in plan.steps if each.id != step.id)
        changed = tuple(replace(s, params={"n": 1}) if s.id == step.id else s for s in plan.steps)
        for steps in (others, changed):
            other = replace(plan, steps=steps)
            is_forgotten = steps is others and has_changed(step, state.steps[step.id])
            if is_free and not is_forgotten:
                assert not [each for each in obstacles(plan, other, state) if step.id in each]
                continue
            with pytest.raises(IllegalEvent):
                apply(plan, state, amended(other))


def test_what_a_failed_step_has_changed_is_not_forgotten_by_a_plan_that_only_reads() -> None:
    step = replace(LAST, id="migrate", effect=Effect.CHANGES)
    plan = Plan(runbook="deploy", lock="lock", steps=(step,))
    failure = Failure(code="RB702", message="no", is_retryable=False)
    begun = RunStarted(at=AT, run_id="r", plan=plan, by="ann", machine=HERE)
    state = fold(
        plan,
        [
            begun,
            StepStarted(at=AT, step="migrate", attempt=1),
            StepFailed(at=AT, step="migrate", attempt=1, failure=failure, changed=True),
            RunFinished(at=AT, outcome=Outcome.FAILED),
            RunResumed(at=AT, by="ann", machine=HERE),
        ],
    )
    mended = replace(plan, steps=(replace(step, params={"n": 2}),))
    reading = replace(plan, steps=(replace(step, effect=Effect.READS),))

    assert obstacles(plan, mended, state) == []
    assert "has changed something already" in "".join(obstacles(plan, reading, state))
    assert "is gone" in "".join(obstacles(plan, replace(plan, steps=(LAST,)), state))


@given(resumed())
def test_the_same_plan_changes_nothing(run: tuple[Plan, RunState]) -> None:
    plan, state = run

    after = apply(plan, state, amended(plan))

    assert replace(after, at=state.at) == state
    assert next_actions(plan, after, frozenset()) == next_actions(plan, state, frozenset())


@pytest.mark.parametrize(
    "other",
    [{"runbook": "another"}, {"lock": "another"}, {"environment": "prod"}, {"undoes": "another"}],
)
def test_a_run_does_not_become_another_runbooks(other: dict[str, str]) -> None:
    plan = Plan(runbook="deploy", lock="lock", steps=(LAST,))
    begun = RunStarted(at=DAWN, run_id="r", plan=plan, by="ann", machine=HERE)

    with pytest.raises(IllegalEvent):
        apply(plan, fold(plan, [begun]), amended(replace(plan, **other)))  # type: ignore[arg-type]


def test_the_newest_plan_is_the_one_that_is_followed() -> None:
    plan = Plan(runbook="deploy", lock="lock", steps=())
    longer = replace(plan, steps=(LAST,))
    begun = RunStarted(at=DAWN, run_id="r", plan=plan, by="ann", machine=HERE)
    again = RunResumed(at=DAWN, by="ann", machine=HERE)

    assert plan_of([begun, again]) == plan
    assert plan_of([begun, again, amended(longer)]) == longer
    assert set(fold(plan, [begun, again, amended(longer)]).steps) == {"new"}
