"""What keeps a PostgreSQL database from being switched, and what is left behind, is told."""

import re
import subprocess
from pathlib import Path

import pytest

from runbook.errors import StepError, StepStopped, Unfit
from runbook.restore import postgres_by_hand
from runbook.restore.databases import way_of
from runbook.restore.manifest import PostgresEntry
from runbook.restore.postgres import PostgresWay
from runbook.restore.postgres_mark import mark_of
from runbook.steps import backup_db, restore_db
from runbook.steps.backup_db import BackupDb
from runbook.steps.restore_db import RestoreDb
from tests.real.postgres_shop import Shop, bring_up

pytestmark = [pytest.mark.real, pytest.mark.slow]


def entry_of(shop: Shop) -> PostgresEntry:
    backups = [step.outputs["entry"] for step in shop.completed if step.kind == "backup_db"]
    return PostgresEntry.model_validate(backups[-1])


def told(shop: Shop) -> list[str]:
    """What preflight tells of a restore, and does not refuse."""
    context = shop.context("preflight")
    assert restore_db.STEP.preflight is not None
    assert restore_db.STEP.preflight(RestoreDb(database=shop.database), context) == []
    return list(context.logged)


def test_who_holds_a_table_is_named_within_the_steps_time(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n")

    with (
        shop.session("SET application_name = 'migration'", "BEGIN", "LOCK TABLE a") as pid,
        pytest.raises(StepError) as dumping,
    ):
        shop.did(backup_db, "dump", BackupDb(database=shop.database), timeout_s=6.0)
    with shop.session("BEGIN", "LOCK TABLE a") as other, pytest.raises(StepError) as asking:
        way = way_of(shop.database)
        way.query("SELECT n FROM a", shop.context("look"), timeout_s=1.0, at_most=1)

    said = f"held by pid {pid} of `boss`, application `migration`, since 2"
    assert said in dumping.value.message
    assert f"held by pid {other} of `boss`" in asking.value.message


def test_a_server_that_stands_still_holds_nobody_who_is_stopped(shop: Shop) -> None:
    context = shop.context("look")
    server = PostgresWay(shop.database).reach(context)
    signal = ["exec", f"{shop.stack.project}-postgres-1", "kill"]

    def stop() -> None:
        raise StepStopped("stopped before its end")

    with pytest.raises(StepStopped), server.connect("shop") as connection:
        pid = str(connection.info.backend_pid)
        shop.stack.docker(*signal, "-STOP", pid)
        context.on_check = stop
        connection.execute("SELECT 1")

    shop.stack.docker(*signal, "-CONT", pid)


def test_what_is_put_in_order_after_a_stop_is_let_through(shop: Shop) -> None:
    context = shop.context("look")
    server = PostgresWay(shop.database).reach(context)

    def stop() -> None:
        raise StepStopped("stopped before its end")

    context.on_check = stop
    with server.connect("shop") as connection:
        assert connection.execute("SELECT pg_sleep(0.5) IS NOT NULL").fetchone() == (True,)


def test_a_switch_that_somebody_blocks_names_him_and_what_to_type(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n")
    shop.back_up(verify="restore")
    block = ("BEGIN", "ALTER DATABASE shop CONNECTION LIMIT 5")

    with shop.session(*block, database="postgres") as pid:
        with pytest.raises(StepError) as caught:
            shop.restore(timeout_s=8.0)
        assert shop.is_open()

    assert f"held by pid {pid} of `boss`" in caught.value.message
    assert 'RENAME TO "shop"' in str(caught.value.hint)


def test_sessions_that_the_user_may_not_end_are_told_and_keep_from_the_switch_alone(
    shop: Shop,
) -> None:
    shop.sql("CREATE ROLE keeper LOGIN CREATEDB PASSWORD 'x'; CREATE ROLE app LOGIN", "postgres")
    shop.sql("ALTER DATABASE shop OWNER TO keeper", "postgres")
    shop.database = shop.database.model_copy(update={"user": "keeper", "password": "x"})
    shop.back_up()

    with shop.session():
        assert told(shop)[0].endswith(": only a superuser can: close them")
    shop.stack.eventually(lambda: not told(shop), "that session has ended")
    with shop.session(user="app") as pid:
        (said,) = told(shop)
        shop.restore(phase="stage")
        with pytest.raises(StepError) as caught:
            shop.restore(phase="switch")
        assert shop.is_open()
        shop.sql("GRANT pg_signal_backend TO keeper", "postgres")
        assert told(shop) == []
        shop.restore(phase="switch")

    assert caught.value.message == said
    assert said == (
        "PostgreSQL user `keeper` may not end sessions of `app` in database `shop`,"
        f' pid {pid}: a superuser types `GRANT pg_signal_backend TO "keeper"`'
    )


def test_a_prepared_transaction_is_told_and_keeps_from_the_switch_alone(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n")
    shop.back_up()
    shop.sql("BEGIN; INSERT INTO a VALUES (2); PREPARE TRANSACTION 'it''s half'")
    shop.stack.eventually(lambda: told(shop), "it is older than a second")

    (said,) = told(shop)
    shop.restore(phase="stage")
    with pytest.raises(StepError, match="has prepared transactions: `it's half`"):
        shop.restore(phase="switch")

    assert shop.is_open()
    assert "ROLLBACK PREPARED 'it''s half'" in said
    shop.sql("ROLLBACK PREPARED 'it''s half'")
    shop.restore(phase="switch")


def test_replication_is_told_and_stays_with_the_replaced_database(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n")
    shop.sql("SELECT pg_create_logical_replication_slot('feed', 'test_decoding')")
    create = "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p"
    shop.sql(f"{create} WITH (connect = false, slot_name = 's')")
    shop.sql("ALTER SUBSCRIPTION s ENABLE")
    shop.back_up()
    consume = ["pg_recvlogical", "-U", "boss", "-d", "shop", "-S", "feed", "--start", "-n", "-f"]
    shop.stack.docker("exec", "-d", f"{shop.stack.project}-postgres-1", *consume, "/dev/null")
    slot = "SELECT database, active FROM pg_replication_slots"
    shop.stack.eventually(lambda: shop.sql(slot, "postgres") == "shop|t", "its consumer reads")

    of_slot, of_subscription = told(shop)
    replaced = shop.restore().replaced.removeprefix("database ")

    assert shop.sql("SELECT n FROM a") == "1"
    assert shop.sql(slot, "postgres") == f"{replaced}|f"
    assert entry_of(shop).subscriptions == ["s"]
    assert 'DROP SUBSCRIPTION "s"' in of_subscription
    for statement in re.findall(r"`(SELECT .*?)`", of_slot):
        shop.sql(statement)
    assert shop.sql(slot, "postgres") == "shop|f"
    shop.sql(f'ALTER DATABASE "{replaced}" ALLOW_CONNECTIONS true', "postgres")
    shop.sql("ALTER SUBSCRIPTION s DISABLE", replaced)
    shop.sql("ALTER SUBSCRIPTION s SET (slot_name = NONE)", replaced)
    shop.sql("DROP SUBSCRIPTION s", replaced)


def test_a_server_notices_within_a_minute_that_our_machine_is_gone(shop: Shop) -> None:
    names = ("idle", "interval", "count")
    query = ", ".join(f"current_setting('tcp_keepalives_{name}')::int" for name in names)

    way = way_of(shop.database)
    rows = way.query(f"SELECT {query}", shop.context("look"), timeout_s=60.0, at_most=1)

    assert rows == [(30, 10, 3)]


def test_a_mark_that_came_with_a_copy_is_not_taken_for_its_own(shop: Shop) -> None:
    shop.sql("CREATE TABLE a AS SELECT 1 AS n")
    shop.back_up(verify="restore")
    (warm,) = shop.databases() - {"shop"}
    oid = int(shop.sql(f"SELECT oid FROM pg_database WHERE datname = '{warm}'", "postgres"))
    mark = mark_of(entry_of(shop), oid)
    way, context = way_of(shop.database), shop.context("look")
    is_own = way.is_staged(warm, entry_of(shop), context)

    shop.sql(f'DROP DATABASE "{warm}"', "postgres")
    shop.sql(f'CREATE DATABASE "{warm}" ALLOW_CONNECTIONS false', "postgres")
    for name in (warm, "shop"):
        shop.sql(f"COMMENT ON DATABASE \"{name}\" IS '{mark}'", "postgres")
    is_taken = way.is_staged(warm, entry_of(shop), context)
    shop.did(backup_db, "dump", BackupDb(database=shop.database))

    assert is_own
    assert not is_taken
    properties = entry_of(shop).properties
    assert properties is not None and properties.comment is None


def test_what_is_to_be_typed_by_hand_does_what_a_switch_does(shop: Shop) -> None:
    odd, staged = 'shop "it\'s" $x', "shop's staged"
    shop.database = shop.database.model_copy(update={"database": odd})
    for name in (odd, staged):
        shop.sql(f"CREATE DATABASE {postgres_by_hand.identifier(name)}", "postgres")
        shop.sql(f"CREATE TABLE a AS SELECT {postgres_by_hand.literal(name)} AS n", name)
    shop.sql(f"ALTER DATABASE {postgres_by_hand.identifier(staged)} ALLOW_CONNECTIONS false")

    commands = postgres_by_hand.switching(shop.database, staged, "shop old", "it's odd")
    subprocess.run(
        ["bash", "-c", " && ".join(commands)],
        cwd=shop.stack.root,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "COMPOSE_PROJECT_NAME": shop.stack.project},
        check=True,
    )

    assert shop.sql("SELECT n FROM a", odd) == staged
    assert shop.databases() == {"shop", odd, "shop old"}


def test_a_dump_that_names_databases_is_refused_and_the_live_one_is_left_alone(
    shop: Shop, tmp_path: Path
) -> None:
    shop.sql("CREATE TABLE a AS SELECT n FROM generate_series(1, 5) n")
    words = ["exec", "-T", "postgres", "pg_dump", "-U", "boss", "shop"]
    bad, good = tmp_path / "bad.sql", tmp_path / "good.sql"
    bad.write_text(shop.stack.compose(*words, "--create", "--clean"))
    good.write_text(shop.stack.compose(*words))
    shop.sql("INSERT INTO a VALUES (6)")

    with pytest.raises(Unfit) as caught:
        shop.did(
            backup_db, "bad", BackupDb.model_validate({"database": shop.database, "from": bad})
        )
    outputs = shop.did(
        backup_db, "good", BackupDb.model_validate({"database": shop.database, "from": good})
    )

    assert "acts on a whole database: `DROP DATABASE shop`" in caught.value.message
    assert "is a command to psql: `\\connect`" in caught.value.message
    assert outputs.entry.content.tables["public.a"].rows == 5
    assert shop.sql("SELECT count(*) FROM a") == "6"


def test_no_second_server_is_started_on_data_that_one_uses(shop: Shop) -> None:
    service = f"{shop.stack.project}-postgres-1"
    shop.stack.compose("stop", "postgres")
    other = f"{shop.stack.project}-other"
    words = ["run", "--detach", "--name", other, "--volumes-from", service]
    shop.stack.docker(*words, "runbook-test/postgres:17")
    try:
        with pytest.raises(Unfit) as caught:
            shop.did(backup_db, "dump", BackupDb(database=shop.database))
        assert not shop.stack.is_running("postgres")
    finally:
        shop.stack.docker("rm", "--force", other)
        bring_up(shop.stack)

    assert f"is in use by `{other}`" in caught.value.message


def test_the_container_that_runs_is_the_server_whatever_a_killed_compose_has_left(
    shop: Shop,
) -> None:
    service = f"{shop.stack.project}-postgres-1"
    left = f"0_{service}"
    labels = shop.stack.containers()["postgres"]["Config"]["Labels"]
    words = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    image = "runbook-test/postgres:17"
    shop.stack.docker("create", "--name", left, "--volumes-from", service, *words, image)
    try:
        outputs = shop.did(backup_db, "dump", BackupDb(database=shop.database))
        status = shop.stack.docker("inspect", "--format", "{{.State.Status}}", left).strip()
    finally:
        shop.stack.docker("rm", left)

    assert not outputs.absent
    assert status == "created"
