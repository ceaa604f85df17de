"""What resuming promises, over thousands of simulated runs with every mishap there is."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from runbook.core.actions import Action, Ask, Execute, Record, Stop
from runbook.core.events import (
    ApprovalGiven,
    ApprovalRefused,
    ApprovalRequested,
    CancelRequested,
    DoubtSettled,
    Event,
    Outcome,
    RunFinished,
    RunResumed,
    RunStarted,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    Verdict,
)
from runbook.core.machine import apply, fold, next_actions
from runbook.core.plan import Effect, Plan, PlannedStep
from runbook.core.state import Phase, RunState, Status
from tests.core.conftest import MAIN, MORE_WANTED, WAY_BACK, Scenario, Seen, Story, tell

scenarios = st.builds(
    Scenario,
    seed=st.integers(0, 10**9),
    size=st.integers(1, 5),
    crashes=st.integers(0, 5),
    reboots=st.integers(0, 3),
    cancels=st.integers(0, 2),
    failures=st.integers(0, 4),
    absences=st.integers(0, 2),
    refusals=st.integers(0, 1),
    resumes=st.integers(0, 3),
    has_way_back=st.sampled_from([True, True, False]),
)
OVER = {Status.SUCCEEDED, Status.SKIPPED, Status.FAILED}


def is_completion(event: Event) -> bool:
    """Whether the event completes the step that it names."""
    match event:
        case StepSucceeded():
            return True
        case ApprovalGiven():
            return event.note != MORE_WANTED
        case DoubtSettled():
            return event.verdict is Verdict.DONE
        case _:
            return False


def is_end(event: Event) -> bool:
    """Whether the event says how an attempt ended."""
    return isinstance(
        event, StepSucceeded | StepFailed | DoubtSettled | ApprovalRequested
    )  # fmt: skip


def step_of(event: Event) -> str:
    """The step that the event names, if any."""
    return str(getattr(event, "step", ""))


def is_new_boot(seen: Seen, event: Event) -> bool:
    """Whether the event resumes the run on a machine that has booted since."""
    return (
        isinstance(event, RunResumed)
        and seen.state.machine is not None
        and seen.state.machine.boot_id != event.machine.boot_id
    )


def is_past(step: PlannedStep, state: RunState) -> bool:
    """Whether the run goes on after this step."""
    status = state.steps[step.id].status
    if status is Status.FAILED:
        return step.continue_reason is not None or step.is_finally
    return status in OVER


def fatal(plan: Plan, state: RunState) -> list[PlannedStep]:
    """The steps, finally steps left aside, whose failure ends the run."""
    return [
        step
        for step in plan.steps
        if state.steps[step.id].status is Status.FAILED
        and not step.is_finally
        and step.continue_reason is None
    ]


def is_due(plan: Plan, state: RunState) -> bool:
    """Whether a rollback is due, as the rules say it."""
    if plan.on_failure is None or plan.undoes or state.consent is False:
        return False
    after = plan.step(plan.on_failure.after)
    was_past = is_past(after, state) or state.steps[after.id].must_hold
    return bool(fatal(plan, state)) and was_past


@given(scenarios)
def test_a_completed_step_is_never_repeated(scenario: Scenario) -> None:
    story = tell(scenario)

    completed: set[tuple[str, str]] = set()
    for seen, event in story.events():
        plan, key = story.plan_of(seen.run), (seen.run, step_of(event))
        if isinstance(event, RunResumed):
            may_run_again = {
                step.id
                for step in plan.steps
                if (step.holds and is_new_boot(seen, event))
                or (step.is_finally and seen.state.phase is Phase.FAILED)
            }
            completed -= {(seen.run, step_id) for step_id in may_run_again}
        assert not (isinstance(event, StepStarted | StepSkipped) and key in completed), event
        if is_completion(event) and seen.state.steps[step_of(event)].status is not Status.FAILED:
            completed.add(key)


@given(scenarios)
def test_no_attempt_acts_twice(scenario: Scenario) -> None:
    story = tell(scenario)

    assert not [key for key, count in story.effects.items() if count != 1]
    started = {(s.run, e.step, e.attempt) for s, e in story.events() if isinstance(e, StepStarted)}
    assert set(story.effects) <= started


@given(scenarios)
def test_nothing_starts_before_what_it_needs_is_over(scenario: Scenario) -> None:
    story = tell(scenario)

    for seen, event in story.events():
        if isinstance(event, StepStarted | StepSkipped):
            plan = story.plan_of(seen.run)
            needs = [plan.step(need) for need in plan.step(event.step).needs]
            assert all(is_past(need, seen.state) for need in needs), event
            assert not ({need.id for need in needs} & seen.in_flight), event


@given(scenarios)
def test_a_step_in_doubt_is_settled_before_it_starts_again(scenario: Scenario) -> None:
    story = tell(scenario)

    is_open: set[tuple[str, str]] = set()
    for seen, event in story.events():
        key = (seen.run, step_of(event))
        if isinstance(event, StepStarted):
            assert key not in is_open, event
            is_open.add(key)
        elif isinstance(event, DoubtSettled) and event.verdict is Verdict.UNKNOWN:
            is_open.add(key)
        elif is_end(event):
            is_open.discard(key)
        elif isinstance(event, RunFinished) and event.outcome is Outcome.SUCCEEDED:
            assert not [left for left in is_open if left[0] == seen.run]


@given(scenarios)
def test_a_crashed_and_resumed_run_ends_as_an_undisturbed_one_could(scenario: Scenario) -> None:
    well = replace(scenario, failures=0, refusals=0)

    story, calm = tell(well), tell(replace(well, crashes=0, cancels=0, absences=0, reboots=0))

    assert story.end(MAIN).outcome is calm.end(MAIN).outcome is Outcome.SUCCEEDED
    done = {key[:2] for key in story.effects}
    for step in story.plan.steps:
        status = story.end(MAIN).steps[step.id].status
        assert status in (Status.SUCCEEDED, Status.SKIPPED)
        assert status is not Status.SUCCEEDED or (MAIN, step.id) in done
    assert story.up == last_holding(story, MAIN)


def last_holding(story: Story, run: str) -> dict[str, str]:
    """By resource: the last step of the run that succeeded in bringing it up or stopping it."""
    state = story.end(run)
    return {
        step.holds: step.id
        for step in story.plan_of(run).steps
        if step.holds and state.steps[step.id].status is Status.SUCCEEDED
    }


@given(scenarios, st.integers(0, 4))
def test_a_crashed_run_that_must_fail_fails_and_is_rolled_back_as_an_undisturbed_one(
    scenario: Scenario, doomed: int
) -> None:
    ill = replace(
        scenario,
        is_sequence=True,
        doomed=doomed,
        failures=0,
        refusals=0,
        resumes=0,
        has_way_back=True,
    )

    story, calm = tell(ill), tell(replace(ill, crashes=0, cancels=0, absences=0, reboots=0))

    is_skipped = any(
        isinstance(event, StepSkipped) and step_of(event) == f"s{doomed}"
        for told in (story, calm)
        for event in told.journal[MAIN]
    )
    after = story.plan.on_failure.after if story.plan.on_failure else ""
    assume(not is_skipped and after != f"s{doomed}")
    assert story.end(MAIN).outcome is calm.end(MAIN).outcome
    assert (WAY_BACK in story.journal) is (WAY_BACK in calm.journal)
    if WAY_BACK in story.journal:
        assert story.end(WAY_BACK).outcome is calm.end(WAY_BACK).outcome is Outcome.SUCCEEDED


@given(scenarios)
def test_a_failure_before_after_rolls_nothing_back(scenario: Scenario) -> None:
    story = tell(scenario)

    for seen, event in story.events():
        if isinstance(event, RunFinished) and event.outcome is Outcome.HANDED_OVER:
            assert is_due(story.plan_of(seen.run), seen.state)


@given(scenarios)
def test_a_failure_after_after_is_rolled_back_unless_a_person_says_no(scenario: Scenario) -> None:
    story = tell(scenario)

    for seen, event in story.events():
        if isinstance(event, RunFinished) and event.outcome is Outcome.FAILED:
            plan = story.plan_of(seen.run)
            assert not is_due(plan, seen.state)
            is_no = any(isinstance(e, ApprovalRefused) for e in story.journal[seen.run])
            assert seen.state.consent is not False or is_no


@given(scenarios)
def test_a_step_that_wants_the_yes_of_two_people_waits_for_both(scenario: Scenario) -> None:
    story = tell(scenario)

    for seen, event in story.events():
        if isinstance(event, ApprovalGiven) and event.note == MORE_WANTED:
            after = apply(story.plan_of(seen.run), seen.state, event)
            assert after.steps[event.step].status is Status.ASKING
            assert after.steps[event.step].approved_by == (event.by,)


@given(scenarios)
def test_a_rollback_never_triggers_a_rollback(scenario: Scenario) -> None:
    story = tell(scenario)

    ends = [e for e in story.journal.get(WAY_BACK, []) if isinstance(e, RunFinished)]
    assert all(end.outcome is not Outcome.HANDED_OVER for end in ends)
    assert set(story.journal) <= {MAIN, WAY_BACK}
    handed = [e for e in story.journal[MAIN] if isinstance(e, RunFinished) and e.successor]
    assert len(handed) == (WAY_BACK in story.journal)


@given(scenarios)
def test_nobody_is_asked_where_a_rollback_is_due(scenario: Scenario) -> None:
    story = tell(scenario)

    for seen, turn in story.turns():
        plan, state = story.plan_of(seen.run), turn.state
        if not is_due(plan, state):
            continue
        assert plan.on_failure is not None
        is_stale = state.interrupted_s > plan.on_failure.stale_after_s
        asks = [action.step for action in turn.actions if isinstance(action, Ask)]
        assert not asks or (is_stale and state.consent is None)
        assert {state.steps[step].status for step in asks} <= {Status.FAILED}


@given(scenarios)
def test_finally_steps_run_at_the_end_whether_it_went_well_or_not(scenario: Scenario) -> None:
    story = tell(scenario)

    for seen, event in story.events():
        plan = story.plan_of(seen.run)
        if isinstance(event, RunFinished) and event.outcome is not Outcome.HANDED_OVER:
            last = [step for step in plan.steps if step.is_finally]
            assert all(seen.state.steps[step.id].status in OVER for step in last)
        if isinstance(event, StepStarted) and plan.step(event.step).is_finally:
            main = [step for step in plan.steps if not step.is_finally]
            assert fatal(plan, seen.state) or all(is_past(step, seen.state) for step in main)
            assert not ({step.id for step in main} & seen.in_flight)


@given(scenarios)
def test_finally_steps_do_not_run_where_a_rollback_follows(scenario: Scenario) -> None:
    story = tell(replace(scenario, refusals=0))

    if WAY_BACK in story.journal and not any(
        isinstance(event, RunFinished) and event.outcome is Outcome.FAILED
        for event in story.journal[MAIN]
    ):
        last = {step.id for step in story.plan.steps if step.is_finally}
        # A reboot may fail what had succeeded, once the finally steps were under way.
        begun = [event for event in story.journal[MAIN] if isinstance(event, StepStarted)]
        failures = [event for event in story.journal[MAIN] if isinstance(event, StepFailed)]
        at_failure = max((event.at for event in failures), default=begun[-1].at)
        assert not last & {event.step for event in begun if event.at > at_failure}
        if story.end(WAY_BACK).outcome is not None:
            assert last <= {step_of(event) for event in story.journal[WAY_BACK]}


def may_have_changed(story: Story, step_id: str) -> bool:
    """Whether the first run's journal leaves it open that this step changed something."""
    if story.plan.step(step_id).effect is Effect.READS:
        return False
    is_open = has_changed = False
    for event in story.journal[MAIN]:
        if step_of(event) != step_id:
            continue
        is_open = isinstance(event, StepStarted) or (
            isinstance(event, DoubtSettled) and event.verdict is Verdict.UNKNOWN
        )
        if isinstance(event, StepSucceeded | StepFailed | DoubtSettled) and not is_open:
            has_changed |= event.changed
    return is_open or has_changed


@given(scenarios, st.integers(0, 4))
def test_undoes_skips_only_what_never_started_or_changed_nothing(
    scenario: Scenario, doomed: int
) -> None:
    story = tell(replace(scenario, has_way_back=True, doomed=doomed, size=scenario.size + 1))

    for event in story.journal.get(WAY_BACK, []):
        assert story.way_back is not None
        undoes = story.way_back.step(step_of(event)).undoes if step_of(event) else ()
        is_needed = any(may_have_changed(story, step_id) for step_id in undoes)
        if isinstance(event, StepSkipped) and event.reason.startswith("nothing to undo"):
            assert undoes and not is_needed
        if isinstance(event, StepStarted) and undoes:
            assert is_needed


@given(scenarios)
def test_no_new_step_starts_after_a_cancel(scenario: Scenario) -> None:
    story = tell(replace(scenario, cancels=scenario.cancels + 1))

    is_cancelled = False
    for seen in story.seen:
        match seen.what:
            case CancelRequested():
                is_cancelled = True
            case RunResumed() | RunStarted():
                is_cancelled = False
            case StepStarted() | StepSkipped() | RunFinished():
                assert not is_cancelled
            case _:
                actions = getattr(seen.what, "actions", ())
                assert not is_cancelled or all(isinstance(action, Stop) for action in actions)


@given(scenarios)
def test_what_changes_something_is_waited_for_before_a_failure_is_acted_on(
    scenario: Scenario,
) -> None:
    story = tell(scenario)

    for seen, event in story.events():
        if isinstance(event, RunFinished):
            plan = story.plan_of(seen.run)
            assert not seen.in_flight
            open_steps = [s for s in plan.steps if seen.state.steps[s.id].status is Status.RUNNING]
            assert not open_steps


@given(scenarios)
def test_only_what_reads_is_ever_stopped(scenario: Scenario) -> None:
    story = tell(scenario)

    for seen, turn in story.turns():
        for action in turn.actions:
            if isinstance(action, Stop) and action.step in seen.executing:
                assert story.plan_of(seen.run).step(action.step).effect is Effect.READS
                assert turn.state.phase is Phase.STOPPING or fatal(
                    story.plan_of(seen.run), turn.state
                )


@given(scenarios)
def test_once_a_step_has_failed_for_good_nothing_new_starts(scenario: Scenario) -> None:
    story = tell(scenario)

    for seen, event in story.events():
        if isinstance(event, StepStarted):
            plan = story.plan_of(seen.run)
            assert plan.step(event.step).is_finally or not fatal(plan, seen.state)


def counted_failures(events: Iterable[Event]) -> Counter[str]:
    """Failed attempts of each step since it last had fresh ones, counted from the events alone."""
    failures: Counter[str] = Counter()
    for event in events:
        if isinstance(event, StepFailed):
            failures[event.step] += 1
    return failures


@given(scenarios)
def test_crashes_cost_no_attempt(scenario: Scenario) -> None:
    story = tell(replace(scenario, resumes=0, crashes=scenario.crashes + 1))

    for run, events in story.journal.items():
        for number, event in enumerate(events):
            if not isinstance(event, StepFailed):
                continue
            step = story.plan_of(run).step(event.step)
            failures = counted_failures(events[: number + 1])[step.id]
            has_left = event.failure.is_retryable and failures < step.retry.attempts
            after = fold(story.plan_of(run), events[: number + 1]).steps[step.id]
            assert after.status is (Status.RETRYING if has_left else Status.FAILED)


@given(scenarios)
def test_a_resumed_failed_run_gives_fresh_attempts_to_what_had_failed(scenario: Scenario) -> None:
    story = tell(replace(scenario, has_way_back=False, failures=4, resumes=3))

    for run, events in story.journal.items():
        plan = story.plan_of(run)
        for number, event in enumerate(events):
            before = fold(plan, events[:number])
            if isinstance(event, RunResumed) and before.phase is Phase.FAILED:
                after = fold(plan, events[: number + 1])
                ended = {step.id for step in fatal(plan, before)} | {
                    step.id for step in plan.steps if step.is_finally
                }
                assert all(after.steps[step].status is Status.WAITING for step in ended)
                assert all(after.steps[step].failures == 0 for step in ended)
                kept = [step for step in plan.steps if step.id not in ended and not step.holds]
                kept = [s for s in kept if before.steps[s.id].status is not Status.DOUBTFUL]
                assert all(after.steps[s.id] == before.steps[s.id] for s in kept)


@given(scenarios)
def test_after_a_reboot_the_last_up_or_stop_step_of_each_resource_runs_first(
    scenario: Scenario,
) -> None:
    story = tell(replace(scenario, crashes=5, reboots=3))

    due: set[tuple[str, str]] = set()
    completed: dict[tuple[str, str], None] = {}
    for seen, event in story.events():
        plan, key = story.plan_of(seen.run), (seen.run, step_of(event))
        if is_new_boot(seen, event):
            last = {
                step.holds: step.id for step in plan.steps if (seen.run, step.id) in completed
            }  # fmt: skip
            due |= {(seen.run, step_id) for holds, step_id in last.items() if holds}
        if isinstance(event, StepStarted | StepSkipped) and not fatal(plan, seen.state):
            assert key in due or not [left for left in due if left[0] == seen.run], event
        if is_completion(event) or isinstance(event, StepSkipped):
            due.discard(key)
        if is_completion(event):
            completed[key] = None
        if isinstance(event, StepFailed):
            after = seen.state.steps[event.step].failures + 1
            is_final = after >= plan.step(event.step).retry.attempts
            is_over = is_final or not event.failure.is_retryable
        else:
            is_over = isinstance(event, DoubtSettled) and event.verdict is Verdict.FAILED
        if is_over and plan.step(step_of(event)).continue_reason:
            due.discard(key)
            completed.pop(key, None)


@given(scenarios)
def test_every_run_reaches_an_end_if_resumed_and_answered_often_enough(
    scenario: Scenario,
) -> None:
    story = tell(scenario)

    assert not story.is_stuck
    last = WAY_BACK if WAY_BACK in story.journal else MAIN
    assert story.end(last).outcome in (Outcome.SUCCEEDED, Outcome.FAILED)
    patient = tell(replace(scenario, resumes=30, refusals=0))
    last = WAY_BACK if WAY_BACK in patient.journal else MAIN
    assert patient.end(last).outcome is Outcome.SUCCEEDED


@given(scenarios, st.randoms())
def test_next_actions_never_offers_what_is_in_flight(scenario: Scenario, chance: Random) -> None:
    story = tell(scenario)

    for seen, turn in story.turns():
        plan = story.plan_of(seen.run)
        assert not offered(turn.actions) & seen.in_flight
        some = frozenset(step.id for step in plan.steps if chance.random() < 0.4)
        actions = next_actions(plan, turn.state, some)
        assert not offered(actions) & some
        named = [action.step for action in actions if not isinstance(action, Record)]
        assert len(named) == len(set(named))


def offered(actions: Iterable[Action]) -> set[str]:
    """The steps that these actions would have begun, settled or skipped."""
    begun = {action.step for action in actions if isinstance(action, Execute | Ask)}
    records = [action.event for action in actions if isinstance(action, Record)]
    return begun | {event.step for event in records if isinstance(event, StepSkipped)}


@given(scenarios)
def test_the_same_events_give_the_same_state(scenario: Scenario) -> None:
    story = tell(scenario)

    for run, events in story.journal.items():
        plan = story.plan_of(run)
        assert fold(plan, events) == fold(plan, list(events)) == story.end(run)
        shuffled = replace(
            fold(plan, events), steps=dict(reversed(list(fold(plan, events).steps.items())))
        )
        assert next_actions(plan, shuffled, frozenset()) == next_actions(
            plan, fold(plan, events), frozenset()
        )


DIGEST = """
import hashlib
from tests.core.conftest import Scenario, tell
stories = [
    tell(Scenario(seed=seed, size=4, crashes=3, failures=3, cancels=1, resumes=2))
    for seed in range(40)
]
said = [
    (seen.run, seen.state, getattr(seen.what, "actions", seen.what))
    for story in stories
    for seen in story.seen
]
print(hashlib.sha256(repr(said).encode()).hexdigest())
"""


def test_the_same_events_give_the_same_state_under_another_hash_seed() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }

    assert len(digests) == 1


def test_the_scenarios_hold_everything_that_the_promises_speak_of() -> None:
    happened: Counter[str] = Counter()

    for seed in range(800):
        story = tell(
            Scenario(
                seed=seed, size=1 + seed % 5, crashes=seed % 6, reboots=3, cancels=seed % 3,
                failures=seed % 5, absences=1, refusals=1, resumes=2,
            )
        )  # fmt: skip
        for seen in story.seen:
            what = seen.what
            happened[what if isinstance(what, str) else type(what).__name__] += 1
            happened[getattr(what, "note", "")] += 1
            happened[str(getattr(what, "verdict", ""))] += 1
            happened[str(getattr(what, "outcome", ""))] += 1
            happened["stop"] += any(isinstance(a, Stop) for a in getattr(what, "actions", ()))
        happened["asked whether to roll back"] += any(
            isinstance(event, ApprovalGiven | ApprovalRefused)
            and seen.state.steps[event.step].status is Status.FAILED
            for seen, event in story.events()
        )

    wanted = {
        *("crash", "effect", "stop", "StepSkipped", "StepFailed", "CancelRequested", "RunResumed"),
        *("done", "again", "failed", "unknown", "succeeded", "handed_over", "ApprovalGiven"),
        *("ApprovalRefused", "ApprovalRequested", "asked whether to roll back"),
        *("reboot", MORE_WANTED),
    }
    assert {name for name in wanted if happened[name] == 0} == set()
