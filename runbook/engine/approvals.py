"""What people say to a run: as events, and whether it counts."""

from datetime import datetime

from runbook.core.approval import objection
from runbook.core.events import ApprovalGiven, ApprovalRefused, DoubtSettled, Verdict
from runbook.core.state import Phase, Status, StepState
from runbook.engine.ledger import Recorded
from runbook.engine.watcher import Answer
from runbook.errors import ApprovalInvalid

NOBODY = Answer(verdict=Verdict.FAILED, by="expiry", reason="nobody answered in time")
"""What is recorded where a request has expired."""


def said(
    step: str, now: StepState, answer: Answer, at: datetime
) -> DoubtSettled | ApprovalGiven | ApprovalRefused:
    """The answer to what a step asks as an event; `now` is how the step stands."""
    if now.status is Status.DOUBTFUL:
        return DoubtSettled(
            at=at,
            step=step,
            attempt=now.attempt,
            verdict=answer.verdict,
            by=answer.by,
            reason=answer.reason,
        )
    if answer.verdict is Verdict.DONE:
        return ApprovalGiven(at=at, step=step, by=answer.by, note=answer.reason)
    return ApprovalRefused(at=at, step=step, by=answer.by, note=answer.reason)


def asking_steps(run: Recorded) -> list[str]:
    """The steps that wait for other people, in order of the plan."""
    if run.state.phase not in (Phase.DRIVING, Phase.STOPPING):
        return []
    return [
        step.id
        for step in run.plan.steps
        if run.state.steps[step.id].status is Status.ASKING
        and run.state.steps[step.id].approvers is not None
    ]


def refuse_invalid(run: Recorded, answer: ApprovalGiven | ApprovalRefused) -> None:
    """Raises ApprovalInvalid for an answer that does not count."""
    reason = objection(run.state, answer.step, answer.by, answer.at)
    if reason is None:
        return
    expires_at = run.state.steps[answer.step].expires_at
    is_late = expires_at is not None and answer.at >= expires_at
    # Only going on with it draws the consequence of a request that nobody answered in time.
    hint = f"runbook {'resume' if is_late else 'status'} {run.run_id}"
    raise ApprovalInvalid(f"run `{run.run_id}`: {reason}", hint=hint)
