"""A server that is a service of a stack: its container, started where it does not run; its address.

Never an address that is not the container's own: another server may answer there.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.errors import Absent, Unfit
from runbook.resources import S3, Compose, Postgres
from runbook.tools import docker
from runbook.tools.halted import RUNS

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

PATIENCE_S = 60.0
"""For a server to start."""
_POLL_S = 0.1
_BEST_FIRST = (*RUNS, "exited", "created")
"""A Compose that was killed while it replaced a container has left two."""

DataDirs = Callable[[Mapping[str, Any]], Collection[str]]
"""Where the engine's host has the data of the server in a container that was inspected so."""


@dataclass(frozen=True, slots=True)
class Running:
    """The container of a server."""

    attributes: Mapping[str, Any]
    """What the engine says of it."""
    host: str
    """Where it listens."""


def running(
    resource: Postgres | S3,
    resources: Mapping[str, Any],
    *,
    data_dirs: DataDirs,
    check: Callable[[], None],
    log: Callable[[str], None],
    patience_s: float = PATIENCE_S,
) -> Running:
    """The container that a resource is in, which runs once this returns.

    Raises:
        Absent: its service has no container yet.
        Unfit: it does not run, or has no address.
    """
    with docker.engine() as client:
        container = _container(resource, resources, client)
        _start(container, resource.name, client, data_dirs, log)
        until = time.monotonic() + patience_s
        while (host := _address(container, client)) is None:
            if container.status not in RUNS or time.monotonic() > until:
                raise Unfit(
                    f"`{container.name}`, which `{resource.name}` is in, has no address:"
                    f" it is {_state(container)}",
                    hint=f"see `docker logs {container.name}`, `docker inspect {container.name}`",
                )
            check()
            time.sleep(_POLL_S)
            container.reload()
        return Running(container.attrs, host)


def _container(
    resource: Postgres | S3, resources: Mapping[str, Any], client: "DockerClient"
) -> "Container":
    stack_name, _, service = (resource.service or "").partition("/")
    stack = resources.get(stack_name)
    if not isinstance(stack, Compose):
        raise Unfit(
            f"`service: {resource.service}` of `{resource.name}` names no stack:"
            f" there is no `compose` resource `{stack_name}`"
        )
    found = docker.containers(client, stack.project, service)
    if not found:
        raise Absent(
            f"service `{service}` of stack `{stack_name}` has no container yet", changed=False
        )
    rank = {status: place for place, status in enumerate(_BEST_FIRST)}
    return min(found, key=lambda each: rank.get(each.status, len(rank)))


def _start(
    container: "Container",
    name: str,
    client: "DockerClient",
    data_dirs: DataDirs,
    log: Callable[[str], None],
) -> None:
    if container.status in ("running", "restarting"):
        return
    _require_alone(container, name, client, data_dirs)
    if container.status == "paused":
        log(f"waking `{container.name}`, which `{name}` is in")
        container.unpause()
    else:
        log(f"starting `{container.name}`, which `{name}` is in")
        container.start()
    container.reload()


def _require_alone(
    container: "Container", name: str, client: "DockerClient", data_dirs: DataDirs
) -> None:
    """Raises Unfit where another container uses its data: two servers destroy what they share.

    Neither notices the other: each is process 1 of its container.
    """
    places = data_dirs(container.attrs)
    others = [
        f"`{other.name}`"
        for other in client.containers.list(ignore_removed=True)
        if other.id != container.id and not writable_mounts(other.attrs).isdisjoint(places)
    ]
    if others:
        raise Unfit(
            f"`{container.name}`, which `{name}` is in, does not run, and cannot be started:"
            f" its data, `{', '.join(sorted(places))}`, is in use by {', '.join(others)}",
            hint=f"remove the one that is left over: `docker rm {container.name}`, or stop the"
            " other, then `runbook resume`",
        )


def writable_mounts(attributes: Mapping[str, Any]) -> set[str]:
    """Where the engine's host has what a container may write to, besides its own layer."""
    mounts = attributes["Mounts"]
    return {mount["Source"] for mount in mounts if mount["RW"] and mount.get("Source")}


def _address(container: "Container", client: "DockerClient") -> str | None:
    """Where a container's servers listen; None: nowhere now."""
    if container.status != "running":
        return None
    mode, _, shared = str(container.attrs["HostConfig"]["NetworkMode"]).partition(":")
    if mode == "host":
        return "127.0.0.1"
    if mode == "container":
        return _address(client.containers.get(shared), client)
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    return next((str(each["IPAddress"]) for each in networks if each["IPAddress"]), None)


def _state(container: "Container") -> str:
    state = container.attrs["State"]
    if container.status == "running":
        return "in no network that gives it one"
    return f"{state['Status']}, its last exit code {state['ExitCode']}"
