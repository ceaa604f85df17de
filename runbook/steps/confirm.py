"""Ask the person who started the run before going on.

Doubt is settled by asking again: this kind does nothing to the world, and an answer that was given
is in the journal, so that nobody is asked for it twice. `ask` would only put another question
before the question.
"""

from datetime import datetime

from runbook.core.events import Trigger
from runbook.core.plan import Effect, Rerun
from runbook.kinds import CompletedStep, Context, Outputs, Question, Spec, StepKind
from runbook.units import format_duration

_SHOWN = 12
"""Lines of what was written since."""
_BUILDS = (
    "images are built from source: that takes minutes, and may give others than those that ran"
)
_IDLE = "nothing ran at that point: everything will be stopped"


class Confirm(Spec):
    """Ask the person who started the run before going on.

    Passes at once where a failure started the run: there may be nobody to ask.

    Example:
        id: sure
        uses: confirm
        with: {given: "${{ inputs.confirm }}"}
    """

    given: bool | None = None
    """The answer, where it is known already; anything but true asks."""
    message: str | None = None
    """What is asked; absent: says what will be lost, as far as the restore point tells."""


class Confirmed(Outputs):
    """Who agreed, and how."""

    by: str
    """`failure`, `given` or `operator`."""


def _run(spec: Confirm, ctx: Context) -> Confirmed | Question[Confirmed]:
    if ctx.trigger is Trigger.FAILURE:
        ctx.log("started by a failure: nobody is asked")
        return Confirmed(by="failure")
    if spec.given:
        ctx.log("confirmed beforehand")
        return Confirmed(by="given")
    return Question(_question(spec, ctx), Confirmed(by="operator"))


def _question(spec: Confirm, ctx: Context) -> str:
    points = [step for step in ctx.completed if step.kind == "load_restore_point"]
    lost = _lost(points[-1], ctx.now()) if points else ""
    asked = spec.message or "go on?"
    since = points[-1].outputs.get("written_since") if points else None
    lines = [str(line) for line in since] if isinstance(since, list) else []
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    builds = [_BUILDS] if points and points[-1].outputs.get("build") else []
    idle = [_IDLE] if points and points[-1].outputs.get("served") is False else []
    return "\n".join([*lines[:_SHOWN], *more, *builds, *idle, f"{lost}{asked}"])


def _lost(point: CompletedStep, now: datetime) -> str:
    name = point.outputs.get("id", point.id)
    created = point.outputs.get("created_at")
    if not isinstance(created, str):
        return f"back to restore point {name}; "
    age_s = max(0.0, (now - datetime.fromisoformat(created)).total_seconds())
    return (
        f"back to restore point {name} of {created}, {format_duration(age_s)} ago:"
        " what was written since is replaced, and kept aside; "
    )


def _describe(spec: Confirm) -> str:
    return "confirmed beforehand" if spec.given else "ask, unless a failure started the run"


def _needs_answer(spec: Confirm, trigger: Trigger) -> bool:
    return trigger is not Trigger.FAILURE and not spec.given


STEP = StepKind(
    spec=Confirm,
    outputs=Confirmed,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    needs_answer=_needs_answer,
    retry_forbidden="a person who said no is not asked again",
)
