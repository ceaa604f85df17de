"""The local runtime over a real journal in memory, with kinds that leave traces in the world."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runbook.core.actions import Ask
from runbook.core.events import (
    Event,
    Machine,
    Outcome,
    RunFinished,
    RunResumed,
    RunStarted,
    StepStarted,
    Verdict,
)
from runbook.core.journal import Batch, Journal
from runbook.core.machine import fold
from runbook.core.plan import Effect, JsonObject, Plan, PlannedStep, Rerun, Retry
from runbook.core.state import Phase, RunState, Status
from runbook.engine.local import LocalRuntime
from runbook.engine.lock import Lock, Owner, acquire
from runbook.engine.scene import Scene
from runbook.engine.watcher import Answer, Ending
from runbook.errors import CheckFailed, JournalUnwritable, StepStopped
from runbook.kinds import (
    Context,
    Done,
    NotDone,
    Outputs,
    Question,
    Result,
    Spec,
    StepKind,
    Unknown,
)
from runbook.language.expressions import Evaluator
from runbook.registry import Registry
from runbook.stores.memory import MemoryJournal
from runbook.tools.command import Command
from runbook.tools.redactor import Redactor

HOST = Machine(host="here", boot_id="boot-1")
RUN = "deploy-1"


class Trace(Spec):
    """Leaves a line in the world."""

    fails: int = 0
    """How many of its attempts fail."""
    asks: bool = False
    """Whether it ends by a question."""
    waits_s: float = 0.0
    """How long it takes, listening to its context."""
    lets_go_s: float = 0.0
    """How long it takes to let go once it is stopped."""
    leaves_a_surrogate: bool = False
    """Whether its outputs are what no journal can hold."""


class Traced(Outputs):
    """What it left."""

    line: str
    """The line."""


def make_registry(world: Path) -> Registry:
    def run(spec: Trace, ctx: Context) -> Traced | Result[Traced] | Question[Traced]:
        lines = read(world)
        try:
            ctx.sleep(spec.waits_s)
        except StepStopped:
            time.sleep(spec.lets_go_s)
            write(world, f"{ctx.step_id} let go")
            raise
        if sum(line.startswith(f"{ctx.step_id} failed") for line in lines) < spec.fails:
            write(world, f"{ctx.step_id} failed")
            raise CheckFailed("not yet", changed=False)
        write(world, f"{ctx.step_id} did")
        outputs = Traced(line="\ud800" if spec.leaves_a_surrogate else ctx.operation)
        return Question("sure?", outputs) if spec.asks else outputs

    def probe(_spec: Trace, ctx: Context) -> Done[Traced] | NotDone | Unknown:
        if (world / "fog").exists():
            return Unknown("fog")
        if f"{ctx.step_id} did" in read(world):
            return Done(Traced(line=ctx.operation), "its line is there")
        return NotDone("no line")

    def make(effect: Effect, rerun: Rerun) -> StepKind[Trace, Traced]:
        return StepKind(
            spec=Trace, outputs=Traced, effect=effect, rerun=rerun,
            describe=lambda _: "leave a line", run=run,
            probe=probe if rerun is Rerun.PROBE else None,
        )  # fmt: skip

    def run_command(spec: Trace, ctx: Context) -> Traced:
        ctx.run(Command(argv=("sleep", str(spec.waits_s)), directory=world))
        return Traced(line=ctx.operation)

    kinds: dict[str, StepKind[Any, Any]] = {
        "command": StepKind(
            spec=Trace,
            outputs=Traced,
            effect=Effect.CHANGES,
            rerun=Rerun.ASK,
            describe=lambda _: "sleep",
            run=run_command,
            adopts=True,
        ),
        "look": make(Effect.READS, Rerun.SAFE),
        "change": make(Effect.CHANGES, Rerun.PROBE),
    }
    return Registry(tuple(kinds), kinds.__getitem__)


def read(world: Path) -> list[str]:
    lines = world / "lines"
    return lines.read_text().splitlines() if lines.exists() else []


def write(world: Path, line: str) -> None:
    with (world / "lines").open("a") as file:
        file.write(line + "\n")


@dataclass
class Listener:
    """A watcher that remembers, and answers what it is told to."""

    answers: list[Answer] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda _event: None

    def saw(self, run_id: str, plan: Plan, seq: int, events: Sequence[Event]) -> None:
        self.events.extend(events)
        for event in events:
            self.on_event(event)

    def show(self, step: str, line: str) -> None: ...

    def log(self, step: str, line: str) -> None: ...

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def answer(self, plan: Plan, state: RunState, ask: Ask) -> Answer | None:
        return self.answers.pop(0) if self.answers else None


@dataclass
class Bench:
    """A world, a journal, and runs over them."""

    world: Path
    journal: Journal = field(default_factory=MemoryJournal)
    listener: Listener = field(default_factory=Listener)
    is_interactive: bool = False

    def start(self, *steps: PlannedStep) -> None:
        plan = Plan(runbook="deploy", lock="shop", steps=steps)
        self.append(RunStarted(at=now(), run_id=RUN, plan=plan, by="dana", machine=HOST))

    def append(self, *events: Event) -> None:
        ids = tuple(os.urandom(8).hex() for _ in events)
        seq = len(self.journal.read(RUN))
        self.journal.append([Batch(run_id=RUN, expected_seq=seq, events=events, ids=ids)])

    def drive(self) -> Ending:
        history = self.journal.read(RUN)
        first = history[0]
        assert isinstance(first, RunStarted)
        scene = Scene(
            plan=first.plan, registry=make_registry(self.world), evaluator=Evaluator(), secrets={}
        )
        runtime = LocalRuntime(
            scene=scene,
            run_id=RUN,
            journal=self.journal,
            history=history,
            state=fold(first.plan, history),
            state_dir=self.world / "state",
            environ=os.environ,
            redactor=Redactor(),
            watcher=self.listener,
            hand_over=never_handed_over,
            lock=self.take_lock(),
            is_interactive=self.is_interactive,
        )
        try:
            return runtime.run()
        finally:
            runtime.lock.release()

    def take_lock(self) -> Lock:
        """One of another name each time: what is left behind would keep it until we are gone."""
        name = f"shop-{len(self.journal.read(RUN))}"
        return acquire(self.world, name, Owner.this_process(user="dana", run_id=RUN))

    def resume(self) -> Ending:
        self.append(RunResumed(at=now(), by="dana", machine=HOST))
        return self.drive()


def never_handed_over(
    _scene: Scene, _state: RunState, event: RunFinished
) -> tuple[RunFinished, Batch]:
    raise AssertionError(event)


def now() -> datetime:
    return datetime.now(UTC)


def step(step_id: str, kind: str = "change", **more: Any) -> PlannedStep:
    effects = {
        "look": (Effect.READS, Rerun.SAFE),
        "change": (Effect.CHANGES, Rerun.PROBE),
        "command": (Effect.CHANGES, Rerun.ASK),
    }
    effect, rerun = effects[kind]
    plain = PlannedStep(id=step_id, kind=kind, effect=effect, rerun=rerun, timeout_s=20.0)
    return replace(plain, **more)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(world=tmp_path)


def statuses(state: RunState) -> Mapping[str, str]:
    return {step_id: str(now.status) for step_id, now in state.steps.items()}


def test_steps_run_in_order_and_the_run_succeeds(bench: Bench) -> None:
    bench.start(step("one", "look"), step("two", needs=("one",)))

    ending = bench.drive()

    assert read(bench.world) == ["one did", "two did"]
    assert ending.state.outcome is Outcome.SUCCEEDED


def test_every_intent_is_on_disk_before_its_effect(bench: Bench) -> None:
    def check(event: Event) -> None:
        if isinstance(event, StepStarted):
            assert event in bench.journal.read(RUN)
            assert f"{event.step} did" not in read(bench.world)

    bench.listener.on_event = check
    bench.start(step("one"), step("two", needs=("one",)))

    ending = bench.drive()

    assert ending.state.outcome is Outcome.SUCCEEDED


def test_a_failed_attempt_is_repeated_after_its_delay(bench: Bench) -> None:
    bench.start(step("one", params={"fails": 2}, retry=Retry(attempts=3, delay_s=0.01)))

    ending = bench.drive()

    assert read(bench.world) == ["one failed", "one failed", "one did"]
    assert ending.state.steps["one"].attempt == 3


def test_a_step_whose_outputs_cannot_be_recorded_is_not_done_twice(bench: Bench) -> None:
    params: JsonObject = {"leaves_a_surrogate": True}
    bench.start(step("one", params=params, retry=Retry(attempts=3, delay_s=0.01)))

    ending = bench.drive()

    failure = ending.state.steps["one"].failure
    assert failure is not None
    assert "cannot be recorded" in failure.message
    assert read(bench.world) == ["one did"]


def test_a_step_whose_when_does_not_hold_is_skipped(bench: Bench) -> None:
    bench.start(step("one"), step("two", needs=("one",), when="not steps.one.changed"))

    ending = bench.drive()

    assert statuses(ending.state) == {"one": "succeeded", "two": "skipped"}
    assert read(bench.world) == ["one did"]


def test_a_parameter_of_the_wrong_type_fails_the_step_before_it_began(bench: Bench) -> None:
    bench.start(step("one", params={"fails": "${{ 'many' }}"}))

    ending = bench.drive()

    failure = ending.state.steps["one"].failure
    assert failure is not None
    assert failure.code == "RB708"
    assert "`fails`" in failure.message
    assert read(bench.world) == []


def test_a_failure_stops_what_only_reads_and_waits_for_what_changes(bench: Bench) -> None:
    bench.start(
        step("bad", "look", params={"fails": 1}),
        step("slow", params={"waits_s": 0.3}),
        step("idle", "look", params={"waits_s": 15.0}),
    )

    ending = bench.drive()

    assert "slow did" in read(bench.world)
    assert "idle did" not in read(bench.world)
    assert statuses(ending.state) == {"bad": "failed", "slow": "succeeded", "idle": "waiting"}


class SmallJournal(MemoryJournal):
    """One whose disk may fill up."""

    is_full = False

    def append(self, batches: Sequence[Batch]) -> None:
        if self.is_full:
            raise JournalUnwritable("the disk is full")
        super().append(batches)


def test_on_a_full_disk_a_step_has_time_to_let_go(tmp_path: Path) -> None:
    journal = SmallJournal()
    bench = Bench(world=tmp_path, journal=journal)

    def fill(_event: Event) -> None:
        started = [each for each in bench.listener.events if isinstance(each, StepStarted)]
        journal.is_full = len(started) == 3

    bench.listener.on_event = fill
    bench.start(
        step("one"),
        step("two"),
        step("slow", params={"waits_s": 15.0, "lets_go_s": 0.3}),
    )

    ending = bench.drive()

    assert isinstance(ending.error, JournalUnwritable)
    assert "slow let go" in read(bench.world)


@pytest.mark.parametrize("has_done_it", [True, False])
def test_a_step_in_doubt_is_settled_by_its_probe(bench: Bench, has_done_it: bool) -> None:
    bench.start(step("one"))
    bench.append(StepStarted(at=now(), step="one", attempt=1))
    (bench.world / "state/attempts" / RUN / "one.1").mkdir(parents=True)
    if has_done_it:
        write(bench.world, "one did")

    ending = bench.resume()

    assert ending.state.outcome is Outcome.SUCCEEDED
    assert read(bench.world) == ["one did"]


def test_a_step_that_was_never_begun_is_begun_without_a_probe(bench: Bench) -> None:
    bench.start(step("one"))
    bench.append(StepStarted(at=now(), step="one", attempt=1))
    (bench.world / "fog").touch()

    ending = bench.resume()

    assert ending.state.outcome is Outcome.SUCCEEDED


def test_what_a_probe_cannot_tell_parks_the_run_until_a_person_answers(bench: Bench) -> None:
    bench.start(step("one"), step("two", needs=("one",)))
    bench.append(StepStarted(at=now(), step="one", attempt=1))
    (bench.world / "state/attempts" / RUN / "one.1").mkdir(parents=True)
    (bench.world / "fog").touch()

    parked = bench.resume()
    bench.listener.answers = [Answer(verdict=Verdict.DONE, by="dana", reason="I looked")]
    ending = bench.resume()

    assert parked.state.steps["one"].status is Status.DOUBTFUL
    assert parked.state.phase is Phase.DRIVING
    assert ending.state.outcome is Outcome.SUCCEEDED
    assert read(bench.world) == ["two did"]


@pytest.mark.parametrize("verdict", [Verdict.DONE, Verdict.FAILED])
def test_a_question_is_answered_by_a_person(bench: Bench, verdict: Verdict) -> None:
    bench.start(step("one", params={"asks": True}))
    bench.listener.answers = [Answer(verdict=verdict, by="dana")]

    ending = bench.drive()

    expected = Outcome.SUCCEEDED if verdict is Verdict.DONE else Outcome.FAILED
    assert ending.state.outcome is expected
    assert read(bench.world) == ["one did"]


def test_a_signal_starts_nothing_new_and_stops_what_only_reads(bench: Bench) -> None:
    bench.listener.on_event = kill_at_start_of("one")
    bench.start(step("one", "look", params={"waits_s": 15.0}), step("two", needs=("one",)))

    ending = bench.drive()

    assert ending.signal == "SIGTERM"
    assert ending.state.phase is Phase.STOPPING
    assert statuses(ending.state) == {"one": "waiting", "two": "waiting"}


def test_a_person_at_a_terminal_waits_for_what_changes_something(bench: Bench) -> None:
    bench.is_interactive = True
    bench.listener.on_event = kill_at_start_of("one")
    bench.start(step("one", params={"waits_s": 0.8}), step("two", needs=("one",)))

    ending = bench.drive()
    resumed = bench.resume()

    assert statuses(ending.state) == {"one": "succeeded", "two": "waiting"}
    assert any("`one`" in notice for notice in bench.listener.notices)
    assert resumed.state.outcome is Outcome.SUCCEEDED
    assert read(bench.world) == ["one did", "two did"]


def kill_at_start_of(
    step_id: str, times: int = 1, number: int = signal.SIGTERM
) -> Callable[[Event], None]:
    def kill(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == step_id:
            for time in range(1, times + 1):
                threading.Timer(0.3 * time, os.kill, (os.getpid(), number)).start()

    return kill


def test_a_failure_does_not_wait_for_another_steps_next_attempt(bench: Bench) -> None:
    again = Retry(attempts=2, delay_s=30.0)
    bench.start(
        step("later", params={"fails": 1}, retry=again),
        step("bad", params={"fails": 1, "waits_s": 0.2}),
    )

    ending = bench.drive()

    assert statuses(ending.state) == {"later": "retrying", "bad": "failed"}
    assert ending.state.outcome is Outcome.FAILED


def test_a_command_stopped_by_a_second_signal_is_in_doubt_and_asked_about(bench: Bench) -> None:
    bench.is_interactive = True
    bench.listener.on_event = kill_at_start_of("one", times=2, number=signal.SIGINT)
    bench.start(step("one", "command", params={"waits_s": 30.0}))

    ending = bench.drive()
    parked = bench.resume()

    assert ending.signal == "SIGINT"
    assert ending.state.steps["one"].status is Status.RUNNING
    assert parked.state.steps["one"].status is Status.DOUBTFUL


def test_a_command_that_outlives_its_driver_is_adopted_and_not_run_again(bench: Bench) -> None:
    bench.listener.on_event = kill_at_start_of("one")
    bench.start(step("one", "command", params={"waits_s": 5.0}))

    ending = bench.drive()
    resumed = bench.resume()

    assert ending.state.steps["one"].status is Status.RUNNING
    assert resumed.state.outcome is Outcome.SUCCEEDED
    assert resumed.state.steps["one"].attempt == 1
