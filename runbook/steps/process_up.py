"""Start a local long-running process, and wait until it is ready."""

import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError
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
from runbook.resources import Process, ReadyCheck
from runbook.tools import daemon
from runbook.tools.command import assignments
from runbook.tools.daemon import Running
from runbook.tools.http import Answer, Request, ask
from runbook.units import format_duration

_POLL_S = 0.1
_ANSWER_TIMEOUT_S = 5.0


class ProcessUp(Spec):
    """Start a local long-running process, and wait until it is ready.

    Example:
        id: release
        uses: process_up
        with: {process: web}
    """

    process: Resource[Process]
    """The process to start."""
    restart: bool = True
    """Whether one that this step has not started itself is stopped first: it may run older code.
    With `false`, one that runs with the same program, directory and environment is left running."""


class ProcessStarted(Outputs):
    """What runs now."""

    pid: int
    """Its process id."""
    log: str
    """The file that it prints to."""


def _run(spec: ProcessUp, ctx: Context) -> Result[ProcessStarted]:
    process = spec.process
    running = daemon.find_running(ctx.state_dir, ctx.project, process.name, sleep=ctx.sleep)
    if running is not None and not _is_wanted(spec, ctx, running):
        ctx.record_progress({"stopped_pid": running.pid})
        ctx.log(f"stopping pid {running.pid}, which another step started")
        running = None
    is_new = running is None or running.operation == ctx.operation
    if running is None:
        running = _start(process, ctx)
    _await_ready(process, running, ctx)
    return Result(_outputs(spec, ctx, running), is_new)


def _is_wanted(spec: ProcessUp, ctx: Context, running: Running) -> bool:
    if running.operation == ctx.operation:
        return True
    return not spec.restart and running.digest == daemon.digest_of(spec.process)


def _start(process: Process, ctx: Context) -> Running:
    # Whatever its leader left behind goes too: it may hold the port.
    daemon.stop(process, state_dir=ctx.state_dir, project=ctx.project, sleep=ctx.sleep)
    _refuse_stranger(process)
    if not process.directory.is_dir():
        raise StepError(
            f"there is no directory `{process.directory}` to start `{process.name}` in",
            is_retryable=False,
        )
    log_start_bytes = daemon.log_size_bytes(ctx.state_dir, ctx.project, process.name)
    running = daemon.start(
        process,
        state_dir=ctx.state_dir,
        project=ctx.project,
        operation=ctx.operation,
        sleep=ctx.sleep,
    )
    if running is None:
        raise _died(process, ctx, since_bytes=log_start_bytes)
    ctx.log(f"started `{process.name}` as pid {running.pid}")
    return running


def _refuse_stranger(process: Process) -> None:
    """Somebody else's answer would make our process look ready."""
    if process.ready is None or not _is_ready(process.ready, timeout_s=1.0):
        return
    raise StepError(
        f"something else answers at `{process.ready.get}`; expected nothing before the start",
        hint="stop what listens there: it was not started by runbook with this state directory",
    )


def _await_ready(process: Process, running: Running, ctx: Context) -> None:
    if process.ready is None:
        return
    ends_at_s = time.monotonic() + process.ready.timeout
    ctx.show(f"waiting for {process.ready.get}")
    while True:
        left_s = ends_at_s - time.monotonic()
        is_ready = _is_ready(process.ready, timeout_s=max(0.1, min(_ANSWER_TIMEOUT_S, left_s)))
        if not daemon.is_alive(running):
            raise _died(process, ctx)
        if is_ready:
            return
        if left_s <= 0:
            raise _unready(process, process.ready, ctx)
        ctx.sleep(_POLL_S)


def _is_ready(ready: ReadyCheck, *, timeout_s: float) -> bool:
    reply = ask(Request(url=ready.get, timeout_s=timeout_s))
    return isinstance(reply, Answer) and reply.status < 400


def _died(process: Process, ctx: Context, *, since_bytes: int = 0) -> StepError:
    return StepError(
        f"`{process.name}` ended before it was ready",
        where=shlex.join(process.argv),
        output_tail=daemon.log_tail(
            ctx.state_dir, ctx.project, process.name, since_bytes=since_bytes
        ),
    )


def _unready(process: Process, ready: ReadyCheck, ctx: Context) -> StepError:
    # Stopped, so that the next attempt is a fresh start and not another wait for the same one.
    daemon.stop(process, state_dir=ctx.state_dir, project=ctx.project, sleep=ctx.sleep)
    return StepError(
        f"`{process.name}` was not ready within {format_duration(ready.timeout)}, and was stopped:"
        f" expected a status below 400 from {ready.get}",
        where=shlex.join(process.argv),
        output_tail=daemon.log_tail(ctx.state_dir, ctx.project, process.name),
    )


def _outputs(spec: ProcessUp, ctx: Context, running: Running) -> ProcessStarted:
    log = daemon.log_path(ctx.state_dir, ctx.project, spec.process.name)
    return ProcessStarted(pid=running.pid, log=str(log))


def _probe(spec: ProcessUp, ctx: Context) -> ProbeResult[ProcessStarted]:
    process = spec.process
    running = daemon.find_running(ctx.state_dir, ctx.project, process.name, sleep=ctx.sleep)
    if running is None or running.operation != ctx.operation:
        if ctx.progress is not None:
            return HalfDone("what ran before was being stopped, and nothing was started yet")
        return NotDone("this step has started nothing yet")
    if process.ready is not None and not _is_ready(process.ready, timeout_s=_ANSWER_TIMEOUT_S):
        return HalfDone(f"pid {running.pid} runs and is not ready yet")
    return Done(_outputs(spec, ctx, running), f"pid {running.pid} runs and is ready")


def _describe(spec: ProcessUp) -> str:
    verb = "restart" if spec.restart else "start, where it does not run,"
    return f"{verb} `{spec.process.name}`: {shlex.join(spec.process.argv)}"


def _by_hand(spec: ProcessUp) -> Sequence[str]:
    process = spec.process
    start = " ".join([*assignments(process.environment), "setsid", shlex.join(process.argv)])
    commands = [
        f"cd {shlex.quote(str(process.directory))}",
        f"{start} </dev/null >>{process.name}.log 2>&1 &",
    ]
    return [*commands, f"curl -f '{process.ready.get}'"] if process.ready else commands


def _preflight(spec: ProcessUp, _ctx: Context) -> Sequence[str]:
    return missing_program(spec.process)


def missing_program(process: Process) -> list[str]:
    """What is missing to start it, as far as that can be told before the code is checked out."""
    program = process.argv[0]
    if "/" in program and not Path(program).is_absolute():
        return []
    if shutil.which(program):
        return []
    return [f"there is no program `{program}`, which `{process.name}` is started with"]


STEP = StepKind(
    spec=ProcessUp,
    outputs=ProcessStarted,
    effect=Effect.CHANGES,
    rerun=Rerun.PROBE,
    describe=_describe,
    run=_run,
    probe=_probe,
    holds="process",
    by_hand=_by_hand,
    preflight=_preflight,
)
