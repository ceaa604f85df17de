"""What a PostgreSQL database holds is told from what it held, whatever changes in between."""

import subprocess
import threading
from typing import Any

import pytest

from runbook.restore.databases import way_of
from runbook.restore.manifest import PostgresEntry
from runbook.restore.postgres import PostgresWay
from runbook.steps import backup_db
from runbook.steps.backup_db import BackupDb
from runbook.tools.postgres_content import FORM
from runbook.tools.postgres_locks import hold_tables
from tests.conftest import Eventually
from tests.real.postgres_shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]


def entry_of(shop: Shop) -> PostgresEntry:
    """What the last backup has recorded."""
    backups = [step.outputs["entry"] for step in shop.completed if step.kind == "backup_db"]
    return PostgresEntry.model_validate(backups[-1])


def test_a_role_made_anew_changes_nothing(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n; CREATE SCHEMA s")
    granted = "GRANT SELECT ON a TO {0}; GRANT USAGE ON SCHEMA s TO {0}"
    roles = ("clerk", "auditor")
    for role in roles:
        shop.sql(f"CREATE ROLE {role}; {granted.format(role)}")
    way = way_of(shop.database)
    before = way.schema_digest(shop.context("look"))
    shop.back_up()
    for role in roles:
        shop.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
    for role in reversed(roles):
        shop.sql(f"CREATE ROLE {role}; {granted.format(role)}")

    assert way.schema_digest(shop.context("look")) == before
    shop.restore()


def test_columns_may_come_back_in_another_place(shop: Shop) -> None:
    shop.sql("CREATE TABLE parent (a int, gone int); CREATE TABLE child (b text) INHERITS (parent)")
    shop.sql("ALTER TABLE parent DROP gone; ALTER TABLE parent ADD c text DEFAULT 'x'")
    shop.sql("INSERT INTO child (a, b) SELECT n, 'b' || n FROM generate_series(1, 9) n")
    before = shop.sql("SELECT a, b, c FROM child ORDER BY a")

    shop.back_up(verify="restore")
    shop.restore()

    assert shop.sql("SELECT a, b, c FROM child ORDER BY a") == before


@pytest.mark.parametrize("column", ["t", "r"])
def test_rows_are_compared_whatever_their_columns_are_called(shop: Shop, column: str) -> None:
    shop.sql(f"CREATE TABLE a AS SELECT 1 AS {column}, 'then' AS word")
    shop.back_up()
    shop.sql("UPDATE a SET word = 'now'")

    told = way_of(shop.database).written_since(entry_of(shop), shop.context("look"))

    assert told == ["db.a: 1 rows then and now, not the same ones"]


def test_a_fingerprint_of_an_older_form_tells_how_many_rows_there_were(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n; CREATE TABLE b AS SELECT 1 AS n")
    point = shop.back_up()
    entry = entry_of(shop)
    assert entry.content is not None and entry.content.form == FORM
    told = entry.content.model_dump(exclude={"form"})
    for table in told["tables"].values():
        table["digest"] = "of another form"
    old = entry.model_copy(update={"content": type(entry.content).model_validate(told)})
    shop.sql("INSERT INTO b VALUES (2)")
    way, context = way_of(shop.database), shop.context("look")

    assert way.written_since(old, context) == [
        "db.b: 1 rows then, 2 now",
        "db: tables with as many rows as then, not compared: 1",
    ]
    way.stage("shop__rb_x", context.state_dir / "restore-points" / point, old, context)

    assert "its fingerprint is of an older form: rows are counted, and not compared" in (
        context.logged
    )


def test_a_truncate_during_the_backup_is_wholly_in_it_or_not_at_all(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n; CREATE TABLE noted (n int)")
    context = shop.context("dump")
    run = context.run
    sessions: list[Any] = []

    def run_in_between(command: Any) -> Any:
        if not sessions:
            words = ["psql", "-U", "boss", "-d", "shop", "-c"]
            truncate = "BEGIN; TRUNCATE a; INSERT INTO noted VALUES (1); COMMIT"
            exec_ = ["docker", "exec", f"{shop.stack.project}-postgres-1", *words, truncate]
            sessions.append(subprocess.Popen(exec_, stdout=subprocess.DEVNULL))
            query = "SELECT (SELECT count(*) FROM noted) + (SELECT count(*) FROM pg_stat_activity"
            query += " WHERE query LIKE 'BEGIN; TRUNCATE%' AND wait_event_type = 'Lock')"
            shop.stack.eventually(lambda: shop.sql(query) != "0", "it waits, or is through")
        return run(command)

    context.run = run_in_between

    outputs: Any = backup_db.STEP.run(BackupDb(database=shop.database), context)

    content = outputs.entry.content
    assert content.tables["public.a"].rows + content.tables["public.noted"].rows == 1
    assert [session.wait() for session in sessions] == [0]
    shop.completed = []
    shop.back_up(verify="restore")


def test_a_dump_begins_anew_although_who_kept_it_from_a_table_has_given_up(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n")
    context = shop.context("dump")
    run = context.run
    waiting = "FROM pg_stat_activity WHERE query = 'TRUNCATE a' AND wait_event_type = 'Lock'"
    runs: list[Any] = []

    def run_against_somebody(command: Any) -> Any:
        runs.append(command)
        if len(runs) > 1:
            return run(command)
        words = ["psql", "-U", "boss", "-d", "shop", "-c", "TRUNCATE a"]
        shop.stack.docker("exec", "-d", f"{shop.stack.project}-postgres-1", *words)
        shop.stack.eventually(lambda: shop.sql(f"SELECT count(*) {waiting}") == "1", "it waits")
        ended = run(command)
        shop.sql(f"SELECT pg_terminate_backend(pid) {waiting}")
        shop.stack.eventually(lambda: shop.sql(f"SELECT count(*) {waiting}") == "0", "it is gone")
        return ended

    context.run = run_against_somebody

    outputs: Any = backup_db.STEP.run(BackupDb(database=shop.database), context)

    assert outputs.entry.content.tables["public.a"].rows == 1


def test_a_backup_that_loses_a_deadlock_begins_anew(shop: Shop, eventually: Eventually) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n; CREATE TABLE b AS SELECT 2 AS n")
    # Whose wait is as long as this looks for a deadlock, and is the one to give way.
    shop.sql("ALTER DATABASE shop SET deadlock_timeout = '3s'")
    server = PostgresWay(shop.database).reach(shop.context("dump"))
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    def cross() -> None:
        with server.connect("shop") as other, other.transaction():
            other.execute("SET LOCAL deadlock_timeout = '1h'")
            other.execute("LOCK TABLE b")
            is_held.set()
            eventually(lambda: shop.sql(waits, "postgres") == "1", "the backup waits for `b`")
            other.execute("LOCK TABLE a")

    is_held = threading.Event()
    crossing = threading.Thread(target=cross)
    crossing.start()
    is_held.wait()

    with server.connect("shop") as connection:
        assert hold_tables(connection)

    crossing.join()
