"""Work with a container engine that may restart meanwhile."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from runbook.errors import EngineGone, Unfit
from runbook.kinds import Context
from runbook.tools import docker
from runbook.tools.containers import POLL_S

if TYPE_CHECKING:
    from docker import DockerClient

_T = TypeVar("_T")


def over_restarts(work: "Callable[[DockerClient], _T]", ctx: Context, *, within_s: float) -> _T:
    """Do work, and do it anew as often as the engine has gone meanwhile.

    Raises:
        EngineGone: it has gone and does not come back, or goes again and again, for so long.
    """
    gone: EngineGone | None = None
    until = 0.0
    while True:
        try:
            with docker.engine() as client:
                return work(client)
        except EngineGone as error:
            if gone is None:
                ctx.log(f"{error.message}; waiting for it")
                until = time.monotonic() + within_s
            gone = error
        except Unfit:
            if gone is None:
                raise
        if time.monotonic() > until:
            raise gone
        ctx.show("waiting for the container engine")
        ctx.sleep(POLL_S)
