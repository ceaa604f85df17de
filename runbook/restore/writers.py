"""Who writes to a tree of files, and what becomes of them while it is read.

What is paused for a snapshot is noted in the step's progress before it is paused, so that `wake`
finds exactly that after a crash.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runbook.errors import StepError
from runbook.kinds import Context
from runbook.resources import Process
from runbook.restore.trees import Level
from runbook.tools import daemon
from runbook.tools.daemon import Running


def unknown_writers(used_by: Sequence[str], ctx: Context) -> list[str]:
    """What is wrong with the names of a tree's writers, a line each."""
    return [
        f"`used_by` names `{name}`, which is no `process` resource"
        for name in used_by
        if not isinstance(ctx.resources.get(name), Process)
    ]


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
        names = ", ".join(f"`{name}` (pid {each.pid})" for name, each in running.items())
        raise StepError(
            f"expected its writers to be stopped, found running: {names}",
            hint="put a `process_stop` step before this one, or stop it by hand",
            changed=False,
        )


@contextmanager
def _paused(used_by: Sequence[str], ctx: Context) -> Iterator[None]:
    found = _running(used_by, ctx)
    # One that somebody else has paused stays so.
    ours = {name: running for name, running in found.items() if not daemon.is_paused(running)}
    ctx.record_progress({"paused": list(ours)})
    try:
        for name, running in ours.items():
            ctx.log(f"pausing `{name}`, pid {running.pid}")
            daemon.pause(running, sleep=ctx.sleep)
        yield
    finally:
        wake(ctx)


def wake(ctx: Context) -> None:
    """Let go on what this step has paused, in whichever attempt; nothing else."""
    paused = (ctx.progress or {}).get("paused")
    for running in _running(
        list(map(str, paused)) if isinstance(paused, list) else [], ctx
    ).values():
        daemon.wake(running)


def _running(names: Sequence[str], ctx: Context) -> dict[str, Running]:
    found = {name: daemon.find_running(ctx.state_dir, ctx.project, name) for name in names}
    return {name: running for name, running in found.items() if running is not None}
