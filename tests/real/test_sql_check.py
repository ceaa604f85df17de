"""sql_check on a PostgreSQL that is a service of a stack."""

import re
from typing import Any

import pytest

from runbook.errors import CheckFailed
from runbook.steps.sql_check import STEP, SqlCheck
from tests.real.conftest import MakeStack, Stack
from tests.real.postgres_shop import COMPOSE, DATABASE, bring_up

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    stack = make_stack(COMPOSE.format(version="17"))
    bring_up(stack)
    words = ["psql", "-U", "boss", "-d", "shop", "-c"]
    stack.compose("exec", "-T", "postgres", *words, "CREATE TABLE a AS SELECT 7 AS n")
    return stack


def run(stack: Stack, *items: dict[str, Any], **fields: Any) -> Any:
    spec = SqlCheck.model_validate({"database": DATABASE, "checks": [*items], **fields})
    return STEP.run(spec, stack.context(step_id="data", resources={"db": DATABASE}))


def test_answers_of_a_real_server_are_judged(stack: Stack) -> None:
    many = "SELECT generate_series(1, 100000000)"

    outputs = run(
        stack,
        {"query": "SELECT n FROM a;", "equals": 7},
        {"query": "SELECT sum(n) / 2.0 FROM a", "equals": 3.5},
        {"query": "SELECT n = 7 FROM a", "equals": True},
        {"query": "SELECT '2001-02-03'::date", "equals": "2001-02-03"},
        {"query": "SHOW server_encoding", "equals": "UTF8"},
        {"query": many, "at_least": 2},
        {"query": "SELECT '100%'", "equals": "100%"},
    )

    assert [(r.found, r.ok) for r in outputs.results if not r.ok] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("DROP TABLE a", "cannot execute DROP TABLE in a read-only transaction"),
        ("COMMIT; DROP TABLE a", "cannot insert multiple commands"),
        ("SELECT 1 FROM nothing", 'relation "nothing" does not exist'),
        ("SELECT pg_sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_what_a_server_refuses_is_said_and_changes_nothing(
    stack: Stack, query: str, said: str
) -> None:
    with pytest.raises(CheckFailed, match=re.escape(said)):
        run(stack, {"query": query}, {"query": "SELECT n FROM a", "equals": 7}, timeout=0.5)
    run(stack, {"query": "SELECT n FROM a", "equals": 7})


def test_a_server_that_does_not_run_is_started_and_one_that_was_never_there_fails(
    stack: Stack, make_stack: MakeStack
) -> None:
    stack.compose("stop", "postgres")

    run(stack, {"query": "SELECT n FROM a", "equals": 7})
    with pytest.raises(CheckFailed, match="has no container yet"):
        run(make_stack(COMPOSE.format(version="17")), {"query": "SELECT 1"})
