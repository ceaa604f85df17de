"""Containers that a step has stopped: how they were, and what makes them so again."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from runbook.core.plan import Json, JsonObject
from runbook.errors import StepError
from runbook.tools import docker

if TYPE_CHECKING:
    from docker.models.containers import Container

RUNS = ("running", "paused", "restarting")
"""What the engine calls a container that was started and has not ended for good."""
_KEY = "halted"


class Halted(BaseModel):
    """A container that was stopped, as it was before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """What the engine knows it by."""
    name: str
    """Its name."""
    service: str
    """The service that it belongs to; empty: none."""
    restart: str
    """Its restart policy: `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`."""
    ran: bool
    """Whether it ran."""


def note(there: "Iterable[Container]", progress: JsonObject | None) -> list[Halted]:
    """These containers as they are; as they were, where an earlier attempt has noted it."""
    found = {str(each.id): _look(each) for each in there}
    return [*(found | {each.id: each for each in noted(progress)}).values()]


def noted(recorded: Mapping[str, Json] | None) -> list[Halted]:
    """What a step has noted, in its progress or its outputs."""
    with suppress(ValidationError):
        return TypeAdapter(list[Halted]).validate_python((recorded or {}).get(_KEY, []))
    return []


def as_progress(halted: Sequence[Halted]) -> JsonObject:
    """What `noted` reads."""
    return {_KEY: [each.model_dump(mode="json") for each in halted]}


def _look(container: "Container") -> Halted:
    return Halted(
        id=str(container.id),
        name=str(container.name),
        service=docker.service_of(container),
        restart=_policy(container),
        ran=container.status in RUNS,
    )


def _policy(container: "Container") -> str:
    found = container.attrs["HostConfig"].get("RestartPolicy") or {}
    name, retries = str(found.get("Name") or "no"), found.get("MaximumRetryCount")
    return f"{name}:{retries}" if name == "on-failure" and retries else name


def to_start_again(progress: JsonObject) -> list[str]:
    """The commands that bring back what is still stopped of what a step has noted.

    Where no engine answers: those that bring back all of it.
    """
    halted = noted(progress)
    try:
        with docker.engine() as client:
            there = client.containers.list(all=True, ignore_removed=True) if halted else []
            now = {each.id: each for each in map(_look, there)}
    except StepError:
        now = {each.id: each.model_copy(update={"restart": "", "ran": False}) for each in halted}
    commands = []
    for then in halted:
        found = now.get(then.id)
        if found is None:
            continue
        if found.restart != then.restart:
            commands.append(f"docker update --restart={then.restart} {then.name}")
        if then.ran and not found.ran:
            commands.append(f"docker start {then.name}")
    return commands
