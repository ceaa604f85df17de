"""In what state a run has left the system, in words: by its steps, the world is not asked."""

from runbook.core.plan import Effect, Plan, PlannedStep
from runbook.core.state import RunState, Status, has_changed, is_in_doubt

UNCHANGED = "the system is as it was"
CHECKING_KINDS = {"http_check": "unverified", "monitor": "unwatched"}
"""What is missing while a step of this kind after the release has not succeeded."""

Run = tuple[Plan, RunState]


def describe_world(run: Run, *, undone: Run | None = None) -> tuple[str, ...]:
    """Statements such as `release is serving, unwatched`; `undone` is what the run undoes."""
    runs = [undone, run] if undone else [run]
    steps = [(plan, state, step) for plan, state in runs for step in plan.steps]
    if not any(has_changed(step, state.steps[step.id]) for _, state, step in steps):
        return (UNCHANGED,)
    mended = {
        target
        for step in run[0].steps
        if run[1].steps[step.id].status is Status.SUCCEEDED
        for target in step.undoes
    }
    held: dict[str, str] = {}
    done: list[str] = []
    doubtful: list[str] = []
    for plan, state, step in steps:
        now = state.steps[step.id]
        is_mended = state is not run[1] and step.id in mended and not step.holds
        if is_mended:
            continue
        if is_in_doubt(now) and step.effect is not Effect.READS:
            doubtful.append(f"`{step.id}` was started, and its end is not recorded")
        elif now.status is Status.FAILED and has_changed(step, now):
            doubtful.append(f"`{step.id}` failed, and may have changed something")
        elif step.holds and now.status is Status.SUCCEEDED:
            held[step.holds] = _describe_holding(plan, state, step)
        elif has_changed(step, now) and state is run[1]:
            done.append(step.id)
    statements = [*held.values(), *doubtful]
    if not held and done:
        statements.insert(0, f"{', '.join(f'`{step}`' for step in done)} done")
    return tuple(statements) or (_as_left(undone),)


def _describe_holding(plan: Plan, state: RunState, step: PlannedStep) -> str:
    if not step.kind.endswith("_up"):
        return f"{step.holds} is stopped"
    later = plan.steps[plan.steps.index(step) + 1 :]
    missing = [
        CHECKING_KINDS[check.kind]
        for check in later
        if check.kind in CHECKING_KINDS and state.steps[check.id].status is not Status.SUCCEEDED
    ]
    return ", ".join([f"{step.id} is serving", *dict.fromkeys(missing)])


def _as_left(undone: Run | None) -> str:
    return f"as {undone[1].run_id} left it" if undone else "changed"
