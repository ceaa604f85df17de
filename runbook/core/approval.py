"""Who may approve what a run waits for."""

from datetime import datetime

from runbook.core.state import Phase, RunState, Status, StepState


def wants_more(now: StepState, by: str) -> bool:
    """Whether a step goes on waiting after this person's yes."""
    if now.status is not Status.ASKING or now.approvers is None:
        return False
    return len({*now.approved_by, by}) < now.approvers.required


def objection(state: RunState, step_id: str, by: str, at: datetime) -> str | None:
    """Why this person's answer does not count at that time; absent: it does."""
    now = state.steps[step_id]
    is_open = state.phase in (Phase.DRIVING, Phase.STOPPING)
    if not is_open or now.status is not Status.ASKING or now.approvers is None:
        return f"step `{step_id}` waits for nobody's approval"
    if now.expires_at is not None and at >= now.expires_at:
        return f"the request of step `{step_id}` expired at {now.expires_at:%Y-%m-%d %H:%M} UTC"
    if by == state.started_by and not now.approvers.allow_self:
        return f"`{by}` started this run, and somebody else must approve it"
    if now.approvers.names and by not in now.approvers.names:
        return f"`{by}` is none of those who may: {', '.join(now.approvers.names)}"
    if by in now.approved_by:
        return f"`{by}` has approved it already, and another person is wanted"
    return None
