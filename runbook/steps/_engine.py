"""Work with a container engine that may restart meanwhile."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from runbook.errors import EngineGone, StepError
from runbook.kinds import Context
from runbook.tools import docker
from runbook.tools.containers import POLL_S

if TYPE_CHECKING:
    from docker import DockerClient

_T = TypeVar("_T")


def over_restarts(work: "Callable[[DockerClient], _T]", ctx: Context, *, within_s: float) -> _T:
    """Do work that may be done again, again each time that the engine has gone meanwhile.

    Raises:
        EngineGone: it has gone, and does so still after that time.
    """
    gone: EngineGone | None = None
    until = 0.0
    while True:
        try:
            with docker.engine() as client:
                return work(client)
        except EngineGone as error:
            until = until or time.monotonic() + within_s
            gone = error
        except StepError as error:
            error.changed |= gone is not None
            raise
        ctx.log(f"{gone.message}; waiting for it")
        ctx.sleep(POLL_S)
        while docker.missing_engine() and time.monotonic() < until:
            ctx.show("waiting for the container engine")
            ctx.sleep(POLL_S)
        if time.monotonic() >= until:
            raise gone
