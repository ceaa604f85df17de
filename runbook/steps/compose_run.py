"""Run a one-off command in a container of its own, of a service of a stack.

Detached, under a name made of the attempt, and kept until its end is recorded: after a crash the
container tells whether it still runs, and how it ended. Removed by the next one.
"""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from runbook.core.plan import Effect
from runbook.errors import CommandFailed, StepError, StepStopped, TimedOut
from runbook.kinds import (
    Context,
    Done,
    HalfDone,
    NotDone,
    Outputs,
    ProbeResult,
    Resource,
    Result,
    Spec,
    StepKind,
)
from runbook.resources import Compose, Database, PossiblySecret
from runbook.restore.databases import way_of
from runbook.tools import compose, docker
from runbook.tools.containers import log_tail
from runbook.tools.process import Command

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_MARK = "-rb-"
_POLL_S = 0.1
_BYTES_A_SECOND = 1e6


class ComposeRun(Spec):
    """Run a one-off command in a container of its own, of a service of a stack.

    Such as a migration. Services that it needs must run. With `changes`, the database's schema and
    its tables of migrations are compared before and after: a migration that finds nothing to do
    has changed nothing, and its rollback may keep the data. One that fails has changed something.

    Example:
        id: migrate
        uses: compose_run
        with: {stack: stack, service: backend, command: [npm, run, "migration:run"], changes: db}
        rerun: ask
    """

    stack: Resource[Compose]
    """The stack."""
    service: str
    """Whose image, volumes and networks the container has."""
    command: list[str] = Field(min_length=1)
    """Program and arguments; no shell."""
    environment: dict[str, PossiblySecret] = Field(default_factory=dict)
    """Variables besides the service's own; the place for secrets."""
    changes: Resource[Database] | None = None
    """The database that it may change; absent: it counts as having changed something."""


class RunEnded(Outputs):
    """How it ended."""

    exit_code: int
    """Always 0."""
    container: str
    """The name that the container had."""


def _run(spec: ComposeRun, ctx: Context) -> Result[RunEnded]:
    name = _name(spec, ctx)
    before = _state(spec, ctx)
    recorded = (ctx.progress or {}).get("before")
    if isinstance(recorded, str):
        before = recorded
    elif before is not None:
        ctx.record_progress({"before": before})
    with docker.engine() as client:
        try:
            container = _find(client, name) or _started(client, spec, name, ctx)
            if container.status == "created":
                container.start()
            code = _follow(container, ctx)
        except (TimedOut, StepStopped):
            _stop(client, name, ctx)
            raise
        if code != 0:
            raise CommandFailed(
                f"`{_title(spec)}` ended with exit code {code}, expected 0",
                where=f"service `{spec.service}`",
                output_tail=log_tail(container),
            )
        changed = before is None or _state(spec, ctx) != before
        return Result(RunEnded(exit_code=0, container=name), changed)


def _started(client: "DockerClient", spec: ComposeRun, name: str, ctx: Context) -> "Container":
    _remove_older(client, spec, ctx)
    service = compose.services(spec.stack).get(spec.service)
    if service is not None and docker.image_id(client, service.image) is None:
        raise StepError(
            f"there is no image `{service.image}`, which service `{spec.service}` runs",
            hint="put a `compose_build` or `restore_images` step before this one",
            is_retryable=False,
            changed=False,
        )
    told = ctx.run(_start(spec, name))
    container = _find(client, name)
    if container is None and told.exit_code == 0:
        raise StepError(
            f"container `{name}` is gone: nothing tells how the command in it has ended",
            is_retryable=False,
        )
    if container is None or container.status == "created":
        raise CommandFailed(
            f"Compose could not start a container of `{spec.service}`",
            where=_title(spec),
            changed=False,
            output_tail=told.tail,
        )
    return container


def _start(spec: ComposeRun, name: str) -> Command:
    return compose.run_detached(
        spec.stack, spec.service, spec.command, name=name, environment=spec.environment
    )


def _name(spec: ComposeRun, ctx: Context) -> str:
    return f"{spec.stack.project}-{spec.service}{_MARK}{ctx.operation}-{ctx.attempt}"


def _find(client: "DockerClient", name: str) -> "Container | None":
    from docker.errors import NotFound

    try:
        return client.containers.get(name)
    except NotFound:
        return None


def _remove_older(client: "DockerClient", spec: ComposeRun, ctx: Context) -> None:
    """Remove what earlier attempts, and earlier runs, have left; none of them may still run."""
    for container in docker.containers(client, spec.stack.project, spec.service, one_off=True):
        is_ours = _MARK in (container.name or "")
        if is_ours and container.status not in ("created", "exited", "dead"):
            raise StepError(
                f"`{container.name}`, of an earlier attempt, still runs",
                hint=f"docker wait {container.name}",
                is_retryable=False,
                changed=False,
            )
        if is_ours:
            container.remove(v=True)


def _follow(container: "Container", ctx: Context) -> int:
    """Log what it prints, until its end; its exit code."""
    seen_bytes = 0
    while True:
        container.reload()
        is_over = container.status in ("exited", "dead")
        printed: bytes = container.logs()
        whole = len(printed) if is_over else printed.rfind(b"\n") + 1
        if whole > seen_bytes:
            ctx.log(printed[seen_bytes:whole].decode("utf-8", "replace").rstrip("\n"))
            seen_bytes = whole
        if is_over:
            return int(container.attrs["State"]["ExitCode"])
        # The engine gives all that was printed each time.
        ctx.sleep(_POLL_S + len(printed) / _BYTES_A_SECOND)


def _stop(client: "DockerClient", name: str, ctx: Context) -> None:
    """Stop the container: who gave up the command must not have it go on behind their back."""
    container = _find(client, name)
    if container is not None and container.status not in ("created", "exited", "dead"):
        container.stop()
        ctx.log(f"stopped container `{name}` before its end")


def _state(spec: ComposeRun, ctx: Context) -> str | None:
    return None if spec.changes is None else way_of(spec.changes).schema_digest(ctx)


def _probe(spec: ComposeRun, ctx: Context) -> ProbeResult[RunEnded]:
    name = _name(spec, ctx)
    with docker.engine() as client:
        container = _find(client, name)
        if container is None:
            return NotDone(f"there is no container `{name}`")
        if container.status == "created":
            return NotDone(f"container `{name}` was never started")
        code = _follow(container, ctx)
    if code != 0:
        return HalfDone(f"container `{name}` ended with exit code {code}")
    before = (ctx.progress or {}).get("before")
    changed = before is None or _state(spec, ctx) != before
    outputs = RunEnded(exit_code=0, container=name)
    return Done(outputs, f"container `{name}` ended with exit code 0", changed=changed)


def _title(spec: ComposeRun) -> str:
    return shlex.join(spec.command)


def _by_hand(spec: ComposeRun) -> Sequence[str]:
    started = _start(spec, "runbook-by-hand").argv
    return [shlex.join(started), "docker wait runbook-by-hand", "docker rm runbook-by-hand"]


STEP = StepKind(
    spec=ComposeRun,
    outputs=RunEnded,
    effect=Effect.CHANGES,
    rerun=None,
    describe=lambda spec: f"run `{_title(spec)}` in a container of `{spec.service}`",
    run=_run,
    probe=_probe,
    adopts=True,
    by_hand=_by_hand,
    preflight=lambda spec, _ctx: [*docker.missing_engine(), *compose.missing_for(spec.stack)],
)
