"""Compute a value once, and keep it for the steps after this one."""

from pydantic import JsonValue

from runbook.core.plan import Effect, Rerun
from runbook.kinds import Context, Outputs, Spec, StepKind


class Set(Spec):
    """Compute a value once, and keep it for the steps after this one.

    Later steps find it as `steps.<id>.outputs.value`: as it was then, whatever has changed since,
    and also after a resume.

    Example:
        id: slug
        uses: set
        with: {value: "shop-${{ run.id }}"}
    """

    value: JsonValue
    """The value: text, a number, a list or a map; no secret, since it is recorded."""


class Kept(Outputs):
    """What was computed."""

    value: JsonValue
    """The value."""


def _run(spec: Set, ctx: Context) -> Kept:
    ctx.log(f"{spec.value}")
    return Kept(value=spec.value)


def _describe(spec: Set) -> str:
    return f"keep {spec.value!r}"


STEP = StepKind(
    spec=Set,
    outputs=Kept,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
)
