"""Remove a stack's containers and networks; never its volumes."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Compose, Duration
from runbook.tools import docker
from runbook.tools.containers import POLL_S, stop_for_good

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.networks import Network

_ABOVE_GRACE_S = 60.0
_CONFLICT = 409
_IN_USE = (403, _CONFLICT)
_TRIES = 3
_LEAVE_S = 5.0


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
            _take_down(client, container, spec, ctx)
            ctx.log(f"removed container `{container.name}`")
        for network in networks:
            _remove_network(network, ctx)
            ctx.log(f"removed network `{network.name}`")
    return Result(outputs, bool(outputs.containers or outputs.networks))


def _take_down(
    client: "DockerClient", container: "Container", spec: ComposeDown, ctx: Context
) -> None:
    for _ in range(_TRIES):
        stop_for_good(client, str(container.id), grace_s=spec.grace, log=ctx.log)
        if _is_removed(container, ctx):
            return
    raise StepError(
        f"container `{container.name}` is started again each time that it is stopped",
        hint="find out who starts it, then `runbook resume`",
    )


def _is_removed(container: "Container", ctx: Context) -> bool:
    """Remove a container that may be removing itself; False: it is not stopped any more."""
    from docker.errors import APIError, NotFound

    with suppress(NotFound):
        try:
            container.remove()
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise
            container.reload()
            while container.status == "removing":
                ctx.sleep(POLL_S)
                container.reload()
            return False
    return True


def _remove_network(network: "Network", ctx: Context) -> None:
    """Remove a network, which the last that were in it may be about to leave."""
    from docker.errors import APIError, NotFound

    until = time.monotonic() + _LEAVE_S
    with suppress(NotFound):
        while True:
            try:
                network.remove()
            except APIError as error:
                if error.status_code not in _IN_USE or time.monotonic() > until:
                    raise
                ctx.sleep(POLL_S)
            else:
                return


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
