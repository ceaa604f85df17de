"""The commands that are killed, and from where each starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

QUICK = {"monitoring_duration": "300ms", "monitoring_interval": "50ms"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A command that is to be killed."""

    name: str
    start: Literal["v1", "v2"]
    """The release that is deployed and serves before."""
    command: Literal["run", "rollback"]
    given: Mapping[str, str]
    exit_status: int
    """Of an undisturbed run."""


DEPLOY = Scenario(
    name="deploy", start="v1", command="run", given={"revision": "v2"} | QUICK, exit_status=0
)
BAD_DEPLOY = Scenario(
    name="bad deploy and its rollback",
    start="v1",
    command="run",
    given={"revision": "v3"} | QUICK,
    exit_status=3,
)
ROLLBACK = Scenario(
    name="rollback by hand",
    start="v2",
    command="rollback",
    given={"data": "restore", "confirm": "true"},
    exit_status=0,
)
SCENARIOS = (DEPLOY, BAD_DEPLOY, ROLLBACK)
