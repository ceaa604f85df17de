"""Fail, where the runbook cannot go on."""

from runbook.core.plan import Effect, Rerun
from runbook.errors import GivenUp
from runbook.kinds import Context, Outputs, Spec, StepKind


class Fail(Spec):
    """Fail, where the runbook cannot go on. Put it under a `when`.

    Example:
        id: only_stable
        uses: fail
        with: {message: "only stable releases go to customers: name one by --set channel=stable"}
        when: env.protected and inputs.channel != 'stable'
    """

    message: str
    """Why; and best also what a person should do."""


class Failed(Outputs):
    """Nothing: it never succeeds."""


def _run(spec: Fail, _ctx: Context) -> Failed:
    raise GivenUp(spec.message, changed=False, is_retryable=False)


def _describe(spec: Fail) -> str:
    return f"fail: {spec.message}"


STEP = StepKind(
    spec=Fail,
    outputs=Failed,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    retry_forbidden="it fails every time",
)
