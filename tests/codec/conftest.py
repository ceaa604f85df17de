"""One full example of every event kind, with every field set."""

from datetime import UTC, datetime
from typing import Any

import pytest

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
    PlanAmended,
    RunFinished,
    RunResumed,
    RunStarted,
    StepFacts,
    StepFailed,
    StepProgressed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    Trigger,
    Undone,
    Verdict,
)
from runbook.core.failure import Failure
from runbook.core.plan import (
    Effect,
    OnFailure,
    Plan,
    PlannedResource,
    PlannedSecret,
    PlannedStep,
    Rerun,
    Retry,
)

AT = datetime(2026, 11, 23, 4, 40, 3, 5, tzinfo=UTC)
FAILURE = Failure(
    code="RB702",
    message="`git` ended with 1",
    hint="runbook resume",
    where="git fetch",
    output_tail=("line 1", "line 2"),
    is_retryable=False,
)
MACHINE = Machine(host="app-1", boot_id="2d3b8c1a")
STEP = PlannedStep(
    id="dump",
    kind="backup_db",
    name="Back it up",
    params={"database": "db", "nested": [1, 2.5, None, {"é": True}]},
    base="/srv/shop",
    needs=("checkout",),
    effect=Effect.READS,
    rerun=Rerun.PROBE,
    when="inputs.backup",
    timeout_s=600.0,
    retry=Retry(attempts=3, delay_s=0.5, jitter=0.25),
    continue_reason="not worth it",
    undoes=("release",),
    holds="app",
    guidance="look at the disk",
    is_finally=True,
    from_undone=True,
    files={"/srv/shop/ops/clear.sh": "echo\n"},
    place="deploy.yaml:12",
)
ROLLBACK = Plan(runbook="rollback", lock="shop", steps=(STEP,), undoes="deploy")
PLAN = Plan(
    runbook="deploy",
    summary="Deploy the shop",
    source="/srv/shop/deploy.yaml",
    sources={"/srv/shop/deploy.yaml": "ab" * 32},
    project="shop",
    environment="production",
    is_protected=True,
    lock="shop",
    steps=(STEP,),
    inputs={"version": "v1.2"},
    input_types={"version": {"type": "string"}},
    vars={"tag": "${{ inputs.version }}"},
    secrets={"token": PlannedSecret(provider="env", reference="TOKEN")},
    resources={"db": PlannedResource(kind="sqlite", params={"path": "a.db"}, base="/srv")},
    on_failure=OnFailure(plan=ROLLBACK, after="dump", inputs={"data": "keep"}, stale_after_s=60.0),
)
UNDONE = Undone(
    run_id="deploy-1",
    steps={"dump": StepFacts(was_started=True, has_changed=False)},
    failed_step="dump",
    failure=FAILURE,
)
EXAMPLES: tuple[Event, ...] = (
    RunStarted(
        at=AT,
        run_id="rollback-1",
        plan=PLAN,
        by="anna",
        machine=MACHINE,
        trigger=Trigger.FAILURE,
        undone=UNDONE,
    ),
    StepStarted(at=AT, step="dump", attempt=2),
    StepProgressed(at=AT, step="dump", attempt=2, progress={"samples": [1, 2]}),
    StepSucceeded(at=AT, step="dump", attempt=2, outputs={"path": "db.dump"}, changed=True),
    StepFailed(at=AT, step="dump", attempt=2, failure=FAILURE, changed=True),
    StepSkipped(at=AT, step="dump", reason="`when` was false"),
    DoubtSettled(
        at=AT,
        step="dump",
        attempt=2,
        verdict=Verdict.FAILED,
        by="anna",
        reason="saw it",
        outputs={"path": "x"},
        changed=False,
        failure=FAILURE,
    ),
    ApprovalRequested(
        at=AT,
        step="dump",
        attempt=1,
        question="go on?",
        outputs={"a": 1},
        expires_at=AT,
        approvers=Approvers(required=2, names=("bob", "eve"), allow_self=True),
    ),
    ApprovalGiven(at=AT, step="dump", by="anna", note="fine"),
    ApprovalRefused(at=AT, step="dump", by="anna", note="no"),
    CancelRequested(at=AT, by="anna", signal="SIGINT"),
    RunResumed(at=AT, by="anna", machine=MACHINE),
    PlanAmended(at=AT, by="anna", plan=PLAN),
    RunFinished(at=AT, outcome=Outcome.HANDED_OVER, by="anna", reason="r", successor="rollback-1"),
)


def _name(event: Any) -> str:
    return type(event).__name__


@pytest.fixture(params=EXAMPLES, ids=_name)
def example(request: pytest.FixtureRequest) -> Event:
    """Each event kind in turn, with every field set."""
    event: Event = request.param
    return event


@pytest.fixture
def full_plan() -> Plan:
    """A plan with every field set."""
    return PLAN
