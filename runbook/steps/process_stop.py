"""Stop a local long-running process for good."""

from collections.abc import Sequence

from runbook.core.plan import Effect, Rerun
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
from runbook.resources import Process
from runbook.tools import daemon
from runbook.units import format_duration


class ProcessStop(Spec):
    """Stop a local long-running process for good.

    Example:
        id: stop
        uses: process_stop
        with: {process: web}
    """

    process: Resource[Process]
    """The process to stop, with everything that it started and that stayed in its session."""


class ProcessStopped(Outputs):
    """What was stopped."""

    was_running: bool
    """Whether it ran."""
    pid: int | None
    """The process id that it had."""


def _run(spec: ProcessStop, ctx: Context) -> Result[ProcessStopped]:
    process = spec.process
    running = daemon.find_running(ctx.state_dir, ctx.project, process.name, sleep=ctx.sleep)
    if running is not None:
        ctx.record_progress({"pid": running.pid})
        ctx.log(f"stopping `{process.name}`, pid {running.pid}")
    daemon.stop(process, state_dir=ctx.state_dir, project=ctx.project, sleep=ctx.sleep)
    outputs = _outputs(ctx)
    if not outputs.was_running:
        ctx.log(f"`{process.name}` does not run")
    return Result(outputs, outputs.was_running)


def _outputs(ctx: Context) -> ProcessStopped:
    pid = (ctx.progress or {}).get("pid")
    return ProcessStopped(was_running=pid is not None, pid=int(str(pid)) if pid else None)


def _probe(spec: ProcessStop, ctx: Context) -> ProbeResult[ProcessStopped]:
    running = daemon.find_running(ctx.state_dir, ctx.project, spec.process.name, sleep=ctx.sleep)
    if running is not None and ctx.progress is None:
        return NotDone(f"pid {running.pid} runs, and nothing was sent to it")
    if running is not None:
        return HalfDone(f"pid {running.pid} still runs")
    if ctx.progress is None:
        return NotDone("nothing ran")
    if daemon.is_recorded(ctx.state_dir, ctx.project, spec.process.name):
        return HalfDone("it ended; what it left behind may still run")
    outputs = _outputs(ctx)
    return Done(outputs, f"pid {outputs.pid} does not run any more")


def _describe(spec: ProcessStop) -> str:
    return f"stop `{spec.process.name}`, within {format_duration(spec.process.stop_grace)}"


def _by_hand(spec: ProcessStop) -> Sequence[str]:
    return [f"pkill -TERM -s PID  # the pid of `{spec.process.name}`: its session's id too"]


STEP = StepKind(
    spec=ProcessStop,
    outputs=ProcessStopped,
    effect=Effect.CHANGES,
    rerun=Rerun.PROBE,
    describe=_describe,
    run=_run,
    probe=_probe,
    holds="process",
    by_hand=_by_hand,
)
