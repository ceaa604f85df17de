"""What containers are up to: whether they are ready, and how they are stopped for good.

Ready is what a container's own health test says now: it is run in the container, at once and again
and again, instead of waiting for the engine's next round (30 s by default).
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

NO_CONTAINER = "it has no container"
POLL_S = 0.25
"""Between two looks at a container that is not ready yet."""
_EXEC_POLL_S = 0.02
_TEST_TIMEOUT_S = 30.0
_SETTLES_S = 1.0
"""A container without a health test is ready once it has run for so long."""
_UPDATE_TRIES = 100
_UPDATE_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How a container is."""

    is_ready: bool = False
    has_ended: bool = False
    """It does not run, and nothing will start it by itself."""
    exit_code: int | None = None
    """Of one that has ended."""
    says: str = ""
    """Why it is not ready, for people."""


def readiness(client: "DockerClient", container_id: str) -> Readiness:
    """How a container is right now."""
    from docker.errors import NotFound

    try:
        inspected: dict[str, Any] = client.api.inspect_container(container_id)
    except NotFound:
        return Readiness(says=NO_CONTAINER)
    state = inspected["State"]
    if not state["Running"] or state.get("Restarting"):
        code = int(state.get("ExitCode") or 0)
        # One that its policy starts again is `restarting`, from the moment of its end.
        has_ended = state["Status"] in ("exited", "dead")
        is_looping = int(inspected.get("RestartCount") or 0) > 2
        return Readiness(
            has_ended=has_ended or is_looping,
            exit_code=code,
            says=f"it has ended with exit code {code}"
            if state["Status"] != "created"
            else "it was created and not started",
        )
    if state.get("Paused"):
        return Readiness(says="it is paused")
    test = (inspected["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
    if test[0] == "NONE":
        return _has_settled(inspected)
    flaw = _flaw_of(client, container_id, inspected, test)
    return Readiness(is_ready=flaw is None, says=flaw or "")


def is_well_by_the_engine(container: "Container") -> bool:
    """Whether it runs and passed its health test, if it has one, in the engine's last round."""
    state: dict[str, Any] = container.attrs["State"]
    health = (state.get("Health") or {}).get("Status", "healthy")
    is_running = state["Running"] and not state.get("Paused") and not state.get("Restarting")
    return bool(is_running) and health == "healthy"


def _has_settled(inspected: dict[str, Any]) -> Readiness:
    from datetime import UTC, datetime

    began = datetime.fromisoformat(inspected["State"]["StartedAt"])
    has_settled = (datetime.now(UTC) - began).total_seconds() >= _SETTLES_S
    return Readiness(is_ready=has_settled, says="" if has_settled else "it has only just started")


def _flaw_of(
    client: "DockerClient", container_id: str, inspected: dict[str, Any], test: Sequence[str]
) -> str | None:
    """What the health test finds wrong; None: nothing."""
    from docker.errors import APIError

    shell = inspected["Config"].get("Shell") or ["/bin/sh", "-c"]
    argv = list(test[1:]) if test[0] == "CMD" else [*shell, *test[1:]]
    nanoseconds = inspected["Config"]["Healthcheck"].get("Timeout") or 0
    timeout_s = nanoseconds / 1e9 or _TEST_TIMEOUT_S
    try:
        code = execute(client, container_id, argv, timeout_s=timeout_s)
    except APIError as error:  # such as for a container that has ended since it was looked at
        return f"its health test cannot be run: {error.explanation or error}"
    if code == 0:
        return None
    if code is None:
        return f"its health test has not ended within {timeout_s:g} s"
    return f"its health test ends with exit code {code}"


def execute(
    client: "DockerClient", container_id: str, argv: Sequence[str], *, timeout_s: float
) -> int | None:
    """Run a command in a container for its exit code; None: it was killed, as it took too long."""
    created = client.api.exec_create(container_id, list(argv), stdout=False, stderr=False)
    client.api.exec_start(created["Id"], detach=True)
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        ended = client.api.exec_inspect(created["Id"])
        if not ended["Running"] and ended["ExitCode"] is not None:
            return int(ended["ExitCode"])
        time.sleep(_EXEC_POLL_S)
    _kill(int(client.api.exec_inspect(created["Id"])["Pid"]), container_id)
    return None


def _kill(pid: int, container_id: str) -> None:
    """Kill a command in a container, with all that it has started, where it is ours to see."""
    with suppress(OSError):
        if container_id in Path(f"/proc/{pid}/cgroup").read_text():
            os.killpg(pid, signal.SIGKILL)


def printed(container: "Container", *, tail: Literal["all"] | int = "all") -> bytes:
    """What a container has printed; nothing where it is gone, or its logging driver keeps none."""
    from docker.errors import APIError

    try:
        told: bytes = container.logs(tail=tail)
    except APIError:
        return b""
    return told


def last_lines(told: bytes, lines: int = 10) -> tuple[str, ...]:
    """The end of what was printed."""
    return tuple(told.decode("utf-8", "replace").splitlines()[-lines:])


def log_tail(container: "Container", lines: int = 10) -> tuple[str, ...]:
    """The last lines that a container has printed."""
    return last_lines(printed(container, tail=lines), lines)


# --- stopping and starting ------------------------------------------------------------------


def stop_for_good(
    client: "DockerClient",
    container_id: str,
    *,
    grace_s: float | None,
    log: Callable[[str], None],
) -> None:
    """Stop a container so that an engine's restart does not start it again; one gone is stopped."""
    from docker.errors import NotFound

    try:
        _stop_for_good(client, container_id, grace_s, log)
    except NotFound:
        log(f"container `{container_id[:12]}` is gone already")


def _stop_for_good(
    client: "DockerClient", container_id: str, grace_s: float | None, log: Callable[[str], None]
) -> None:
    from docker.errors import APIError

    _update_policy(client, container_id, "no", 0)
    inspected: dict[str, Any] = client.api.inspect_container(container_id)
    if not inspected["State"]["Running"]:
        return
    if inspected["State"].get("Paused"):
        with suppress(APIError):  # somebody else has; while it is paused, it refuses to stop
            client.api.unpause(container_id)
    own_s = inspected["Config"].get("StopTimeout")
    patience_s = int(grace_s if grace_s is not None else own_s if own_s is not None else 10)
    if client.api.base_url.startswith("http+docker:") and not can_hear(inspected):
        log(f"`{inspected['Name'].lstrip('/')}` does not hear its stop signal: killed at once")
        patience_s = 0
    client.api.stop(container_id, timeout=patience_s)


def can_hear(inspected: dict[str, Any]) -> bool:
    """Whether process 1 of a container hears SIGTERM: unhandled, the kernel does not deliver it.

    To wait for one that cannot hear is to wait for nothing (pid_namespaces(7)). In doubt it can: to
    kill one that can is to tear what it was about to write.
    """
    wanted = inspected["Config"].get("StopSignal") or "SIGTERM"
    if wanted not in ("SIGTERM", "15", "TERM"):
        return True
    process = Path(f"/proc/{int(inspected['State']['Pid'])}")
    try:
        lines = dict(
            line.split(":\t", 1)
            for line in (process / "status").read_text().splitlines()
            if ":\t" in line
        )
        heard = int(lines["SigCgt"], 16) | int(lines["SigBlk"], 16)
        is_first = lines["NSpid"].split()[-1] == "1"
        return (
            not is_first
            or bool(heard >> (signal.SIGTERM - 1) & 1)
            or _may_wait_for_signals(process)
        )
    except (OSError, KeyError, ValueError):
        return True  # not ours to see


def _may_wait_for_signals(process: Path) -> bool:
    """Whether a thread sits in sigwait, as inits do (`init: true`), or nobody tells where it sits.

    While it does, the kernel shows the signals that it waits for as neither caught nor blocked.
    """
    places = [(task / "wchan").read_text() for task in (process / "task").iterdir()]
    return any(place in ("", "0") or "sigtimedwait" in place for place in places)


def set_restart_policy(client: "DockerClient", container_id: str, wanted: str) -> None:
    """Give a container the restart policy that its service has in the compose file."""
    name, _, retries = wanted.partition(":")
    inspected: dict[str, Any] = client.api.inspect_container(container_id)
    found = inspected["HostConfig"].get("RestartPolicy") or {}
    if (found.get("Name") or "no") != (name or "no"):
        _update_policy(client, container_id, name or "no", int(retries or 0))


def _update_policy(client: "DockerClient", container_id: str, name: str, retries: int) -> None:
    from docker.errors import APIError

    policy: Any = {"Name": name, "MaximumRetryCount": retries}
    for more in reversed(range(_UPDATE_TRIES)):
        try:
            client.api.update_container(container_id, restart_policy=policy)
        except APIError as error:
            # One that ends in this very moment still counts as running, and the runtime refuses.
            if not more or not error.is_server_error():
                raise
            if client.api.inspect_container(container_id)["State"].get("Dead"):
                return  # what is left of a removal that failed: nothing starts it again
            time.sleep(_UPDATE_POLL_S)
        else:
            return
