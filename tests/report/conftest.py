"""Runs made of events alone: a deploy and its rollback, told step by step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbook.core.events import (
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
from runbook.core.machine import fold
from runbook.core.plan import Effect, JsonObject, OnFailure, Plan, PlannedStep, Rerun
from runbook.core.state import RunState, Status, facts, failed_step
from runbook.report.view import Recording

START = datetime(2026, 11, 23, 4, 40, tzinfo=UTC)
ROLLBACK_ID = "rollback-20261123-045000-88ef"
MACHINE = Machine(host="db1", boot_id="b")


def step(
    step_id: str,
    kind: str,
    effect: Effect = Effect.READS,
    *,
    needs: str | None = None,
    holds: str | None = None,
    undoes: tuple[str, ...] = (),
    guidance: str | None = None,
    continue_reason: str | None = None,
) -> PlannedStep:
    """A step as the compiler would have planned it."""
    return PlannedStep(
        id=step_id,
        kind=kind,
        needs=(needs,) if needs else (),
        effect=effect,
        rerun=Rerun.SAFE,
        timeout_s=60,
        holds=holds,
        undoes=undoes,
        guidance=guidance,
        continue_reason=continue_reason,
    )


ROLLBACK = Plan(
    runbook="rollback",
    lock="shop",
    undoes="deploy",
    steps=(
        step("point", "load_restore_point"),
        step("sure", "confirm", needs="point"),
        step("stop", "process_stop", Effect.CHANGES, needs="sure", holds="web",
             undoes=("migrate", "release")),
        step("cache", "command", Effect.CHANGES, needs="stop",
             guidance="The cache did not answer.\nSee that it is up, then resume."),
        step("start", "process_up", Effect.CHANGES, needs="cache", holds="web"),
    ),
)  # fmt: skip

DEPLOY = Plan(
    runbook="deploy",
    summary="Back up, release and watch the shop.",
    project="shop",
    environment="prod",
    lock="shop/prod",
    steps=(
        step("preflight", "preflight"),
        step("dump", "backup_db", needs="preflight"),
        step("restore_point", "seal_restore_point", needs="dump"),
        step("hello", "command", needs="restore_point", continue_reason="only a greeting"),
        step("migrate", "command", Effect.CHANGES, needs="hello"),
        step("release", "process_up", Effect.CHANGES, needs="migrate", holds="web"),
        step("watch", "monitor", needs="release"),
    ),
    on_failure=OnFailure(plan=ROLLBACK, after="restore_point"),
)


@dataclass
class Story:
    """A run in the making: every word takes one second."""

    plan: Plan = DEPLOY
    run_id: str = "deploy-20261123-044000-7f3a"
    at: datetime = START
    trigger: Trigger = Trigger.OPERATOR
    undone: Undone | None = None
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tell(
            RunStarted(
                at=self._tick(),
                run_id=self.run_id,
                plan=self.plan,
                by="dana",
                machine=MACHINE,
                trigger=self.trigger,
                undone=self.undone,
            )
        )

    def ok(self, *steps: str, outputs: JsonObject | None = None) -> "Story":
        """These steps start and succeed, each with these outputs."""
        for name in steps:
            self.starts(name)
            changed = self.plan.step(name).effect is not Effect.READS
            self._tell(
                StepSucceeded(
                    at=self._tick(), step=name, attempt=1, outputs=outputs or {}, changed=changed
                )
            )
        return self

    def starts(self, name: str) -> "Story":
        """This step starts."""
        return self._tell(StepStarted(at=self._tick(), step=name, attempt=1))

    def fails(self, name: str, failure: Failure, *, changed: bool = False) -> "Story":
        """This step fails for good."""
        if self.recording().state.steps[name].status is Status.WAITING:
            self.starts(name)
        return self._tell(
            StepFailed(at=self._tick(), step=name, attempt=1, failure=failure, changed=changed)
        )

    def skips(self, name: str, reason: str) -> "Story":
        """This step is skipped."""
        return self._tell(StepSkipped(at=self._tick(), step=name, reason=reason))

    def asks(self, name: str, question: str, approvers: Approvers | None = None) -> "Story":
        """This step starts and asks for a yes."""
        self.starts(name)
        return self._tell(
            ApprovalRequested(
                at=self._tick(), step=name, attempt=1, question=question, approvers=approvers
            )
        )

    def is_doubted(self, name: str, reason: str) -> "Story":
        """Nothing tells what became of this step, which has started."""
        return self._tell(
            DoubtSettled(
                at=self._tick(),
                step=name,
                attempt=1,
                verdict=Verdict.UNKNOWN,
                by="probe",
                reason=reason,
            )
        )

    def hears(self, signal: str) -> "Story":
        """A signal arrives."""
        return self._tell(CancelRequested(at=self._tick(), by="", signal=signal))

    def is_resumed_after(self, minutes: int) -> "Story":
        """Nobody drives the run for a while, then somebody does."""
        self.at += timedelta(minutes=minutes)
        return self._tell(RunResumed(at=self._tick(), by="dana", machine=MACHINE))

    def ends(self, outcome: Outcome, *, reason: str = "", successor: str | None = None) -> "Story":
        """The run is over."""
        return self._tell(
            RunFinished(
                at=self._tick(), outcome=outcome, by="dana", reason=reason, successor=successor
            )
        )

    def is_handed_over(self) -> "Story":
        """The run is over, and its rollback begins: that is the story that goes on."""
        state = self.recording().state
        self.ends(Outcome.HANDED_OVER, successor=ROLLBACK_ID)
        return self._rollback(state, Trigger.FAILURE)

    def is_undone_by_hand(self) -> "Story":
        """A person has the run, which has ended, rolled back: that is the story that goes on."""
        return self._rollback(self.recording().state, Trigger.OPERATOR)

    def _rollback(self, state: RunState, trigger: Trigger) -> "Story":
        failed = failed_step(self.plan, state)
        undone = Undone(
            run_id=self.run_id,
            steps=facts(self.plan, state),
            failed_step=failed.id if failed else None,
            failure=state.steps[failed.id].failure if failed else None,
            had_succeeded=state.outcome is Outcome.SUCCEEDED,
        )
        return Story(plan=ROLLBACK, run_id=ROLLBACK_ID, at=self.at, trigger=trigger, undone=undone)

    def recording(self) -> Recording:
        """The run as its journal has it."""
        return Recording(
            plan=self.plan, events=tuple(self.events), state=fold(self.plan, self.events)
        )

    def _tell(self, event: Event) -> "Story":
        self.events.append(event)
        return self

    def _tick(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


THRESHOLD = Failure(
    code="RB705",
    message="3 failures in a row (limit 3)",
    where="GET http://127.0.0.1:8080/health",
    output_tail=("40s: failed: 503", "50s: failed: 503", "60s: failed: 503"),
    hint="look at the service's own log",
)


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Compare a text with the golden file of that name; `--update` writes it."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if pytestconfig.getoption("--update"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def deploy() -> Story:
    """A deploy that has just started."""
    return Story()


@pytest.fixture
def released(deploy: Story) -> Story:
    """A deploy whose release is up, and not yet watched."""
    return deploy.ok("preflight", "dump", "restore_point", "hello", "migrate", "release")


@pytest.fixture
def tripped(released: Story) -> Story:
    """A deploy whose monitor has just failed."""
    return released.fails("watch", THRESHOLD)
