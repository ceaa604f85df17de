"""A small simulated runtime over `drive`, with a world that counts and a journal that survives.

Everything random comes from a scenario's seed: the same scenario tells the same story.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import HealthCheck, settings

from runbook.core.actions import Ask, Execute, Record, Stop
from runbook.core.events import (
    ApprovalGiven,
    ApprovalRefused,
    ApprovalRequested,
    Approvers,
    CancelRequested,
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
    Trigger,
    Undone,
    Verdict,
)
from runbook.core.failure import Failure
from runbook.core.machine import apply, fold
from runbook.core.plan import Effect, OnFailure, Plan, PlannedStep, Rerun, Retry
from runbook.core.state import Phase, RunState, Status, facts, failed_step
from runbook.engine.drive import Report, Turn, drive

settings.register_profile(
    "core",
    max_examples=150,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("core")

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
MAIN, WAY_BACK = "main", "way-back"
MOST_TURNS = 1500
"""A life that takes more turns than this goes in circles."""
MOST_LIVES = 80
MORE_WANTED = "another person's yes is wanted"
"""The note of a yes that does not complete its step."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """All that decides how a story goes."""

    seed: int
    size: int = 4
    """Top-level places of the plan: steps or parallel groups."""
    crashes: int = 0
    reboots: int = 0
    """So many of the crashes are reboots."""
    cancels: int = 0
    failures: int = 0
    """In all, over every step."""
    absences: int = 0
    """So often nobody is there to answer."""
    refusals: int = 0
    resumes: int = 0
    """So often a run that has failed is resumed."""
    is_sequence: bool = False
    has_way_back: bool = True
    doomed: int | None = None
    """The step of this number always fails for good."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One thing that happened, in order."""

    run: str
    what: Event | Turn | str
    """An event that was recorded, a turn that was offered, or `effect`, `crash`, `reboot`."""
    state: RunState
    """With an event: the state before it."""
    in_flight: frozenset[str] = frozenset()
    """What was being executed, or waited for its `not_before`."""
    executing: frozenset[str] = frozenset()
    step: str = ""
    attempt: int = 0


@dataclass(kw_only=True)
class Story:
    """What happened from the first event to the last."""

    plan: Plan
    way_back: Plan | None
    seen: list[Seen] = field(default_factory=list)
    journal: dict[str, list[Event]] = field(default_factory=dict)
    effects: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    up: dict[str, str | None] = field(default_factory=dict)
    """By resource: the step whose work stands; nothing survives a reboot."""
    is_stuck: bool = False

    def plan_of(self, run: str) -> Plan:
        """The plan of that run."""
        if run == MAIN:
            return self.plan
        assert self.way_back is not None
        return self.way_back

    def end(self, run: str) -> RunState:
        """Where that run stands at last."""
        return fold(self.plan_of(run), self.journal[run])

    def events(self) -> Iterator[tuple[Seen, Event]]:
        """Everything recorded, with the state before it."""
        for seen in self.seen:
            if not isinstance(seen.what, Turn | str):
                yield seen, seen.what

    def turns(self) -> Iterator[tuple[Seen, Turn]]:
        """Everything offered."""
        for seen in self.seen:
            if isinstance(seen.what, Turn):
                yield seen, seen.what


class Crash(Exception):
    """The process is gone."""


class HandedOver(Exception):
    """The run ended by starting its rollback."""


@dataclass
class Flight:
    """An attempt in this process's hands."""

    execute: Execute
    has_acted: bool = False
    is_told_to_stop: bool = False


# --- plans ----------------------------------------------------------------------------------


class _Planner:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.rng = scenario, Random(scenario.seed)
        self.steps: list[PlannedStep] = []

    def add(self, needs: tuple[str, ...], holds: str | None = None) -> tuple[str, ...]:
        rng = self.rng
        effect = Effect.CHANGES if holds else rng.choice(list(Effect))
        is_asking = effect is Effect.READS and rng.random() < 0.3
        step = PlannedStep(
            id=f"s{len(self.steps)}",
            kind="confirm" if is_asking else "work",
            needs=needs,
            effect=effect,
            rerun=rng.choice([Rerun.SAFE, Rerun.PROBE] if holds else list(Rerun)),
            timeout_s=60,
            retry=Retry(attempts=rng.choice([1, 1, 2, 3]), delay_s=5),
            continue_reason="not critical" if rng.random() < 0.15 else None,
            holds=holds,
        )
        self.steps.append(step)
        return (step.id,)

    def main(self) -> tuple[PlannedStep, ...]:
        needs: tuple[str, ...] = ()
        for place in range(self.scenario.size):
            if self.scenario.is_sequence or self.rng.random() < 0.6:
                holds = self.rng.choice([None, None, "app", "db"])
                needs = self.add(needs, holds)
                continue
            tails: tuple[str, ...] = ()
            for branch in range(self.rng.choice([2, 2, 3])):
                tail = needs
                for _ in range(self.rng.choice([1, 2])):
                    holds = self.rng.choice([None, None, None, f"own{place}.{branch}"])
                    tail = self.add(tail, holds)
                tails += tail
            needs = tails
        return tuple(self.steps)

    def last(self) -> tuple[PlannedStep, ...]:
        return tuple(
            PlannedStep(
                id=f"f{number}", kind="work", needs=(f"f{number - 1}",) if number else (),
                effect=self.rng.choice(list(Effect)), rerun=Rerun.SAFE, timeout_s=60,
                retry=Retry(attempts=self.rng.choice([1, 2]), delay_s=5), is_finally=True,
            )
            for number in range(self.rng.choice([0, 1, 2]))
        )  # fmt: skip

    def way_back(
        self, main: tuple[PlannedStep, ...], last: tuple[PlannedStep, ...]
    ) -> tuple[PlannedStep, ...]:
        self.steps = []
        needs: tuple[str, ...] = ()
        for _ in range(self.rng.choice([1, 2, 3, 4])):
            needs = self.add(needs, self.rng.choice([None, None, "app"]))
            undone = self.rng.sample(main, k=min(len(main), self.rng.choice([0, 1, 1, 2])))
            undoes = tuple(step.id for step in undone)
            self.steps[-1] = replace(
                self.steps[-1], id=f"u{len(self.steps)}", undoes=undoes, needs=self._needs()
            )
        return (*self.steps, *(replace(step, from_undone=True) for step in last))

    def _needs(self) -> tuple[str, ...]:
        return (self.steps[-2].id,) if len(self.steps) > 1 else ()


def make_plan(scenario: Scenario) -> Plan:
    """A plan of that size, with its rollback."""
    planner = _Planner(scenario)
    main, last = planner.main(), planner.last()
    plan = Plan(runbook="deploy", lock="lock", steps=(*main, *last))
    if not scenario.has_way_back:
        return plan
    after = planner.rng.choice(main).id
    way_back = Plan(
        runbook="rollback", lock="lock", steps=planner.way_back(main, last), undoes="deploy"
    )
    if planner.rng.random() < 0.5:
        # No rollback may heed this, whatever a plan says.
        again = OnFailure(plan=replace(way_back, on_failure=None), after=way_back.steps[0].id)
        way_back = replace(way_back, on_failure=again)
    return replace(plan, on_failure=OnFailure(plan=way_back, after=after))


# --- the runtime ----------------------------------------------------------------------------


class Simulation:
    """Runs a plan as a runtime would, through every mishap that the scenario holds."""

    def __init__(self, scenario: Scenario) -> None:
        plan = make_plan(scenario)
        self.scenario, self.rng = scenario, Random(f"{scenario.seed}/mishaps")
        self.story = Story(plan=plan, way_back=plan.on_failure.plan if plan.on_failure else None)
        self.left = {name: getattr(scenario, name) for name in _MISHAPS}
        self.now, self.boot = DAWN, 0
        self.run, self.state = MAIN, fold(plan, ())
        self.flights: dict[str, Flight] = {}
        self.scheduled: dict[str, Execute] = {}
        self.news: list[Event] = []

    # --- the person -----------------------------------------------------------------------

    def tell(self) -> Story:
        """Start the run, and resume it until it ends for good or nobody resumes it any more."""
        self.story.journal[MAIN] = []
        try:
            self._record(self._started(MAIN, self.story.plan))
            self._drive()
        except Crash:
            self._fall()
        for _ in range(MOST_LIVES):
            if self._is_at_rest():
                return self.story
            self._live_on()
        self.story.is_stuck = True
        return self.story

    def _is_at_rest(self) -> bool:
        phase = self.state.phase
        if phase is Phase.FAILED and self.left["resumes"] > 0:
            self.left["resumes"] -= 1
            return False
        return phase in (Phase.FAILED, Phase.ENDED)

    def _live_on(self) -> None:
        self.now += timedelta(seconds=self.rng.choice([5, 5, 60, 600]))
        try:
            if self.state.phase is Phase.NEW:
                self._record(self._started(MAIN, self.story.plan))
            else:
                self._record(RunResumed(at=self.now, by="ann", machine=self._machine()))
            self._drive()
        except Crash:
            self._fall()

    def _fall(self) -> None:
        """The process is gone, and with it all that it had not written down."""
        self.flights, self.scheduled, self.news = {}, {}, []
        self._see("crash")
        self.run = WAY_BACK if self.story.journal.get(WAY_BACK) else MAIN
        self.state = fold(self.story.plan_of(self.run), self.story.journal[self.run])
        if self.state.phase is not Phase.ENDED and self._has("reboots", 0.6):
            self.boot += 1
            self.story.up = dict.fromkeys(self.story.up)
            self._see("reboot")

    def _has(self, mishap: str, chance: float) -> bool:
        if self.left[mishap] <= 0 or self.rng.random() >= chance:
            return False
        self.left[mishap] -= 1
        return True

    # --- one life of the process ----------------------------------------------------------

    def _drive(self) -> None:
        """Drive until there is nothing to do, nobody to ask, or the process dies."""
        self.news = []
        for _ in range(3):
            before = self.run
            self._drive_run()
            if self.run == before:
                return

    def _drive_run(self) -> None:
        plan = self.story.plan_of(self.run)
        loop = drive(plan, self.state)
        try:
            turn = next(loop)
            for _ in range(MOST_TURNS):
                self._see(turn)
                if not self._perform(turn):
                    return
                self._pass_time()
                events, self.news = tuple(self.news), []
                turn = loop.send(Report(events=events, in_flight=self._in_flight()))
        except HandedOver:
            return
        except StopIteration as end:
            assert end.value == self.state, "the loop knows another state than the journal"
            return
        raise AssertionError("the run goes in circles")

    def _perform(self, turn: Turn) -> bool:
        for action in turn.actions:
            match action:
                case Execute():
                    self.scheduled[action.step] = action
                    if action.not_before is None or action.not_before <= self.now:
                        self._start(action)
                case Stop(step=step):
                    self.scheduled.pop(step, None)
                    if step in self.flights:
                        self.flights[step].is_told_to_stop = True
                case Record(event=event):
                    self._record_fact(event)
                case Ask():
                    pass
        asks = [action for action in turn.actions if isinstance(action, Ask)]
        if not asks or self.news or self._in_flight():
            return True
        return self._answer(self.rng.choice(asks))

    def _pass_time(self) -> None:
        """Let one thing happen: a signal, a start, an effect or an end."""
        self._crash_perhaps()
        if self.news:
            return
        if self.state.phase is Phase.DRIVING and self._has("cancels", 0.05):
            self.scheduled.clear()
            self._record(CancelRequested(at=self.now, by="ann", signal="SIGINT"))
            return
        choices: list[Callable[[], None]] = [
            *(lambda execute=execute: self._start(execute) for execute in self.scheduled.values()),
            *(lambda flight=flight: self._advance(flight) for flight in self.flights.values()),
        ]
        if choices:
            self.rng.choice(choices)()

    def _start(self, execute: Execute) -> None:
        del self.scheduled[execute.step]
        if execute.not_before is not None:
            self.now = max(self.now, execute.not_before)
        step = self.story.plan_of(self.run).step(execute.step)
        if not execute.in_doubt:
            is_new = self.state.steps[step.id].attempt == 0
            if is_new and self.rng.random() < 0.05:
                self._record(StepSkipped(at=self.now, step=step.id, reason="`when` is false"))
                return
            self._record(StepStarted(at=self.now, step=step.id, attempt=execute.attempt))
        self.flights[step.id] = Flight(execute)

    def _advance(self, flight: Flight) -> None:
        step = self.story.plan_of(self.run).step(flight.execute.step)
        if flight.execute.in_doubt:
            self._end(flight, self._settle(step, flight))
        elif flight.is_told_to_stop and self.rng.random() < 0.7:
            self._end(flight, self._doubt(flight, Verdict.AGAIN, changed=False))
        elif not flight.has_acted:
            self._act(step, flight)
        else:
            self._end(flight, self._outcome(step, flight))

    def _act(self, step: PlannedStep, flight: Flight) -> None:
        key = (self.run, step.id, flight.execute.attempt)
        self.story.effects[key] += 1
        flight.has_acted = True
        if step.holds:
            self.story.up[step.holds] = step.id
        seen = Seen(run=self.run, what="effect", state=self.state, step=step.id, attempt=key[2])
        self.story.seen.append(seen)
        self._crash_perhaps()

    def _outcome(self, step: PlannedStep, flight: Flight) -> Event:
        attempt = flight.execute.attempt
        is_doomed = self._is_doomed(step)
        if is_doomed or self._has("failures", 0.35):
            failure = Failure(
                code="RB501", message="no", is_retryable=not is_doomed and self.rng.random() < 0.8
            )
            changed = is_doomed or self.rng.random() < 0.5
            return StepFailed(
                at=self.now, step=step.id, attempt=attempt, failure=failure, changed=changed
            )
        if step.kind == "confirm":
            approvers = self.rng.choice([None, Approvers(required=2)])
            return ApprovalRequested(
                at=self.now, step=step.id, attempt=attempt, question="go on?", approvers=approvers
            )
        changed = self.rng.random() < 0.8
        return StepSucceeded(
            at=self.now, step=step.id, attempt=attempt, outputs={"attempt": attempt},
            changed=changed,
        )  # fmt: skip

    def _settle(self, step: PlannedStep, flight: Flight) -> Event:
        has_acted = self._is_done(step, flight.execute.attempt)
        if has_acted and step.kind != "confirm" and self.rng.random() < 0.2:
            return StepSucceeded(
                at=self.now, step=step.id, attempt=flight.execute.attempt, outputs={}, changed=True
            )
        if step.rerun is Rerun.SAFE:
            return self._doubt(flight, Verdict.AGAIN, changed=True)
        if step.rerun is Rerun.ASK or self.rng.random() < 0.2:
            return self._doubt(flight, Verdict.UNKNOWN, changed=True)
        verdict = Verdict.DONE if has_acted else Verdict.AGAIN
        return self._doubt(flight, verdict, changed=has_acted or self._is_doomed(step))

    def _is_doomed(self, step: PlannedStep) -> bool:
        return self.run == MAIN and step.id == f"s{self.scenario.doomed}"

    def _is_done(self, step: PlannedStep, attempt: int) -> bool:
        """Whether this attempt has done its work, and the work still stands."""
        stands = not step.holds or self.story.up.get(step.holds) == step.id
        has_acted = (self.run, step.id, attempt) in self.story.effects
        return has_acted and stands and not self._is_doomed(step)

    def _doubt(self, flight: Flight, verdict: Verdict, *, changed: bool) -> DoubtSettled:
        return DoubtSettled(
            at=self.now, step=flight.execute.step, attempt=flight.execute.attempt, verdict=verdict,
            by="probe", reason=verdict.value, changed=changed,
        )  # fmt: skip

    def _end(self, flight: Flight, event: Event) -> None:
        self._record(event)
        del self.flights[flight.execute.step]

    # --- people's answers -----------------------------------------------------------------

    def _answer(self, ask: Ask) -> bool:
        if self._has("absences", 0.5):
            return False
        now = self.state.steps[ask.step]
        if now.status is Status.DOUBTFUL:
            step = self.story.plan_of(self.run).step(ask.step)
            verdict = Verdict.DONE if self._is_done(step, now.attempt) else Verdict.AGAIN
            if self._has("failures", 0.3):
                verdict = Verdict.FAILED
            self._record(
                DoubtSettled(
                    at=self.now, step=ask.step, attempt=now.attempt, verdict=verdict, by="ann",
                    reason="saw it",
                )
            )  # fmt: skip
            return True
        if self._has("refusals", 0.4):
            self._record(ApprovalRefused(at=self.now, step=ask.step, by="ann"))
            return True
        by = self.rng.choice(["ann", "bob"])
        is_about_the_way_back = now.status is Status.FAILED
        is_enough = now.approvers is None or {*now.approved_by, by} == {"ann", "bob"}
        is_enough = is_enough or is_about_the_way_back
        note = "" if is_enough else MORE_WANTED
        self._record(ApprovalGiven(at=self.now, step=ask.step, by=by, note=note))
        return True

    # --- the journal ----------------------------------------------------------------------

    def _record(self, event: Event) -> None:
        self._crash_perhaps()
        self._append(event)
        self._crash_perhaps()

    def _append(self, event: Event) -> None:
        self._see(event)
        self.story.journal[self.run].append(event)
        self.news.append(event)
        self.state = apply(self.story.plan_of(self.run), self.state, event)
        self.now += timedelta(seconds=1)

    def _record_fact(self, event: StepSkipped | RunFinished) -> None:
        event = replace(event, at=self.now)
        if not (isinstance(event, RunFinished) and event.outcome is Outcome.HANDED_OVER):
            self._record(event)
            return
        self._crash_perhaps()
        plan, failed = self.story.plan, failed_step(self.story.plan, self.state)
        undone = Undone(
            run_id=MAIN, steps=facts(plan, self.state), failed_step=failed.id if failed else None
        )
        self._append(replace(event, successor=WAY_BACK))
        self.run, self.story.journal[WAY_BACK] = WAY_BACK, []
        assert self.story.way_back is not None
        self.state = fold(self.story.way_back, ())
        started = self._started(WAY_BACK, self.story.way_back)
        self._append(replace(started, trigger=Trigger.FAILURE, undone=undone))
        self.flights, self.scheduled, self.news = {}, {}, []
        self._crash_perhaps()
        raise HandedOver

    def _started(self, run: str, plan: Plan) -> RunStarted:
        return RunStarted(at=self.now, run_id=run, plan=plan, by="ann", machine=self._machine())

    def _machine(self) -> Machine:
        return Machine(host="host", boot_id=str(self.boot))

    def _crash_perhaps(self) -> None:
        if self._has("crashes", 0.04):
            raise Crash

    def _in_flight(self) -> frozenset[str]:
        return frozenset(self.flights) | frozenset(self.scheduled)

    def _see(self, what: Event | Turn | str) -> None:
        self.story.seen.append(
            Seen(
                run=self.run, what=what, state=self.state, in_flight=self._in_flight(),
                executing=frozenset(self.flights),
            )
        )  # fmt: skip


_MISHAPS = ("crashes", "reboots", "cancels", "failures", "absences", "refusals", "resumes")


def tell(scenario: Scenario) -> Story:
    """The story of a scenario."""
    return Simulation(scenario).tell()
