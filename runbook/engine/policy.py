"""What an environment's policy demands of a run that a person starts, looked at before it starts.

Never asked of a resume or a rollback: no policy stands in the way back.
"""

from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from runbook.core.machine import begin
from runbook.core.plan import WEEK, Plan, Window
from runbook.engine.scene import Scene
from runbook.errors import PolicyRefused


def check_policy(scene: Scene, now: datetime, user: str) -> None:
    """Refuse a run that its environment does not allow, or not now, or that nobody could approve.

    Raises:
        PolicyRefused: says which.
    """
    if scene.plan.undoes:
        return
    _refuse_unapprovable(scene.plan, user)
    policy, environment = scene.plan.policy, scene.plan.environment
    if policy.window and not is_open(policy.window, now):
        raise PolicyRefused(
            f"environment `{environment}` takes no run now ({_now_there(policy.window, now)}),"
            f" but {describe(policy.window)}",
            hint="wait for it, or have its `policy.window` changed",
        )
    for step, revision in _released(scene) if policy.revisions is not None else ():
        if revision is None:
            raise PolicyRefused(
                f"the revision of step `{step}` is not known before the run has begun, and"
                f" environment `{environment}` allows only some",
                hint="give it by an input or a variable",
            )
        if not any(fnmatchcase(revision, pattern) for pattern in policy.revisions or ()):
            allowed = ", ".join(f"`{pattern}`" for pattern in policy.revisions or ())
            raise PolicyRefused(
                f"revision `{revision}` may not be released to environment `{environment}`:"
                f" it allows {allowed}",
                hint="release one of these, or have its `policy.revisions` changed",
            )


def _refuse_unapprovable(plan: Plan, user: str) -> None:
    for step in plan.steps:
        names, required = step.params.get("by"), step.params.get("required", 1)
        if step.kind != "approval" or not isinstance(names, list) or not isinstance(required, int):
            continue
        people = {str(name) for name in names}
        counted = people if step.params.get("allow_self") else people - {user}
        if step.when is None and len(counted) < required:
            raise PolicyRefused(
                f"step `{step.id}` wants the yes of {required} of {', '.join(sorted(people))}, and"
                f" `{user}`, who starts the run, does not count",
                hint="let somebody else start it, or have more people named",
            )


def _released(scene: Scene) -> list[tuple[str, str | None]]:
    """Each step of the run that brings in a revision, with that; None: it is not known yet."""
    return [
        (step.id, getattr(step.spec, step.kind.releases) if step.spec else None)
        for step in scene.plan_steps(begin(scene.plan))
        if step.kind.releases and not step.is_rollback
    ]


def is_open(window: Window, now: datetime) -> bool:
    """Whether a run may start at that time, which is aware."""
    local = now.astimezone(ZoneInfo(window.timezone))
    today = WEEK[local.weekday()] in window.days
    yesterday = WEEK[(local - timedelta(days=1)).weekday()] in window.days
    time = f"{local:%H:%M}"
    if window.begins < window.ends:
        return today and window.begins <= time < window.ends
    return (today and time >= window.begins) or (yesterday and time < window.ends)


def _now_there(window: Window, now: datetime) -> str:
    """Day and time of day where the window's clock is."""
    local = now.astimezone(ZoneInfo(window.timezone))
    return f"{WEEK[local.weekday()]} {local:%H:%M}"


def describe(window: Window) -> str:
    """The window as people say it."""
    days = "on " + ", ".join(window.days) if window.days != WEEK else "every day"
    return f"{days} from {window.begins} to {window.ends} ({window.timezone})"
