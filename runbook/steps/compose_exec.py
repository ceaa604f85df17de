"""Run a command in a running container of a service."""

import shlex
from collections.abc import Sequence

from pydantic import Field

from runbook.core.plan import Effect
from runbook.errors import CommandFailed, StepError
from runbook.kinds import Context, Outputs, ProbeResult, Resource, Result, Spec, StepKind, Unknown
from runbook.resources import Compose, PossiblySecret
from runbook.tools import docker
from runbook.tools.process import Command


class ComposeExec(Spec):
    """Run a command in a running container of a service.

    By the project's label. Nobody can tell afterwards whether a command that was in doubt had
    ended: say `rerun: safe` if it may be repeated, else a person is asked.

    Example:
        id: warm_up
        uses: compose_exec
        with: {stack: stack, service: backend, command: [npm, run, "cache:warm"]}
        rerun: safe
    """

    stack: Resource[Compose]
    """The stack."""
    service: str
    """In whose container; of several, in the first."""
    command: list[str] = Field(min_length=1)
    """Program and arguments; no shell."""
    environment: dict[str, PossiblySecret] = Field(default_factory=dict)
    """Variables that it gets besides the container's; the place for secrets."""
    user: str | None = None
    """As whom; absent: as the container."""


class ExecEnded(Outputs):
    """How it ended."""

    exit_code: int
    """Always 0."""
    stdout: str
    """The last 1 MiB of what it printed."""


def _run(spec: ComposeExec, ctx: Context) -> Result[ExecEnded]:
    ended = ctx.run(_command(spec, _container(spec)))
    if ended.exit_code != 0:
        raise CommandFailed(
            f"`{_title(spec)}` ended with exit code {ended.exit_code}, expected 0",
            where=f"service `{spec.service}`",
            output_tail=ended.tail,
        )
    return Result(ExecEnded(exit_code=0, stdout=ended.stdout), changed=True)


def _container(spec: ComposeExec) -> str:
    with docker.engine() as client:
        there = docker.containers(client, spec.stack.project, spec.service)
        running = [each for each in there if each.status == "running"]
    if not running:
        raise StepError(
            f"no container of service `{spec.service}` runs in stack `{spec.stack.name}`",
            hint="put a `compose_up` step before this one",
            changed=False,
        )
    return str(running[0].name)


def _command(spec: ComposeExec, container: str) -> Command:
    return Command(
        argv=("docker", "exec", *_options(spec), container, *spec.command),
        environment=spec.environment,
    )


def _options(spec: ComposeExec) -> list[str]:
    variables = [word for name in spec.environment for word in ("--env", name)]
    return [*variables, *(["--user", spec.user] if spec.user else [])]


def _probe(_spec: ComposeExec, _ctx: Context) -> ProbeResult[ExecEnded]:
    return Unknown("nothing in the container tells whether the command had ended")


def _title(spec: ComposeExec) -> str:
    return shlex.join(spec.command)


def _by_hand(spec: ComposeExec) -> Sequence[str]:
    enter = ("docker", "compose", "--project-name", spec.stack.project, "exec", "-T")
    argv = (*enter, *_options(spec), spec.service, *spec.command)
    return [Command(argv=argv, environment=spec.environment).typed()]


STEP = StepKind(
    spec=ComposeExec,
    outputs=ExecEnded,
    effect=Effect.CHANGES,
    rerun=None,
    describe=lambda spec: f"run `{_title(spec)}` in `{spec.service}`",
    run=_run,
    probe=_probe,
    by_hand=_by_hand,
    preflight=lambda _spec, _ctx: docker.missing_engine(),
)
