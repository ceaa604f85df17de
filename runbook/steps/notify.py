"""Tell people, by mail, chat or webhook."""

from collections.abc import Sequence

from runbook.core.plan import Effect, Rerun
from runbook.errors import NotDelivered
from runbook.kinds import Context, Outputs, Spec, StepKind
from runbook.resources import PossiblySecret
from runbook.secret import Secret
from runbook.tools.messages import Level, deliver, is_installed


class Notify(Spec):
    """Tell people, by mail, chat or webhook.

    Each message ends with the run and the step, which are the same where a crash has it sent twice.
    Needs `pip install 'runbook[notify]'`.

    Example:
        id: tell
        uses: notify
        with:
          to: ${{ secrets.alerts }}
          title: backup failed
          message: No new restore point was made tonight.
          level: failure
    """

    to: PossiblySecret | None = None
    """Addresses as Apprise writes them (`mailto://…`, `slack://…`, `json://…`), apart by spaces.
    Absent: nobody is told."""
    title: str
    """The subject."""
    message: str
    """The text."""
    level: Level = "info"
    """How bad it is."""


class Notified(Outputs):
    """Who was told."""

    told: int
    """How many addresses the message reached."""


def _run(spec: Notify, ctx: Context) -> Notified:
    to = spec.to.reveal() if isinstance(spec.to, Secret) else spec.to or ""
    if not to.split():
        ctx.log("nobody to tell")
        return Notified(told=0)
    body = f"{spec.message}\n\n{ctx.project}: run {ctx.run_id}, step {ctx.step_id}"
    lost = deliver(to, title=spec.title, body=body, level=spec.level)
    if lost:
        reasons = "; ".join(f"{each.service}: {each.reason}" for each in lost)
        raise NotDelivered(
            f"{len(lost)} of {len(to.split())} addresses were not reached: {reasons}", changed=False
        )
    return Notified(told=len(to.split()))


def _preflight(spec: Notify, _ctx: Context) -> Sequence[str]:
    if spec.to is None or is_installed():
        return []
    return ["the package that sends messages: pip install 'runbook[notify]'"]


def _describe(spec: Notify) -> str:
    return f"tell people: {spec.title}" if spec.to else f"tell nobody: {spec.title}"


def _by_hand(spec: Notify) -> Sequence[str]:
    return [f'apprise --title "{spec.title}" --body "{spec.message}" ADDRESS…']


STEP = StepKind(
    spec=Notify,
    outputs=Notified,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    by_hand=_by_hand,
    preflight=_preflight,
)
