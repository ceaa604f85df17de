"""service_check, sql_check, compose_exec and compose_down on a real engine."""

from typing import Any

import pytest

from runbook.errors import CheckFailed, CommandFailed, StepError
from runbook.kinds import Result
from runbook.steps import compose_down, compose_exec, service_check, sql_check
from runbook.steps.compose_down import ComposeDown
from runbook.steps.compose_exec import ComposeExec
from runbook.steps.service_check import ServiceCheck
from runbook.steps.sql_check import SqlCheck
from tests.real.conftest import MakeStack, Stack
from tests.real.postgres_shop import COMPOSE, Shop, bring_up

pytestmark = [pytest.mark.real, pytest.mark.slow]

STACK = """
    services:
      well:
        image: runbook-test/python:1
        command: [sleep, "600"]
        healthcheck: {test: [CMD, "true"], interval: 30s}
      ill:
        image: runbook-test/python:1
        command: [sleep, "600"]
        healthcheck: {test: [CMD-SHELL, "exit 3"], interval: 30s}
    volumes: {kept: {}}
"""


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    stack = make_stack(STACK)
    stack.compose("up", "--detach")
    return stack


def checked(stack: Stack, **fields: Any) -> Any:
    baseline = fields.pop("baseline", {})
    spec = ServiceCheck(stack=stack.resource, **fields)
    return service_check.STEP.run(spec, stack.context(baseline=baseline))


def test_every_service_is_looked_at_and_the_ill_one_named(stack: Stack) -> None:
    with pytest.raises(CheckFailed) as caught:
        checked(stack, services=["well", "ill", "absent"])

    assert "2 of 3 checks failed" in caught.value.message
    assert "its health test ends with exit code 3" in caught.value.message
    assert "absent: expected it to run" in caught.value.message


def test_what_is_optional_is_only_reported(stack: Stack) -> None:
    outputs = checked(stack, services=["well"], optional=["ill"])

    assert [(each.name, each.ok) for each in outputs.results] == [("well", True), ("ill", False)]


def test_what_was_ill_before_the_run_does_not_count(stack: Stack) -> None:
    spec = ServiceCheck(stack=stack.resource, services=["ill"])
    assert service_check.STEP.baseline is not None
    baseline = service_check.STEP.baseline(spec, stack.context())

    outputs = checked(stack, services=["ill"], baseline=baseline)

    assert outputs.results[0].was_broken


def test_a_command_runs_in_the_services_container(stack: Stack) -> None:
    spec = ComposeExec(
        stack=stack.resource,
        service="well",
        command=["sh", "-c", "echo $WHO"],
        environment={"WHO": "me"},
    )

    result = compose_exec.STEP.run(spec, stack.context())

    assert isinstance(result, Result)
    assert result.outputs.stdout == "me\n"


def test_a_command_that_fails_or_has_no_container_says_so(stack: Stack) -> None:
    fails = ComposeExec(stack=stack.resource, service="well", command=["sh", "-c", "exit 5"])
    nowhere = ComposeExec(stack=stack.resource, service="absent", command=["true"])

    with pytest.raises(CommandFailed) as failed:
        compose_exec.STEP.run(fails, stack.context())
    with pytest.raises(StepError) as absent:
        compose_exec.STEP.run(nowhere, stack.context())

    assert "exit code 5" in failed.value.message
    assert "no container of service `absent` runs" in absent.value.message


def test_a_stack_is_taken_down_and_its_volumes_stay(stack: Stack) -> None:
    stack.docker("volume", "create", "--label", "a=b", f"{stack.project}_kept")
    stack.write("services: [broken")
    spec = ComposeDown(stack=stack.resource)

    first = compose_down.STEP.run(spec, stack.context())
    second = compose_down.STEP.run(spec, stack.context())

    volumes = stack.docker("volume", "ls", "-q", "--filter", f"name={stack.project}_kept")
    stack.docker("volume", "rm", f"{stack.project}_kept")
    assert stack.containers() == {}
    assert volumes.strip() == f"{stack.project}_kept"
    assert isinstance(first, Result) and first.changed
    assert isinstance(second, Result) and not second.changed


def test_a_database_is_asked_and_cannot_be_changed_by_a_question(make_stack: MakeStack) -> None:
    shop = Shop(stack=make_stack(COMPOSE.format(version="17")), completed=[])
    bring_up(shop.stack)
    shop.sql("CREATE TABLE a (n int); INSERT INTO a VALUES (1), (2)")
    good = [
        {"query": "SELECT count(*) FROM a", "equals": 2},
        {"query": "SELECT 'x'", "equals": "x"},
        {"query": "SELECT 1", "equals": 2, "required": False},
    ]
    spec = SqlCheck.model_validate(
        {"database": "db", "checks": good}, context={"resources": {"db": shop.database}}
    )
    changes = SqlCheck.model_validate(
        {"database": "db", "checks": [{"query": "DELETE FROM a", "equals": 0}]},
        context={"resources": {"db": shop.database}},
    )

    outputs = sql_check.STEP.run(spec, shop.context("check"))
    with pytest.raises(CheckFailed) as caught:
        sql_check.STEP.run(changes, shop.context("check"))

    assert isinstance(outputs, sql_check.SqlChecked)
    assert [each.ok for each in outputs.results] == [True, True, False]
    assert "read-only" in caught.value.message
    assert shop.sql("SELECT count(*) FROM a") == "2"
