"""Wait until services of a stack are ready, or one that counts never will be.

What was not ready in the same way before the run changed anything does not count, nor what its
runbook calls optional: it is waited for no longer than the others, and told.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runbook.errors import StepError
from runbook.kinds import Context
from runbook.resources import Compose
from runbook.tools import docker
from runbook.tools.compose import Service
from runbook.tools.containers import NO_CONTAINER, POLL_S, log_tail, readiness
from runbook.units import format_duration

if TYPE_CHECKING:
    from docker import DockerClient

_COMPLETED = "service_completed_successfully"


def key(stack: Compose, service: str) -> str:
    """What a service that is not well is called in a baseline."""
    return f"service {stack.project}/{service}"


def flaw_of(client: "DockerClient", stack: Compose, service: str) -> str | None:
    """What is wrong with a service; None: nothing."""
    there = docker.containers(client, stack.project, service)
    if not there:
        return NO_CONTAINER
    for container in there:
        now = readiness(client, str(container.id))
        if not now.is_ready:
            return now.says
    return None


def one_shots(found: Mapping[str, Service]) -> set[str]:
    """Services that others wait for to end: done once, they are done."""
    waits = (each.needs.items() for each in found.values())
    return {need for needs in waits for need, how in needs if how == _COMPLETED}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lack:
    """Why a service is not ready."""

    says: str
    never: StepError | None = None
    """It never will be."""


@dataclass(slots=True, kw_only=True)
class Waiting:
    """Waits for services, all together no longer than so long."""

    client: "DockerClient"
    stack: Compose
    found: Mapping[str, Service]
    ctx: Context
    within_s: float
    optional: Collection[str]
    unready: dict[str, str] = field(default_factory=dict)
    """Those that were not ready and did not count, with the reason."""
    _until: float = 0.0

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.within_s

    def wait(self, names: Sequence[str]) -> None:
        """Until each of these is ready.

        Raises:
            StepError: one that counts is not, and never will be or has had its time.
        """
        waiting = list(names)
        while waiting:
            lacks = self._look(waiting)
            never = [name for name in waiting if (lack := lacks[name]) and lack.never]
            for name in never:
                self._pass_over(name, lacks)
            waiting = [name for name in waiting if lacks[name] and name not in never]
            is_late = time.monotonic() > self._until
            if is_late or all(name in self.optional for name in waiting):
                for name in waiting:
                    self._pass_over(name, lacks)
                return
            self.ctx.show(
                "waiting for "
                + ", ".join(f"{name}: {lack.says}" for name, lack in lacks.items() if lack)
            )
            self.ctx.sleep(POLL_S)

    def _look(self, names: Sequence[str]) -> dict[str, _Lack | None]:
        """At all of them at the same time."""
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            looks = {name: pool.submit(self._lack_of, self.found[name]) for name in names}
            return {name: look.result() for name, look in looks.items()}

    def _lack_of(self, service: Service) -> _Lack | None:
        there = docker.containers(self.client, self.stack.project, service.name)
        if not there and service.replicas:
            gone = StepError(f"service `{service.name}` has no container any more")
            return _Lack(says=NO_CONTAINER, never=gone)
        is_one_shot = service.name in one_shots(self.found)
        for container in there:
            now = readiness(self.client, str(container.id))
            is_done = now.has_ended and now.exit_code == 0
            if (is_done and (is_one_shot or service.restart == "no")) or (
                now.is_ready and not is_one_shot
            ):
                continue
            if not now.has_ended:
                return _Lack(says=now.says or "it has not ended yet")
            error = StepError(
                f"service `{service.name}` does not come up: {now.says}",
                where=f"container `{container.name}`",
                output_tail=log_tail(container),
            )
            return _Lack(says=now.says, never=error)
        return None

    def _pass_over(self, name: str, lacks: Mapping[str, _Lack | None]) -> None:
        """Go on without a service that is not ready, if it does not count."""
        lack = lacks[name]
        assert lack is not None
        was_so = self.ctx.baseline.get(key(self.stack, name)) == lack.says
        if not was_so and name not in self.optional:
            raise lack.never or self._late(name, lack.says)
        if name not in self.unready:
            why = "it was not before, either" if was_so else "it is optional"
            self.ctx.log(f"service `{name}` is not ready: {lack.says}; {why}")
        self.unready[name] = lack.says

    def _late(self, name: str, says: str) -> StepError:
        there = docker.containers(self.client, self.stack.project, name)
        return StepError(
            f"service `{name}` was not ready within {format_duration(self.within_s)}: {says}",
            where=f"service `{name}`",
            output_tail=log_tail(there[0]) if there else (),
        )
