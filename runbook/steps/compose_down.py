"""Remove a stack's containers and networks; never its volumes."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from runbook.core.plan import Effect, Rerun
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Compose, Duration
from runbook.tools import docker
from runbook.tools.containers import stop_for_good

if TYPE_CHECKING:
    from docker.models.containers import Container

_ABOVE_GRACE_S = 60.0
_CONFLICT = 409


class ComposeDown(Spec):
    """Remove a stack's containers and networks; never its volumes.

    By the project's label, whatever its compose file says now. A rollback needs no more than
    `compose_stop`.

    Example:
        id: down
        uses: compose_down
        with: {stack: stack}
    """

    stack: Resource[Compose]
    """The stack."""
    grace: Duration | None = None
    """How long each container may take to end; absent: what it says itself, or 10 s."""


class StackDown(Outputs):
    """What was removed."""

    containers: list[str]
    """Names of the containers."""
    networks: list[str]
    """Names of the networks."""


def _run(spec: ComposeDown, ctx: Context) -> Result[StackDown]:
    label = f"{docker.PROJECT_LABEL}={spec.stack.project}"
    with docker.engine(timeout_s=(spec.grace or 0) + _ABOVE_GRACE_S) as client:
        there = client.containers.list(all=True, ignore_removed=True, filters={"label": label})
        networks = client.networks.list(filters={"label": label})
        outputs = StackDown.model_validate(ctx.progress or {"containers": [], "networks": []})
        outputs = StackDown(
            containers=sorted({*outputs.containers, *(str(each.name) for each in there)}),
            networks=sorted({*outputs.networks, *(str(each.name) for each in networks)}),
        )
        ctx.record_progress(outputs.model_dump(mode="json"))
        for container in there:
            ctx.check()
            stop_for_good(client, str(container.id), grace_s=spec.grace, log=ctx.log)
            _remove(container)
            ctx.log(f"removed container `{container.name}`")
        for network in networks:
            network.remove()
            ctx.log(f"removed network `{network.name}`")
    return Result(outputs, bool(outputs.containers or outputs.networks))


def _remove(container: "Container") -> None:
    """Remove a container that may be removing itself, now that it is stopped."""
    from docker.errors import APIError, NotFound

    with suppress(NotFound):
        try:
            container.remove()
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise
            container.wait(condition="removed")


def _by_hand(spec: ComposeDown) -> Sequence[str]:
    return [f"docker compose --project-name {spec.stack.project} down"]


STEP = StepKind(
    spec=ComposeDown,
    outputs=StackDown,
    effect=Effect.CHANGES,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"remove the containers and networks of `{spec.stack.name}`",
    run=_run,
    holds="stack",
    by_hand=_by_hand,
    preflight=lambda _spec, _ctx: docker.missing_engine(),
)
