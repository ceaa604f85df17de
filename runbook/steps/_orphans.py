"""Containers of a stack whose service its compose files do not name; they are never removed.

A rollback brings back what ran at its restore point: what has come since is stopped, and what ran
then and was stopped by a `compose_stop` is started. Anything else is only told.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.errors import Unfit
from runbook.kinds import Context
from runbook.resources import Compose
from runbook.restore.choice import loaded_point
from runbook.tools import compose, docker, halted
from runbook.tools.containers import set_restart_policy, stop_for_good
from runbook.tools.halted import RUNS, Halted

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """The orphans of a stack."""

    client: "DockerClient"
    stack: Compose
    named: Collection[str]
    """The services that the files name, in whichever profile."""
    ran: Collection[str] | None
    """The services that ran at the restore point; None: no rollback, or nobody looked."""
    ctx: Context

    @classmethod
    def of(
        cls, client: "DockerClient", stack: Compose, named: Collection[str], ctx: Context
    ) -> "Orphans":
        """Those that a stack has, whose compose files name these services."""
        found = {docker.service_of(each) for each in docker.containers(client, stack.project)}
        if found - set(named):
            with suppress(Unfit):  # what is wrong in a profile that is off holds up nothing
                named = compose.names_in_every_profile(stack)
        return cls(client=client, stack=stack, named=named, ran=_ran_then(stack, ctx), ctx=ctx)

    def stop_new(self) -> None:
        """Stop those that run now and did not at the restore point."""
        for container in self._there():
            service = docker.service_of(container)
            if self.ran is None or service in self.ran or container.status not in RUNS:
                continue
            stop_for_good(self.client, str(container.id), grace_s=None, log=self.ctx.log)
            self.ctx.log(
                f"stopped `{container.name}`: no compose file names service `{service}`, which"
                f" did not run at the restore point; to remove it: docker rm {container.name}"
            )

    def start_old(self) -> None:
        """Start those that ran at the restore point and that a step has stopped."""
        stopped = {each.id: each for each in _halted(self.ctx) if each.ran}
        for container in self._there():
            then = stopped.get(str(container.id))
            ran = docker.service_of(container) in (self.ran or ())
            if then is None or not ran or container.status in RUNS:
                continue
            set_restart_policy(self.client, str(container.id), then.restart)
            container.start()
            self.ctx.log(f"started `{container.name}`, which ran at the restore point")

    def tell(self) -> list[str]:
        """The names of those that run; logged with what stops them."""
        names = [str(each.name) for each in self._there() if each.status in RUNS]
        for name in names:
            self.ctx.log(
                f"`{name}` runs, whose service no compose file names;"
                f" to remove it: docker rm --force {name}"
            )
        return names

    def _there(self) -> "Sequence[Container]":
        there = docker.containers(self.client, self.stack.project)
        return [each for each in there if docker.service_of(each) not in self.named]


def _ran_then(stack: Compose, ctx: Context) -> set[str] | None:
    if ctx.undone is None:
        return None
    with suppress(Unfit):
        manifest = loaded_point(ctx).manifest
        if manifest.processes or not manifest.served:
            running = (name for name, ran in manifest.processes.items() if ran)
            found = (name.partition("/") for name in running)
            return {service for name, _, service in found if name == stack.name}
    return None


def _halted(ctx: Context) -> list[Halted]:
    """What this run has stopped, and the one that it undoes before it: that knows the policies."""
    steps = [*ctx.completed, *(ctx.undone.completed if ctx.undone else ())]
    stops = [step for step in steps if step.kind == "compose_stop"]
    return [each for step in stops for each in halted.noted(step.outputs)]
