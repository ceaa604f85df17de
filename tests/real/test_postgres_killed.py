"""Killed at any moment, PostgreSQL's backup and restore get to the same end when entered again."""

import json
from typing import Any

import pytest

from runbook.kinds import Done, HalfDone, NotDone
from runbook.steps import backup_db, restore_db
from runbook.steps.backup_db import BackupDb
from runbook.steps.restore_db import RestoreDb
from runbook.tools.docker import OPERATION_LABEL
from runbook.tools.postgres_dump import remove_containers
from tests.real.postgres_shop import MakeShop, Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]
ROWS = 150_000


@pytest.fixture
def shop(make_shop: MakeShop) -> Shop:
    shop = make_shop("17")
    shop.sql(
        f"CREATE TABLE orders AS SELECT n AS id, md5(n::text) AS item, n % 97 AS customer"
        f" FROM generate_series(1, {ROWS}) n;"
        "ALTER TABLE orders ADD PRIMARY KEY (id);"
        "CREATE INDEX ON orders (item); CREATE INDEX ON orders (customer, item)"
    )
    return shop


def count(shop: Shop, database: str = "shop") -> int:
    return int(shop.sql("SELECT count(*) FROM orders", database))


def helpers(shop: Shop, context: Any) -> list[str]:
    label = f"label={OPERATION_LABEL}={context.operation}"
    return shop.stack.docker("ps", "--all", "--quiet", "--filter", label).split()


def backends(shop: Shop, context: Any) -> str:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%{}'"
    return shop.sql(query.format(context.operation), "postgres")


@pytest.mark.parametrize("kill", range(10))
def test_a_restore_killed_at_any_moment_and_entered_again(
    shop: Shop, run_and_kill: Any, kill: int
) -> None:
    shop.back_up()
    shop.sql("INSERT INTO orders VALUES (0, 'meanwhile', 0)")
    context = shop.context("restore")
    spec = RestoreDb(database=shop.database)

    run_and_kill("restore_db", context, {"database": shop.database}, after_s=0.1 + kill * 0.35)
    # Clients are let in, or will be by the probe: either way it is the one or the other.
    assert restore_db.STEP.probe is not None
    verdict = restore_db.STEP.probe(spec, context)
    assert count(shop) == (ROWS if isinstance(verdict, Done) else ROWS + 1)
    assert isinstance(verdict, Done | HalfDone | NotDone)

    outputs = shop.did(restore_db, "restore", spec, progress=context.progress)

    replaced = outputs.replaced.removeprefix("database ")
    assert shop.databases() == {"shop", replaced}
    assert count(shop) == ROWS
    shop.sql(f'ALTER DATABASE "{replaced}" ALLOW_CONNECTIONS true', "postgres")
    assert count(shop, replaced) == ROWS + 1
    assert helpers(shop, context) == []
    assert backends(shop, context) == "0"


@pytest.mark.parametrize("kill", range(4))
def test_a_backup_killed_at_any_moment_and_entered_again(
    shop: Shop, run_and_kill: Any, kill: int
) -> None:
    context = shop.context("dump")
    run_and_kill("backup_db", context, {"database": shop.database}, after_s=0.2 + kill * 0.4)
    assert backup_db.STEP.probe is not None
    spec = BackupDb(database=shop.database)
    before = backup_db.STEP.probe(spec, context)

    shop.back_up(verify="restore")
    shop.sql("DELETE FROM orders")
    shop.restore()

    assert isinstance(before, Done | NotDone)
    assert count(shop) == ROWS
    assert helpers(shop, context) == []
    assert backends(shop, context) == "0"


def test_killed_while_everybody_is_kept_out_they_are_let_in_again_by_the_probe(
    shop: Shop, run_and_kill: Any
) -> None:
    shop.back_up(verify="restore")
    shop.sql("INSERT INTO orders VALUES (0, 'meanwhile', 0)")
    context = shop.context("restore")
    spec = RestoreDb(database=shop.database)

    with shop.frozen_session():
        run_and_kill("restore_db", context, {"database": shop.database}, after_s=3.0)
        assert not shop.is_open()
    assert restore_db.STEP.probe is not None
    verdict = restore_db.STEP.probe(spec, context)

    assert isinstance(verdict, HalfDone)
    assert count(shop) == ROWS + 1
    shop.did(restore_db, "restore", spec, progress=context.progress)
    assert count(shop) == ROWS


def test_a_helper_container_that_outlived_its_step_is_removed_with_its_volume(shop: Shop) -> None:
    label = f"{OPERATION_LABEL}=op-{shop.stack.project}"
    image = "runbook-test/postgres:17"
    container = shop.stack.docker("create", "--label", label, image).strip()
    mounts = json.loads(shop.stack.docker("inspect", container))[0]["Mounts"]
    assert [mount["Type"] for mount in mounts] == ["volume"]

    remove_containers(f"op-{shop.stack.project}")

    names = shop.stack.docker("volume", "ls", "--quiet").split()
    assert mounts[0]["Name"] not in names
    assert shop.stack.docker("ps", "-aq", "--filter", f"label={label}") == ""
