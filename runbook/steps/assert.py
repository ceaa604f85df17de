"""Fail unless something holds."""

from pydantic import Field

from runbook.core.plan import Effect, Rerun
from runbook.errors import CheckFailed
from runbook.kinds import Context, Outputs, Spec, StepKind


class Assert(Spec):
    """Fail unless something holds.

    Example:
        id: stable
        uses: assert
        with:
          that: "${{ inputs.channel == 'stable' or not env.protected }}"
          message: only stable releases go to customers
    """

    that: bool = Field(strict=True)
    """What must hold: an expression that is true or false."""
    message: str | None = None
    """What is said where it does not hold; absent: which step asserted it."""


class Held(Outputs):
    """Nothing: it held."""


def _run(spec: Assert, ctx: Context) -> Held:
    if not spec.that:
        message = spec.message or f"what `{ctx.step_id}` asserts does not hold"
        raise CheckFailed(message, changed=False, is_retryable=False)
    return Held()


def _describe(spec: Assert) -> str:
    return spec.message or "fail unless it holds"


STEP = StepKind(
    spec=Assert,
    outputs=Held,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    retry_forbidden="what it looks at does not change from one attempt to the next",
)
