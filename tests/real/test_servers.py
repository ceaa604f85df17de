"""Servers that are services of a stack: which container is taken for one, started, and asked."""

from typing import Any

import pytest

from runbook.errors import Unfit
from runbook.resources import S3, Postgres
from runbook.restore.buckets import missing_for
from runbook.restore.postgres import PostgresWay
from runbook.tools import servers
from tests.real.conftest import MakeStack, Stack

pytestmark = [pytest.mark.real, pytest.mark.slow]

FILES = S3(name="files", service="stack/server", bucket="files", access_key="a", secret_key="b")
DATABASE = Postgres(name="db", service="stack/server", database="shop", user="boss")
SLEEP = ["sleep", "600"]
PLACE = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    """A stack without a container."""
    return make_stack("")


def make(stack: Stack, name: str, *words: str, verb: str = "run") -> str:
    """A container of its service `server`; its name."""
    name = f"{stack.project}-{name}"
    labels = {"project": stack.project, "service": "server", "oneoff": "False"}
    told = [f"--label=com.docker.compose.{key}={value}" for key, value in labels.items()]
    detach = ["--detach"] if verb == "run" else []
    stack.docker(verb, *detach, "--init", *told, "--name", name, "--entrypoint=", *words)
    return name


def asked(stack: Stack, name: str, template: str) -> str:
    return stack.docker("inspect", "--format", template, name).strip()


@pytest.mark.parametrize(
    "words",
    [
        ["--network=none", "runbook-test/python:1", *SLEEP],
        ["--restart=always", "runbook-test/python:1", "sh", "-c", "exit 1"],
        ["runbook-test/python:1", "sh", "-c", "exit 1"],
    ],
    ids=["without-network", "crash-loop", "ends-at-once"],
)
def test_a_server_without_an_address_is_not_looked_for_on_this_machine(
    stack: Stack, words: list[str]
) -> None:
    name = make(stack, "a", *words)
    looked = "{{.RestartCount}} {{.State.Status}}"
    if "--restart=always" in words:
        stack.eventually(lambda: asked(stack, name, looked) > "3 rest", "it is started in vain")

    with pytest.raises(Unfit) as refused:
        PostgresWay(DATABASE).reach(stack.context(), patience_s=0.5)

    assert "127.0.0.1" not in refused.value.message


@pytest.mark.parametrize("state", ["created", "exited"])
def test_what_is_left_of_a_replaced_server_is_not_started_beside_the_live_one(
    stack: Stack, state: str
) -> None:
    left = make(stack, "a", "runbook-test/python:1", "true", verb="create")
    if state == "exited":
        stack.docker("start", left)
        stack.eventually(lambda: asked(stack, left, "{{.State.Status}}") == "exited", "it ends")
    live = make(stack, "b", "runbook-test/python:1", *SLEEP)
    context = stack.context()

    (silent,) = missing_for(FILES, context)

    assert asked(stack, live, PLACE) in silent
    assert asked(stack, left, "{{.State.Status}}") == state
    assert context.logged == []


def test_a_server_is_not_started_on_data_that_another_container_writes(stack: Stack) -> None:
    volume = f"--volume={stack.project}_data:/data"
    idle = make(stack, "a", volume, "runbook-test/python:1", *SLEEP, verb="create")
    labels = [f"--label=com.docker.compose.project={stack.project}"]
    other = f"{stack.project}-other"
    stack.docker(
        "run",
        "--detach",
        "--init",
        *labels,
        "--name",
        other,
        volume,
        "--entrypoint=",
        "runbook-test/python:1",
        *SLEEP,
    )

    (refused,) = missing_for(FILES, stack.context())

    assert f"in use by `{other}`" in refused
    assert asked(stack, idle, "{{.State.Status}}") == "created"


def test_a_paused_server_is_woken(stack: Stack) -> None:
    paused = make(stack, "a", "runbook-test/python:1", *SLEEP)
    stack.docker("pause", paused)

    (silent,) = missing_for(FILES, stack.context())

    assert asked(stack, paused, PLACE) in silent
    assert asked(stack, paused, "{{.State.Status}}") == "running"


def test_a_server_is_at_its_own_address_or_at_that_of_the_network_it_shares(stack: Stack) -> None:
    owner = make(stack, "b", "runbook-test/python:1", *SLEEP)
    expected = {"a": asked(stack, owner, PLACE), "0": "127.0.0.1"}
    make(stack, "a", f"--network=container:{owner}", "runbook-test/python:1", *SLEEP)

    assert host_of(stack) == expected["a"]
    make(stack, "0", "--network=host", "runbook-test/python:1", *SLEEP)
    assert host_of(stack) == expected["0"]


def host_of(stack: Stack) -> str:
    context: Any = stack.context()
    found = servers.running(
        FILES,
        context.resources,
        data_dirs=servers.writable_mounts,
        check=context.check,
        log=context.log,
    )
    return found.host
