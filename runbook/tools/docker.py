"""The container engine behind one module: a client of it, and what it knows of a stack.

Compose's own commands: compose.py. The SDK is imported at use and its errors are translated here.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.errors import EngineGone, StepError, Unfit

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
HASH_LABEL = "com.docker.compose.config-hash"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
OPERATION_LABEL = "runbook.operation"
"""On every container, volume and network that a step makes for its own work: its operation."""
_POLL_S = 0.05
_REFUSALS = 100


@contextmanager
def engine(*, timeout_s: float = 60.0) -> Iterator["DockerClient"]:
    """A client of the engine that the environment names; closed at the end.

    Its API version is the server's own. Errors of the SDK that leave the block are translated.

    Raises:
        Unfit: no engine answers, or it refuses us.
        StepError: it refuses a request.
        EngineGone: it does not answer any more.
    """
    import docker
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        client = docker.from_env(timeout=int(timeout_s))
    except (DockerException, RequestException) as error:
        raise Unfit(
            f"the container engine does not answer: {error}",
            hint="see whether `docker info` works for this user",
        ) from error
    try:
        yield client
    except APIError as error:
        raise StepError(f"the container engine refuses: {error.explanation or error}") from error
    except (DockerException, RequestException) as error:
        raise EngineGone(f"the container engine does not answer any more: {error}") from error
    finally:
        client.close()


def started_at() -> str:
    """When the engine was started, by the network that it makes anew each time; else empty."""
    with suppress(StepError), engine(timeout_s=10.0) as client:
        return str(client.api.inspect_network("bridge")["Created"])
    return ""


def missing_engine() -> list[str]:
    """What is missing to reach the engine."""
    try:
        with engine(timeout_s=10.0):
            return []
    except Unfit as error:
        return [error.message]


def containers(
    client: "DockerClient", project: str, service: str | None = None, *, one_off: bool = False
) -> "Sequence[Container]":
    """A stack's containers, running or not, by name; of one service, or of all."""
    labels = [f"{PROJECT_LABEL}={project}", f"{ONE_OFF_LABEL}={one_off}"]
    if service is not None:
        labels.append(f"{SERVICE_LABEL}={service}")
    found = client.containers.list(all=True, ignore_removed=True, filters={"label": labels})
    return sorted(found, key=lambda container: container.name or "")


def service_of(container: "Container") -> str:
    """The service that a container belongs to."""
    return str(container.labels.get(SERVICE_LABEL, ""))


def pause(container_id: str, *, sleep: Callable[[float], None]) -> None:
    """Stop every process of a container in its tracks, once it is up; one that ends is let be."""
    from docker.errors import APIError

    refusals = 0
    with engine() as client:
        while (status := _status(client, container_id)) in ("running", "restarting"):
            if status == "running":
                try:
                    client.api.pause(container_id)
                    continue
                except APIError:
                    # One that ends in this very moment still counts as running.
                    refusals += 1
                    if refusals > _REFUSALS:
                        raise
            sleep(_POLL_S)


def unpause(container_id: str) -> None:
    """Let the processes of a container go on, if they were paused."""
    from docker.errors import APIError

    with engine() as client:
        try:
            client.api.unpause(container_id)
        except APIError:
            if _status(client, container_id) == "paused":
                raise


def _status(client: "DockerClient", container_id: str) -> str:
    """What the engine calls the container's state; empty: it is gone."""
    from docker.errors import NotFound

    try:
        return str(client.api.inspect_container(container_id)["State"]["Status"])
    except NotFound:
        return ""


def remove_containers(label: str) -> None:
    """Remove every container with that label, running or not."""
    with engine() as client:
        for container in client.containers.list(
            all=True, ignore_removed=True, filters={"label": label}
        ):
            remove_container(container)


def remove_container(container: "Container") -> None:
    """Remove a container with its nameless volumes; one that is gone is removed."""
    from docker.errors import APIError

    try:
        container.remove(force=True, v=True)
    except APIError as error:
        # Gone, or on its way: the engine removes it by itself.
        if error.status_code not in (404, 409):
            raise


@dataclass(frozen=True, slots=True)
class FoundVolume:
    """A volume that the engine knows."""

    place: Path | None
    """Where its files lie on this machine; absent where only the engine can reach them."""


def find_volume(name: str) -> FoundVolume | None:
    """The volume of that name; None: there is none."""
    from docker.errors import NotFound

    with engine() as client:
        try:
            volume = client.volumes.get(name)
        except NotFound:
            return None
        place = Path(volume.attrs["Mountpoint"])
        is_plain = volume.attrs["Driver"] == "local" and not volume.attrs.get("Options")
        is_ours = is_plain and os.geteuid() == 0 and is_here(client) and place.is_dir()
        return FoundVolume(place if is_ours else None)


def volume_size_bytes(name: str) -> int:
    """How much a volume holds, by the engine's own count; 0 where it does not tell."""
    with engine() as client:
        found = [each for each in client.df()["Volumes"] or [] if each["Name"] == name]
        sizes = [int((each.get("UsageData") or {}).get("Size", 0)) for each in found]
        return max(0, *sizes, 0)


def is_here(client: "DockerClient") -> bool:
    """Whether the engine certainly is on this machine, and sees the same files."""
    is_local = client.api.base_url == "http+docker://localhost"
    return is_local and client.info()["Name"] == socket.gethostname()


def make_volume(name: str, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of the volume of that name, which is made with these where there is none."""
    with engine() as client:
        client.volumes.create(name=name, labels=dict(labels))
        # What `create` answers may lack the labels of a volume that was there before the engine's
        # last restart (20.10, seen).
        return dict(client.volumes.get(name).attrs.get("Labels") or {})


def labels_of_volumes(label: str) -> list[dict[str, str]]:
    """All labels of every volume with that label."""
    with engine() as client:
        found = client.volumes.list(filters={"label": label})
        return [dict(volume.attrs.get("Labels") or {}) for volume in found]


def remove_volumes(label: str) -> list[str]:
    """Remove every volume with that label; their names."""
    with engine() as client:
        found = client.volumes.list(filters={"label": label})
        for volume in found:
            volume.remove()
        return [str(volume.name) for volume in found]


def image_id(client: "DockerClient", name: str) -> str | None:
    """The id of the image of that name or id; None: there is none here."""
    from docker.errors import ImageNotFound

    try:
        return client.images.get(name).id
    except ImageNotFound:
        return None
