"""Wait for a while."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from runbook.core.plan import Effect, Rerun
from runbook.kinds import Context, Outputs, Spec, StepKind
from runbook.resources import Duration
from runbook.units import format_duration


class Wait(Spec):
    """Wait for a while; after a crash, for what is left of it.

    Example:
        id: settle
        uses: wait
        with: {for: 30s}
    """

    duration: Duration = Field(alias="for")
    """How long."""


class Waited(Outputs):
    """Nothing but the time that passed."""

    seconds: float
    """How long, in all."""


def _run(spec: Wait, ctx: Context) -> Waited:
    if ctx.progress is None:
        ctx.record_progress({"started_at": ctx.now().isoformat()})
    assert ctx.progress is not None
    started_at = datetime.fromisoformat(str(ctx.progress["started_at"]))
    # A clock that was set back must not make the wait longer than it was meant to be.
    past_s = max(0.0, (ctx.now() - started_at).total_seconds())
    if past_s < spec.duration:
        ctx.show(f"{format_duration(spec.duration - past_s)} left")
        ctx.sleep(spec.duration - past_s)
    return Waited(seconds=max(spec.duration, past_s))


def _describe(spec: Wait) -> str:
    return f"wait for {format_duration(spec.duration)}"


def _by_hand(spec: Wait) -> Sequence[str]:
    return [f"sleep {spec.duration:g}"]


STEP = StepKind(
    spec=Wait,
    outputs=Waited,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    timeout_s=7 * 86400.0,
    by_hand=_by_hand,
)
