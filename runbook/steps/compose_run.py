"""Run a one-off command in a container of its own, of a service of a stack.

Detached, under a name made of the attempt, and kept until its end is recorded: after a crash the
container tells whether it still runs, and how it ended. Removed by the next one.
"""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from runbook.core.plan import Effect
from runbook.errors import CommandFailed, StepError
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
from runbook.steps._engine import over_restarts
from runbook.tools import compose, docker
from runbook.tools.containers import last_lines, printed, stop_for_good
from runbook.tools.halted import RUNS
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
    before = _before(spec, ctx)
    try:
        with docker.engine() as client:
            container = _find(client, name) or _started(client, spec, name, ctx)
            if container.status == "created":
                container.start()
        code, tail = _follow(name, ctx)
    except StepError as error:
        if error.changed:
            _stop(name, ctx)
        raise
    if code != 0:
        raise CommandFailed(
            f"`{_title(spec)}` ended with exit code {code}, expected 0",
            where=f"service `{spec.service}`",
            output_tail=tail,
        )
    return Result(RunEnded(exit_code=0, container=name), _has_changed(spec, ctx, before))


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
        raise _gone(name)
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


def _gone(name: str) -> StepError:
    message = f"container `{name}` is gone: nothing tells how the command in it has ended"
    return StepError(message, is_retryable=False)


def _remove_older(client: "DockerClient", spec: ComposeRun, ctx: Context) -> None:
    """Remove what earlier attempts, and earlier runs, have left; none of them may still run."""
    for container in docker.containers(client, spec.stack.project, spec.service, one_off=True):
        is_ours = _MARK in (container.name or "")
        if is_ours and container.status in RUNS:
            raise StepError(
                f"`{container.name}`, of an earlier attempt, still runs",
                hint=f"docker wait {container.name}",
                is_retryable=False,
                changed=False,
            )
        if is_ours:
            container.remove(v=True)


def _follow(name: str, ctx: Context) -> tuple[int, tuple[str, ...]]:
    """Log what it prints, until its end; its exit code, and its last lines."""
    logged = 0

    def follow(client: "DockerClient") -> tuple[int, tuple[str, ...]]:
        nonlocal logged
        while True:
            container = _find(client, name)
            if container is None:
                raise _gone(name)
            is_over = container.status not in RUNS
            told = printed(container)
            whole = len(told) if is_over else told.rfind(b"\n") + 1
            if whole > logged:
                ctx.log(told[logged:whole].decode("utf-8", "replace").rstrip("\n"))
                logged = whole
            if is_over:
                return int(container.attrs["State"]["ExitCode"]), last_lines(told)
            # The engine gives all that was printed each time.
            ctx.sleep(_POLL_S + len(told) / _BYTES_A_SECOND)

    return over_restarts(follow, ctx, within_s=ctx.remaining_s())


def _stop(name: str, ctx: Context) -> None:
    """Stop the container: who gave up the command must not have it go on behind their back."""
    try:
        with docker.engine() as client:
            container = _find(client, name)
            if container is not None and container.status in RUNS:
                stop_for_good(client, str(container.id), grace_s=None, log=ctx.log)
                ctx.log(f"stopped container `{name}` before its end")
    except StepError as error:
        ctx.log(f"container `{name}` may still run: {error.message}; docker stop {name}")


def _before(spec: ComposeRun, ctx: Context) -> str | None:
    """The database as it was before the first attempt; None: nobody asks."""
    recorded = (ctx.progress or {}).get("before")
    if isinstance(recorded, str):
        return recorded
    before = _state(spec, ctx)
    if before is not None:
        ctx.record_progress({"before": before})
    return before


def _has_changed(spec: ComposeRun, ctx: Context, before: object) -> bool:
    """Whether a command that ended well has changed the database; in doubt it has."""
    if before is None:
        return True
    try:
        return _state(spec, ctx) != before
    except StepError as error:
        ctx.log(f"whether the database has changed cannot be told: {error.message}")
        return True


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
    code, _ = _follow(name, ctx)
    if code != 0:
        return HalfDone(f"container `{name}` ended with exit code {code}")
    changed = _has_changed(spec, ctx, (ctx.progress or {}).get("before"))
    outputs = RunEnded(exit_code=0, container=name)
    return Done(outputs, f"container `{name}` ended with exit code 0", changed=changed)


def _title(spec: ComposeRun) -> str:
    return shlex.join(spec.command)


def _by_hand(spec: ComposeRun) -> Sequence[str]:
    started = _start(spec, "runbook-by-hand")
    return [started.typed(), "docker wait runbook-by-hand", "docker rm runbook-by-hand"]


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
