"""Who writes to a tree of files, and what becomes of them while it is read or restored.

A writer is a `process` resource by its name, or a service of a stack as `stack/service`. What is
paused or stopped is noted in the step's progress before it is, so that a later attempt finds
exactly that after a crash, and nothing that somebody else has paused or stopped.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from runbook.errors import StepError
from runbook.kinds import Context
from runbook.resources import Compose, Process
from runbook.restore.trees import Level
from runbook.tools import daemon, docker, halted


@dataclass(frozen=True, slots=True)
class _Running:
    """A writer that runs."""

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
        names = ", ".join(f"`{name}` ({each.label})" for name, each in running.items())
        raise StepError(
            f"expected its writers to be stopped, found running: {names}",
            hint="put a step that stops them before this one, or stop them by hand",
            changed=False,
        )


@contextmanager
def _paused(used_by: Sequence[str], ctx: Context) -> Iterator[None]:
    found = _running(used_by, ctx)
    # One that somebody else has paused stays so.
    ours = {name: running for name, running in found.items() if not running.is_paused}
    ctx.record_progress({"paused": list(ours)})
    try:
        for name, running in ours.items():
            ctx.log(f"pausing `{name}`, {running.label}")
            running.pause()
        yield
    finally:
        wake(ctx)


def wake(ctx: Context) -> None:
    """Let go on what this step has paused, in whichever attempt; nothing else."""
    paused = (ctx.progress or {}).get("paused")
    names = list(map(str, paused)) if isinstance(paused, list) else []
    for running in _running(names, ctx).values():
        if running.is_paused:
            running.wake()


def _running(names: Sequence[str], ctx: Context) -> dict[str, _Running]:
    found = {name: _service(name, ctx) if "/" in name else _process(name, ctx) for name in names}
    return {name: running for name, running in found.items() if running is not None}


def _process(name: str, ctx: Context) -> _Running | None:
    running = daemon.find_running(ctx.state_dir, ctx.project, name)
    if running is None:
        return None
    return _Running(
        label=f"pid {running.pid}",
        is_paused=daemon.is_paused(running),
        pause=lambda: daemon.pause(running, sleep=ctx.sleep),
        wake=lambda: daemon.wake(running),
    )


def _service(name: str, ctx: Context) -> _Running | None:
    stack_name, _, service = name.partition("/")
    stack = ctx.resources.get(stack_name)
    if not isinstance(stack, Compose):
        return None
    with docker.engine() as client:
        there = docker.containers(client, stack.project, service)
        ids = [str(each.id) for each in there if each.status in ("running", "paused")]
        is_paused = bool(ids) and all(each.status == "paused" for each in there)
    if not ids:
        return None
    return _Running(
        label=f"container {ids[0][:12]}",
        is_paused=is_paused,
        pause=lambda: docker.pause(ids),
        wake=lambda: docker.unpause(ids),
    )


# --- containers that mount a volume ---------------------------------------------------------


@contextmanager
def without_users(volume: str, ctx: Context) -> Iterator[None]:
    """Stop every container that mounts a volume; start exactly those again afterwards."""
    with docker.engine() as client:
        users = client.containers.list(ignore_removed=True, filters={"volume": volume})
        were = halted.note(users, ctx.progress)
        ctx.record_progress(halted.as_progress(were))
        for container in users:
            ctx.log(f"stopping `{container.name}`, which mounts `{volume}`")
            container.stop()
    try:
        yield
    finally:
        with docker.engine() as client:
            there = client.containers.list(
                all=True, ignore_removed=True, filters={"volume": volume}
            )
            ids = {each.id for each in were}
            for container in there:
                if container.id in ids:
                    container.start()
