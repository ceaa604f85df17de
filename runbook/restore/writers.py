"""Who writes to a tree of files, and what becomes of them while it is read or restored.

A writer is a `process` resource by its name, or a service of a stack as `stack/service`. What is
paused or stopped is noted in the step's progress before it is, so that a later attempt finds
exactly that after a crash, and nothing that somebody else has paused or stopped.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from runbook.errors import StepError
from runbook.kinds import Context
from runbook.resources import Compose, Process
from runbook.restore.trees import Level
from runbook.tools import daemon, docker, halted
from runbook.tools.containers import set_restart_policy, stop_for_good
from runbook.tools.halted import RUNS, Halted

if TYPE_CHECKING:
    from docker.models.containers import Container

_CONTAINER = "container:"


@dataclass(frozen=True, slots=True)
class _Running:
    """A process or a container that runs."""

    name: str
    """The writer that it is, or is one of."""
    key: str
    """What the step's progress calls it."""
    label: str
    """For people, such as `pid 12`."""
    is_paused: bool
    pause: Callable[[], None]
    wake: Callable[[], None]


def unknown_writers(used_by: Sequence[str], ctx: Context) -> list[str]:
    """What is wrong with the names of a tree's writers, a line each."""
    found = []
    for name in used_by:
        resource = ctx.resources.get(name.partition("/")[0])
        expected = Compose if "/" in name else Process
        if not isinstance(resource, expected):
            word = "service of a `compose`" if "/" in name else "`process`"
            found.append(f"`used_by` names `{name}`, which is no {word} resource")
    return found


@contextmanager
def held(used_by: Sequence[str], level: Level, ctx: Context) -> Iterator[None]:
    """Keep a tree's writers as its snapshot's level says, for the while.

    Raises:
        StepError: one runs that should be stopped, or cannot be paused.
    """
    match level:
        case "live":
            yield
        case "stopped":
            require_stopped(used_by, ctx)
            yield
        case "paused":
            with _paused(used_by, ctx):
                yield


def require_stopped(used_by: Sequence[str], ctx: Context) -> None:
    """Raises StepError where a writer runs."""
    running = _running(used_by, ctx)
    if running:
        names = ", ".join(f"`{each.name}` ({each.label})" for each in running)
        raise StepError(
            f"expected its writers to be stopped, found running: {names}",
            hint="put a step that stops them before this one, or stop them by hand",
            changed=False,
        )


@contextmanager
def _paused(used_by: Sequence[str], ctx: Context) -> Iterator[None]:
    wake(ctx)
    # One that somebody else has paused stays so.
    ours = [each for each in _running(used_by, ctx) if not each.is_paused]
    ctx.record_progress({"paused": [each.key for each in ours]})
    try:
        for running in ours:
            ctx.log(f"pausing `{running.name}`, {running.label}")
            running.pause()
        yield
    finally:
        wake(ctx)


def wake(ctx: Context) -> None:
    """Let go on what this step has paused, in whichever attempt; nothing else."""
    paused = (ctx.progress or {}).get("paused")
    keys = list(map(str, paused)) if isinstance(paused, list) else []
    _do_all(partial(_wake, key, ctx) for key in keys)


def _wake(key: str, ctx: Context) -> None:
    for running in _found(key, ctx):
        if running.is_paused:
            running.wake()


def _do_all(acts: Iterable[Callable[[], None]]) -> None:
    """Do all of these, whichever of them fails; raises the first error at the end."""
    errors = []
    for act in acts:
        try:
            act()
        except StepError as error:
            error.changed = True  # what is left undone here is a change
            errors.append(error)
    if errors:
        raise errors[0]


def _running(names: Sequence[str], ctx: Context) -> list[_Running]:
    return [running for name in names for running in _found(name, ctx)]


def _found(key: str, ctx: Context) -> list[_Running]:
    """What runs of a writer, by its name; or what a step's progress calls so."""
    if key.startswith(_CONTAINER):
        return _container(key.removeprefix(_CONTAINER), ctx)
    return _service(key, ctx) if "/" in key else _process(key, ctx)


def _process(name: str, ctx: Context) -> list[_Running]:
    running = daemon.find_running(ctx.state_dir, ctx.project, name)
    if running is None:
        return []
    return [
        _Running(
            name=name,
            key=name,
            label=f"pid {running.pid}",
            is_paused=daemon.is_paused(running),
            pause=lambda: daemon.pause(running, sleep=ctx.sleep),
            wake=lambda: daemon.wake(running),
        )
    ]


def _service(name: str, ctx: Context) -> list[_Running]:
    stack_name, _, service = name.partition("/")
    stack = ctx.resources.get(stack_name)
    if not isinstance(stack, Compose):
        return []
    with docker.engine() as client:
        there = docker.containers(client, stack.project, service)
    return [_running_container(name, each, ctx) for each in there if each.status in RUNS]


def _container(container_id: str, ctx: Context) -> list[_Running]:
    with docker.engine() as client:
        found = client.containers.list(ignore_removed=True, filters={"id": container_id})
    return [_running_container(str(each.name), each, ctx) for each in found]


def _running_container(name: str, container: "Container", ctx: Context) -> _Running:
    container_id = str(container.id)
    return _Running(
        name=name,
        key=f"{_CONTAINER}{container_id}",
        label=f"container {container_id[:12]}",
        is_paused=container.status == "paused",
        pause=lambda: docker.pause(container_id, sleep=ctx.sleep),
        wake=lambda: docker.unpause(container_id),
    )


# --- containers that mount a volume ---------------------------------------------------------


@contextmanager
def without_users(volume: str, ctx: Context) -> Iterator[None]:
    """Stop every container that mounts a volume; start exactly those again afterwards."""
    with docker.engine() as client:
        users = client.containers.list(ignore_removed=True, filters={"volume": volume})
    were = halted.note(users, ctx.progress)
    ctx.record_progress(halted.as_progress(were))
    try:
        with docker.engine() as client:
            for container in users:
                ctx.log(f"stopping `{container.name}`, which mounts `{volume}`")
                stop_for_good(client, str(container.id), grace_s=None, log=ctx.log)
        yield
    finally:
        _do_all(partial(_start_again, each, ctx) for each in were)


def _start_again(then: Halted, ctx: Context) -> None:
    from docker.errors import APIError

    with docker.engine() as client:
        try:
            set_restart_policy(client, then.id, then.restart)
            container = client.containers.get(then.id)
            if container.status not in RUNS:
                container.start()
        except APIError as error:
            if error.status_code not in (404, 409):  # gone, or on its way (`docker run --rm`)
                raise
            ctx.log(f"`{then.name}` was removed meanwhile: it is not started again")
