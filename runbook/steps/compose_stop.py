"""Stop services of a stack for good.

By the project's label, never by its compose file: in a rollback that may be a bad revision's.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from runbook.core.plan import Effect, Rerun
from runbook.field_rules import rule, rules
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Compose, Duration
from runbook.tools import docker, halted
from runbook.tools.containers import stop_for_good
from runbook.tools.halted import Halted

_POLL_S = 0.05
_ABOVE_GRACE_S = 60.0


class ComposeStop(Spec):
    """Stop services of a stack for good: an engine that restarts does not start them again.

    All at once. A container whose first process does not handle the stop signal would never hear
    of it, and is killed without waiting for its grace. What restart policies they had is recorded:
    `compose_up` gives them back, and `runbook abort` says how to.

    Example:
        id: stop
        uses: compose_stop
        with: {stack: stack, keep: [postgres]}
    """

    model_config = rules(
        rule("`services` does not go with `keep`", {"not": {"required": ["services", "keep"]}})
    )

    stack: Resource[Compose]
    """The stack."""
    services: list[str] | None = None
    """Which services; absent: all but those under `keep`."""
    keep: list[str] | None = None
    """Services that go on running."""
    grace: Duration | None = None
    """How long each may take to end; absent: what its container says, or 10 s."""


class ServicesStopped(Outputs):
    """What was stopped."""

    stopped: list[str]
    """The services that ran, and do not now."""
    halted: list[Halted]
    """Their containers, and those that did not run, as they were."""


def _run(spec: ComposeStop, ctx: Context) -> Result[ServicesStopped]:
    with docker.engine(timeout_s=(spec.grace or 0) + _ABOVE_GRACE_S) as client:
        there = [
            container
            for container in docker.containers(client, spec.stack.project)
            if _is_meant(spec, docker.service_of(container))
        ]
        were = halted.note(there, ctx.progress)
        ctx.record_progress(halted.as_progress(were))
        with ThreadPoolExecutor(max_workers=max(len(there), 1)) as pool:
            stopping = [
                pool.submit(stop_for_good, client, str(each.id), grace_s=spec.grace, log=ctx.log)
                for each in there
            ]
            _await(stopping, ctx)
    names = sorted({each.service for each in were if each.ran})
    ctx.log(f"stopped: {', '.join(names) or 'nothing ran'}")
    return Result(ServicesStopped(stopped=names, halted=were), bool(names))


def _await(stopping: list[Future[Any]], ctx: Context) -> None:
    while not all(future.done() for future in stopping):
        ctx.sleep(_POLL_S)
    for future in stopping:
        future.result()


def _is_meant(spec: ComposeStop, service: str) -> bool:
    if spec.services is not None:
        return service in spec.services
    return service not in (spec.keep or ())


def _describe(spec: ComposeStop) -> str:
    if spec.services is not None:
        return f"stop {', '.join(spec.services)} of `{spec.stack.name}`"
    kept = f" but {', '.join(spec.keep)}" if spec.keep else ""
    return f"stop every service of `{spec.stack.name}`{kept}"


def _by_hand(spec: ComposeStop) -> Sequence[str]:
    stop = f"docker compose --project-name {spec.stack.project} stop"
    if spec.keep:
        return [f"{stop} SERVICE…  # all but {', '.join(spec.keep)}"]
    return [" ".join([stop, *(spec.services or ())])]


STEP = StepKind(
    spec=ComposeStop,
    outputs=ServicesStopped,
    effect=Effect.CHANGES,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    holds="stack",
    by_hand=_by_hand,
    preflight=lambda _spec, _ctx: docker.missing_engine(),
    after_abort=halted.to_start_again,
)
