"""Create and start services of a stack, and wait until they are ready.

Compose makes the containers and starts none: it would wait for the engine's own rounds of health
tests before it starts what depends on a service. They are started here, each as soon as what it
needs is ready. What is as it should be is left alone, so that a one-shot service is not run again.
See docs/adr/0010-created-by-compose-started-by-us.md.
"""

import re
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import Field

from runbook.core.plan import Effect, Json, Rerun
from runbook.errors import CommandFailed, StepError
from runbook.kinds import Context, Outputs, Resource, Result, Spec, StepKind
from runbook.resources import Compose, Duration
from runbook.steps._engine import over_restarts
from runbook.steps._orphans import Orphans
from runbook.steps._waiting import Waiting, flaw_of, key, one_shots
from runbook.tools import compose, docker
from runbook.tools.compose import Service
from runbook.tools.containers import is_well_by_the_engine, set_restart_policy
from runbook.tools.process import Command

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_MODES, _SHARED = ("NetworkMode", "IpcMode", "PidMode"), "container:"
_OWN = ("bridge", "host", "none")
_LEFTOVER = re.compile(r"[0-9a-f]{12}_(.+)")


class ComposeUp(Spec):
    """Create and start services of a stack, and wait until they are ready.

    Ready is what a service's own health test says, run in its container at once and again four
    times a second; without one, that it goes on running. What was not ready in the same way before
    the run changed anything is told and not counted. Images are never pulled. Containers of
    services that the compose files do not name are left alone and told; in a rollback, where all
    services are meant, those that did not run at the restore point are stopped, and those that did
    and were stopped by `compose_stop` are started.

    Example:
        id: release
        uses: compose_up
        with: {stack: stack}
    """

    stack: Resource[Compose]
    """The stack."""
    services: list[str] | None = None
    """Which services, with all that they depend on; absent: every one."""
    ready_within: Duration = 120.0
    """How long the services that are waited for may take, all together."""
    optional: list[str] = Field(default_factory=list)
    """Services that are started and not waited for; whether they are ready is only told."""
    build: bool = False
    """Whether images are built first; otherwise those that are there are used as they are."""


class ServicesUp(Outputs):
    """What runs now."""

    services: dict[str, list[str]]
    """Of each service the ids of its containers."""
    images: dict[str, str]
    """Of each service the id of the image that it runs."""
    orphans: list[str]
    """Names of running containers whose service no compose file names."""
    unready: list[str]
    """Services that were not ready and do not count: optional ones, and those ill before."""


def _run(spec: ComposeUp, ctx: Context) -> Result[ServicesUp]:
    found = compose.services(spec.stack)
    unknown = [name for name in spec.services or () if name not in found]
    if unknown:
        raise StepError(
            f"stack `{spec.stack.name}` has no service `{unknown[0]}`; it has: {', '.join(found)}",
            is_retryable=False,
            changed=False,
        )
    hashes = compose.hashes(spec.stack)

    def bring_up(client: "DockerClient") -> Result[ServicesUp]:
        return _bring_up(client, spec, found, hashes, ctx)

    return over_restarts(bring_up, ctx, within_s=spec.ready_within)


def _bring_up(
    client: "DockerClient",
    spec: ComposeUp,
    found: Mapping[str, Service],
    hashes: Mapping[str, str],
    ctx: Context,
) -> Result[ServicesUp]:
    layers = compose.in_order(found, spec.services or list(found))
    everything = [name for layer in layers for name in layer]
    before = (ctx.progress or {}).get("before")
    if before is None:
        before = _states(client, spec.stack)
        ctx.record_progress({"before": before})
    orphans = Orphans.of(client, spec.stack, found, ctx)
    _repair_names(client, spec.stack, ctx)
    if spec.services is None:
        orphans.stop_new()
    services = [found[name] for name in everything]
    _create(client, spec, services, hashes, ctx)
    for layer in layers:  # to replace one is to cut off who shares its network
        _replace_cut_off(client, spec.stack, [found[name] for name in layer], one_shots(found), ctx)
    waiting = Waiting(
        client=client,
        stack=spec.stack,
        found=found,
        ctx=ctx,
        within_s=spec.ready_within,
        optional=spec.optional,
    )
    for layer in layers:
        waiting.wait(_awaited(found, layer))
        _start(client, spec.stack, [found[name] for name in layer], one_shots(found), ctx)
    waiting.wait(everything)
    if spec.services is None:
        orphans.start_old()
    changed = before != _states(client, spec.stack)
    outputs = ServicesUp(
        **_running(client, spec.stack, everything),
        orphans=orphans.tell(),
        unready=[*waiting.unready],
    )
    return Result(outputs, changed)


def _states(client: "DockerClient", stack: Compose) -> list[Json]:
    """All that this kind changes: each container, its name and policy, since when it runs."""
    return [
        [
            str(container.id),
            str(container.name),
            str(container.attrs["HostConfig"].get("RestartPolicy", {}).get("Name") or "no"),
            str(container.attrs["State"]["StartedAt"]),
        ]
        for container in docker.containers(client, stack.project)
    ]


def _create(
    client: "DockerClient",
    spec: ComposeUp,
    services: Sequence[Service],
    hashes: Mapping[str, str],
    ctx: Context,
) -> None:
    """Let Compose make, or replace, every container that is not what the files say."""
    lacking = [
        service.name
        for service in services
        if spec.build or not _is_as_written(client, spec.stack, service, hashes.get(service.name))
    ]
    if lacking:
        _create_by_compose(compose.create(spec.stack, lacking, build=spec.build), lacking, ctx)


def _replace_cut_off(
    client: "DockerClient",
    stack: Compose,
    services: Sequence[Service],
    one_shots: Set[str],
    ctx: Context,
) -> None:
    """Replace what cannot be started: a network, or a container, that it is tied to is gone."""
    there = {word for each in client.networks.list() for word in (each.id, each.name)}
    for each in client.api.containers(all=True):
        there |= {each["Id"], *(name.lstrip("/") for name in each["Names"])}
    cut_off = [
        service.name
        for service in services
        if any(
            not there >= _ties_of(container) and not _is_done(container, one_shots)
            for container in docker.containers(client, stack.project, service.name)
        )
    ]
    if cut_off:
        ctx.log(f"replacing {', '.join(cut_off)}: what its containers were tied to is gone")
        _create_by_compose(compose.create_anew(stack, cut_off), cut_off, ctx)


def _ties_of(container: "Container") -> set[str]:
    """The networks that it joins, and the containers whose namespaces it shares.

    A network is told by id once the container has been in it, but the engine's own ones by name:
    it makes `bridge` anew whenever it starts.
    """
    modes = [str(container.attrs["HostConfig"].get(key)) for key in _MODES]
    networks = container.attrs["NetworkSettings"]["Networks"].items()
    return {
        *(mode.removeprefix(_SHARED) for mode in modes if mode.startswith(_SHARED)),
        *(name if name in _OWN else found.get("NetworkID") or name for name, found in networks),
    }


def _create_by_compose(command: Command, services: Sequence[str], ctx: Context) -> None:
    ctx.show(f"creating {', '.join(services)}")
    ended = ctx.run(command)
    if ended.exit_code != 0:
        raise CommandFailed(
            f"Compose could not create {', '.join(services)}",
            where="docker compose create",
            output_tail=ended.tail,
        )


def _is_as_written(
    client: "DockerClient", stack: Compose, service: Service, digest: str | None
) -> bool:
    """Whether the containers that Compose would make of a service are there."""
    there = docker.containers(client, stack.project, service.name)
    wanted = docker.image_id(client, service.image)
    return len(there) == service.replicas and all(
        container.labels.get(docker.HASH_LABEL) == digest and container.attrs["Image"] == wanted
        for container in there
    )


def _start(
    client: "DockerClient",
    stack: Compose,
    services: Sequence[Service],
    one_shots: Set[str],
    ctx: Context,
) -> None:
    """Start, all at once, what does not run and has not done its work; give policies back."""
    idle: list[Container] = []
    for service in services:
        for container in docker.containers(client, stack.project, service.name):
            set_restart_policy(client, str(container.id), service.restart)
            if container.attrs["State"]["Running"] or _is_done(container, one_shots):
                continue
            ctx.show(f"starting {service.name}")
            if service.is_prepared:
                _start_by_compose(stack, service, ctx)
            else:
                idle.append(container)
    with ThreadPoolExecutor(max_workers=max(len(idle), 1)) as pool:
        for started in [pool.submit(container.start) for container in idle]:
            started.result()


def _is_done(container: "Container", one_shots: Set[str]) -> bool:
    """Whether its service is done once, and it has done it."""
    state = container.attrs["State"]
    has_ended_well = state["Status"] == "exited" and state["ExitCode"] == 0
    return has_ended_well and docker.service_of(container) in one_shots


def _start_by_compose(stack: Compose, service: Service, ctx: Context) -> None:
    ended = ctx.run(compose.start(stack, service.name))
    if ended.exit_code != 0:
        raise CommandFailed(
            f"Compose could not start {service.name}",
            where="docker compose start",
            output_tail=ended.tail,
        )


def _awaited(found: Mapping[str, Service], layer: Sequence[str]) -> list[str]:
    """What this layer must not start before it is ready."""
    needs = {need: how for name in layer for need, how in found[name].needs.items()}
    return [need for need, how in needs.items() if how != "service_started" and need in found]


def _repair_names(client: "DockerClient", stack: Compose, ctx: Context) -> None:
    """Give back the names that a Compose which was killed while it replaced a container has taken.

    Left alone, the container would keep the odd name for ever.
    """
    there = docker.containers(client, stack.project)
    taken = {container.name for container in there}
    for container in there:
        leftover = _LEFTOVER.fullmatch(container.name or "")
        if leftover and leftover[1] not in taken:
            ctx.log(f"renamed `{container.name}`, left by a Compose that was killed")
            container.rename(leftover[1])


def _running(client: "DockerClient", stack: Compose, names: Sequence[str]) -> dict[str, Any]:
    """Ids of containers and images, as outputs have them."""
    there = {name: docker.containers(client, stack.project, name) for name in names}
    return {
        "services": {name: [str(each.id) for each in found] for name, found in there.items()},
        "images": {name: str(found[0].attrs["Image"]) for name, found in there.items() if found},
    }


def _baseline(spec: ComposeUp, _ctx: Context) -> Mapping[str, str]:
    """Which services are not well now; one without a container is not there yet."""
    try:
        with docker.engine() as client:
            doubtful = {
                docker.service_of(each)
                for each in docker.containers(client, spec.stack.project)
                if not is_well_by_the_engine(each)
            }
            names = [name for name in sorted(doubtful) if name in (spec.services or doubtful)]
            flaws = {name: flaw_of(client, spec.stack, name) for name in names}
    except StepError:
        return {}
    return {key(spec.stack, name): flaw for name, flaw in flaws.items() if flaw is not None}


def _describe(spec: ComposeUp) -> str:
    which = ", ".join(spec.services) if spec.services else "every service"
    return f"bring up {which} of `{spec.stack.name}`, and wait until ready"


def _by_hand(spec: ComposeUp) -> Sequence[str]:
    return [compose.command(spec.stack, "up", "--detach", *(spec.services or ())).typed()]


def _preflight(spec: ComposeUp, _ctx: Context) -> Sequence[str]:
    return [*docker.missing_engine(), *compose.missing_for(spec.stack)]


STEP = StepKind(
    spec=ComposeUp,
    outputs=ServicesUp,
    effect=Effect.CHANGES,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    holds="stack",
    by_hand=_by_hand,
    preflight=_preflight,
    baseline=_baseline,
)
