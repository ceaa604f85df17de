"""sql_check on an SQLite database; on PostgreSQL: tests/real/test_sql_check.py."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from runbook.errors import CheckFailed
from runbook.steps.sql_check import STEP, SqlCheck, SqlChecked


def check(shop: Any, *items: dict[str, Any], **fields: Any) -> SqlCheck:
    return SqlCheck.model_validate({"database": shop.db, "checks": [*items], **fields})


def run(spec: SqlCheck, context: Any) -> SqlChecked:
    outputs = STEP.run(spec, context)
    assert isinstance(outputs, SqlChecked)
    return outputs


@pytest.mark.parametrize(
    "item",
    [
        {"query": "SELECT count(*) FROM orders", "equals": 20},
        {"query": "SELECT 1.50", "equals": 1.5},
        {"query": "SELECT item FROM orders LIMIT 1", "equals": "before"},
        {"query": "SELECT item FROM orders", "rows": 20},
        {"query": "SELECT item FROM orders", "at_least": 3},
        {"query": "SELECT item FROM orders WHERE item = 'x'", "rows": 0},
        {"query": "SELECT item FROM orders"},
    ],
)
def test_an_answer_that_is_as_expected_passes(shop: Any, item: dict[str, Any]) -> None:
    shop.fill(rows=20)

    outputs = run(check(shop, item), shop.deploy_context("data"))

    assert [result.ok for result in outputs.results] == [True]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"query": "SELECT count(*) FROM orders", "equals": 7}, "expected 7, found 20"),
        ({"query": "SELECT '7'", "equals": "8"}, 'expected "8", found "7"'),
        ({"query": "SELECT NULL", "equals": 0}, "expected 0, found null"),
        ({"query": "SELECT 1 WHERE 0", "equals": 1}, "expected 1, found no row"),
        ({"query": "SELECT 0", "equals": True}, "expected true, found 0"),
        ({"query": "SELECT 1 FROM orders", "rows": 3}, "expected 3 rows, found 4 rows or more"),
        ({"query": "SELECT 1 FROM orders", "at_least": 30}, "expected 30 rows or more, found 20"),
        ({"query": "SELECT 1 FROM nowhere"}, "expected an answer, found no such table: nowhere"),
        ({"query": "DELETE FROM orders"}, "attempt to write a readonly database"),
    ],
)
def test_what_was_expected_and_what_came_back_are_said(
    shop: Any, item: dict[str, Any], said: str
) -> None:
    shop.fill(rows=20)

    with pytest.raises(CheckFailed, match=re.escape(said)) as caught:
        run(check(shop, item), shop.deploy_context("data"))

    assert not caught.value.changed
    assert shop.count_orders() == 20


def test_all_checks_run_and_only_required_ones_fail(shop: Any) -> None:
    shop.fill(rows=20)
    context = shop.deploy_context("data")

    outputs = run(
        check(
            shop,
            {"query": "SELECT 1", "equals": 2, "required": False, "name": "optional"},
            {"query": "SELECT 1", "equals": 1},
        ),
        context,
    )

    assert [(r.name, r.ok) for r in outputs.results] == [("optional", False), ("SELECT 1", True)]
    assert context.logged == [
        "failed  optional: expected 2, found 1 (not required)",
        "ok      SELECT 1: 1",
    ]


def test_what_failed_in_the_same_way_before_the_run_does_not_count(shop: Any) -> None:
    shop.fill(rows=20)
    spec = check(shop, {"query": "SELECT count(*) FROM orders", "equals": 7})
    assert STEP.baseline is not None
    before = STEP.baseline(spec, shop.deploy_context("preflight"))

    outputs = run(spec, shop.deploy_context("data", baseline=before))
    shop.sql("DELETE FROM orders WHERE id = 1")

    assert outputs.results[0].was_broken
    with pytest.raises(CheckFailed, match="found 19"):
        run(spec, shop.deploy_context("data", baseline=before))


def test_a_database_that_is_not_there_yet_fails_and_is_not_taken_to_be_broken_before(
    shop: Any,
) -> None:
    spec = check(shop, {"query": "SELECT 1"})
    assert STEP.baseline is not None

    assert STEP.baseline(spec, shop.deploy_context("preflight")) == {}
    with pytest.raises(CheckFailed, match="there is no database"):
        run(spec, shop.deploy_context("data"))


def test_a_table_that_only_the_run_will_make_is_not_taken_to_be_broken_before(shop: Any) -> None:
    shop.fill()
    spec = check(shop, {"query": "SELECT 1 FROM brought_by_the_release"})
    assert STEP.baseline is not None

    assert STEP.baseline(spec, shop.deploy_context("preflight")) == {}


def test_an_answer_that_takes_too_long_fails(shop: Any) -> None:
    shop.fill()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

    with pytest.raises(CheckFailed, match=r"no answer within 0\.2 s"):
        run(check(shop, {"query": endless}, timeout=0.2), shop.deploy_context("data"))


def test_rows_are_counted_in_one_way_only(shop: Any) -> None:
    with pytest.raises(ValidationError, match="does not go with"):
        check(shop, {"query": "SELECT 1", "rows": 1, "at_least": 1})
