"""Containers that others act on at the same time, looked at and stopped on a real engine."""

import subprocess

import pytest

from runbook.tools import docker
from runbook.tools.containers import NO_CONTAINER, readiness, stop_for_good
from tests.conftest import is_ci
from tests.real.conftest import MakeStack, Stack
from tests.real.relay import Relay

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return make_stack("services: {}")


def name_in(stack: Stack) -> str:
    return f"{stack.project}-web-1"


def start(stack: Stack, *words: str) -> str:
    """A container that goes on running; its id."""
    name = name_in(stack)
    stack.create(name, "exec sleep 600", *words)
    stack.docker("start", name)
    return stack.docker("inspect", "--format", "{{.Id}}", name).strip()


def test_one_that_is_removed_meanwhile_is_none(engine: None) -> None:
    with docker.engine() as client:
        assert readiness(client, "0" * 64).says == NO_CONTAINER


def test_a_health_test_that_takes_too_long_leaves_nothing_running(stack: Stack) -> None:
    hangs = ["--health-cmd", "sleep 77; true", "--health-timeout", "1s", "--health-interval", "1h"]
    found = start(stack, *hangs)

    with docker.engine() as client:
        now = readiness(client, found)

    assert now.says == "its health test has not ended within 1 s"
    assert "sleep 77" not in stack.docker("top", found)


def test_one_that_somebody_unpauses_at_the_same_time_is_stopped(stack: Stack, relay: Relay) -> None:
    found = start(stack)
    stack.docker("pause", found)

    def unpause(told: bytes) -> bool:
        if b"/unpause" in told:
            stack.docker("unpause", found)
        return False

    relay.refuses = unpause

    with docker.engine() as client:
        stop_for_good(client, found, grace_s=0, log=print)

    assert not stack.containers()[name_in(stack)]["State"]["Running"]


def test_one_whose_removal_has_failed_counts_as_stopped(stack: Stack) -> None:
    found = start(stack)
    stack.docker("stop", "--time", "0", found)
    layer = stack.containers()[name_in(stack)]["GraphDriver"]["Data"]["UpperDir"]
    if subprocess.run(["chattr", "+i", layer], check=False).returncode != 0:
        assert not is_ci()
        pytest.skip("the engine's files cannot be made immutable")
    try:
        subprocess.run(["docker", "rm", found], check=False)
        was_dead = stack.containers()[name_in(stack)]["State"]["Dead"]
        with docker.engine() as client:
            stop_for_good(client, found, grace_s=0, log=print)
    finally:
        subprocess.run(["chattr", "-i", layer], check=True)

    assert was_dead
