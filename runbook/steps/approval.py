"""Wait until other people approve.

No process waits: the run parks, and `runbook approve` or `runbook reject`, typed by somebody else,
takes it up again. Who said what, and when, stands in the journal.
"""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from runbook.core.events import Approvers, Trigger
from runbook.core.plan import Effect, Rerun
from runbook.field_rules import no_more_than, rules
from runbook.kinds import Context, Outputs, Question, Spec, StepKind
from runbook.resources import AS_WHOLE, Duration
from runbook.units import format_duration

MOST_PEOPLE = 20


class Approval(Spec):
    """Wait until other people approve.

    Passes at once where a failure started the run: nobody is to stand in its way back.

    Example:
        id: approved
        uses: approval
        with: {message: "Release to production?", by: [ann, bob], expires: 4h}
    """

    model_config = rules(no_more_than("required", "by", most=MOST_PEOPLE))

    message: str | None = None
    """What they are asked."""
    required: Annotated[int, Field(ge=1, le=MOST_PEOPLE), AS_WHOLE] = 1
    """Of how many people the yes is wanted."""
    by: list[str] | None = Field(default=None, min_length=1)
    """Accounts that may approve; absent: any."""
    expires: Duration | None = None
    """How long the request stands; then it counts as refused. Absent: for ever."""
    allow_self: bool = False
    """Whether whoever started the run may be one of them."""


class Approved(Outputs):
    """Who approved."""

    by: list[str]
    """Their accounts; none where a failure started the run."""


def _run(spec: Approval, ctx: Context) -> Approved | Question[Approved]:
    if ctx.trigger is Trigger.FAILURE:
        ctx.log("started by a failure: nobody is asked")
        return Approved(by=[])
    names = tuple(spec.by or ())
    approvers = Approvers(required=spec.required, names=names, allow_self=spec.allow_self)
    expires_at = ctx.now() + timedelta(seconds=spec.expires) if spec.expires else None
    return Question(spec.message or "go on?", Approved(by=[]), expires_at, approvers)


def _describe(spec: Approval) -> str:
    people = "1 person" if spec.required == 1 else f"{spec.required} people"
    named = f" of {', '.join(spec.by)}" if spec.by else ""
    until = f", for {format_duration(spec.expires)} at most" if spec.expires else ""
    return f"wait for the yes of {people}{named}{until}"


STEP = StepKind(
    spec=Approval,
    outputs=Approved,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    retry_forbidden="a person who said no is not asked again",
)
