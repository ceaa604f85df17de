"""PostgreSQL as it comes: other names, other versions, other rights, other ways to reach it."""

import shutil
from typing import Any

import pytest

from runbook.errors import StepError, Unfit
from runbook.kinds import HalfDone
from runbook.resources import Postgres
from runbook.restore.databases import way_of
from runbook.restore.manifest import PostgresEntry
from runbook.steps import backup_db, load_restore_point, restore_db
from runbook.steps.backup_db import BackupDb
from runbook.steps.load_restore_point import LoadRestorePoint
from runbook.steps.restore_db import RestoreDb
from tests.conftest import is_ci
from tests.real.postgres_shop import MakeShop, Shop, bring_up
from tests.real.test_postgres import HARD

pytestmark = [pytest.mark.real, pytest.mark.slow]


def fill_hard(shop: Shop) -> None:
    shop.stack.docker("cp", str(HARD), f"{shop.stack.project}-postgres-1:/tmp/hard.sql")
    words = ["psql", "-U", "boss", "-d", "shop", "-qAt", "-v", "ON_ERROR_STOP=1"]
    shop.stack.compose("exec", "-T", "postgres", *words, "-f", "/tmp/hard.sql")


def address_of(shop: Shop) -> str:
    networks = shop.stack.containers()["postgres"]["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


def test_a_backup_of_an_older_server_is_restored_on_a_newer_one(make_shop: MakeShop) -> None:
    old, new = make_shop("15"), make_shop("17")
    fill_hard(old)
    old.back_up()
    new.sql('CREATE ROLE shop_owner; CREATE ROLE reader; CREATE ROLE "odd ""role"""')
    new.completed = old.completed

    new.restore()

    sums = "SELECT count(*), sum(hashtext(p::text)) FROM people p"
    assert new.sql(sums) == old.sql(sums)


def test_what_a_server_lacks_is_said_when_the_restore_point_is_loaded(make_shop: MakeShop) -> None:
    old, other = make_shop("15"), make_shop("15")
    fill_hard(old)
    point = old.back_up()
    other.completed = old.completed

    with pytest.raises(Unfit) as loading:
        other.did(load_restore_point, "point2", LoadRestorePoint(point=point))
    with pytest.raises(Unfit):
        other.restore()

    assert 'no role `odd "role"`, `reader`, `shop_owner`' in loading.value.message
    assert "databases/db.globals.sql" in loading.value.message
    assert other.databases() == {"shop"}


def test_a_server_by_host_and_port_is_dumped_by_this_machines_programs(
    make_shop: MakeShop,
) -> None:
    if shutil.which("pg_dump") is None and not is_ci():
        pytest.skip("there is no `pg_dump` on this machine")
    shop = make_shop("15")
    fill_hard(shop)
    shop.database = Postgres(
        name="db", host=address_of(shop), database="shop", user="boss", password="hush"
    )
    assert way_of(shop.database).missing_for_backup(shop.context("preflight")) == []
    before = shop.dumped()
    shop.back_up(verify="restore")
    shop.sql("DROP TABLE pictures")

    shop.restore()

    assert shop.dumped() == before


def test_programs_older_than_the_server_are_missing_before_anything_begins(
    make_shop: MakeShop, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop("17")
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.18 (Debian 15.18-0)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    far = Postgres(name="db", host=address_of(shop), database="shop", user="boss", password="hush")

    assert way_of(far).missing_for_backup(shop.context("preflight")) == [
        "`pg_dump` here is version 15, older than the server's 17"
    ]


def test_a_host_where_nothing_listens_is_said_soon(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    nobody = Postgres(name="db", host="127.0.0.1", port=1, database="shop", user="boss")

    with pytest.raises(Unfit, match="does not answer"):
        backup_db.STEP.run(BackupDb(database=nobody), shop.context("dump", timeout_s=5.0))


@pytest.mark.parametrize("database", ["postgres", "shöp " + "x" * 56])
def test_a_database_may_have_any_name(make_shop: MakeShop, database: str) -> None:
    shop = make_shop("17")
    if database != "postgres":
        shop.sql(f'CREATE DATABASE "{database}"', "postgres")
    shop.database = shop.database.model_copy(update={"database": database})
    shop.sql("CREATE TABLE a AS SELECT 7 AS n", database)
    shop.back_up(verify="restore")
    shop.sql("DELETE FROM a", database)

    restored = shop.restore()

    assert shop.sql("SELECT n FROM a", database) == "7"
    assert len(restored.replaced.removeprefix("database ").encode()) <= 63


@pytest.mark.parametrize(
    ("version", "locale"),
    [
        ("17", "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' ICU_RULES '&a < z' LOCALE 'C'"),
        ("17", "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"),
        ("15", "LOCALE_PROVIDER icu ICU_LOCALE 'sv' LOCALE 'C'"),
        ("15", "ENCODING LATIN1 LOCALE 'C'"),
    ],
)
def test_encoding_and_locale_come_back(make_shop: MakeShop, version: str, locale: str) -> None:
    shop = make_shop(version)
    shop.sql(f"CREATE DATABASE shop2 TEMPLATE template0 {locale}", "postgres")
    shop.database = shop.database.model_copy(update={"database": "shop2"})
    shop.sql("CREATE TABLE a AS SELECT unnest(ARRAY['a', 'z', 'b', 'ä']) AS t", "shop2")
    shop.sql("CREATE INDEX ON a (t)", "shop2")
    catalogue = (
        "SELECT (to_jsonb(d) - 'oid' - 'datfrozenxid' - 'datminmxid')"
        " FROM pg_database d WHERE datname = 'shop2'"
    )
    before, properties = shop.dumped(), shop.sql(catalogue, "postgres")
    shop.back_up(verify="restore")
    shop.sql("DELETE FROM a", "shop2")

    shop.restore()

    assert shop.dumped() == before
    assert shop.sql(catalogue, "postgres") == properties


def test_an_unknown_user_with_the_databases_name_is_no_absent_database(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("17")
    wrong = shop.database.model_copy(update={"user": "shop"})

    with pytest.raises(Unfit):
        backup_db.STEP.run(BackupDb(database=wrong), shop.context("dump"))


def test_a_paused_server_is_woken(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.stack.compose("pause", "postgres")

    outputs = shop.did(backup_db, "dump", BackupDb(database=shop.database))

    assert not outputs.absent


def test_an_owner_who_is_no_superuser_can_back_up_and_restore(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("CREATE ROLE owner LOGIN CREATEDB PASSWORD 'x'", "postgres")
    shop.sql("CREATE DATABASE shop2 OWNER owner CONNECTION LIMIT 20", "postgres")
    shop.database = shop.database.model_copy(
        update={"database": "shop2", "user": "owner", "password": "x"}
    )
    shop.sql("SET ROLE owner; CREATE SCHEMA s; CREATE TABLE s.a AS SELECT 7 AS n", "shop2")
    assert way_of(shop.database).missing_for_restore(shop.context("preflight")) == []
    shop.back_up(verify="restore")
    shop.sql("DROP TABLE s.a", "shop2")

    shop.restore()

    assert shop.sql("SELECT n FROM s.a", "shop2") == "7"


def test_a_user_without_the_rights_is_said_beforehand(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("CREATE ROLE guest LOGIN PASSWORD 'x'", "postgres")
    guest = shop.database.model_copy(update={"user": "guest", "password": "x"})

    assert way_of(guest).missing_for_restore(shop.context("preflight")) == [
        "PostgreSQL user `guest` may not create databases",
        "PostgreSQL user `guest` may not replace database `shop` of `boss`",
    ]


def test_a_warm_way_back_is_used_if_nobody_was_let_into_it(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a AS SELECT 7 AS n")
    shop.back_up(verify="restore")
    (warm,) = shop.databases() - {"shop"}
    find = f"SELECT oid FROM pg_database WHERE datname = '{warm}'"
    oid = shop.sql(find, "postgres")

    shop.restore()

    assert shop.sql("SELECT oid FROM pg_database WHERE datname = 'shop'") == oid


def test_a_warm_way_back_that_somebody_opened_is_not_used(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a AS SELECT 7 AS n")
    shop.back_up(verify="restore")
    (warm,) = shop.databases() - {"shop"}
    shop.sql(f'ALTER DATABASE "{warm}" ALLOW_CONNECTIONS true', "postgres")
    shop.sql("DELETE FROM a", warm)

    shop.restore()

    assert shop.sql("SELECT n FROM a") == "7"


def test_a_switch_that_is_refused_lets_everybody_in_again(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    setting = "ALTER SYSTEM SET max_prepared_transactions = 5"
    shop.sql(setting, "postgres")
    shop.stack.compose("restart", "postgres")
    bring_up(shop.stack)
    shop.sql("CREATE TABLE a (n int)")
    shop.back_up()
    shop.sql("BEGIN; INSERT INTO a VALUES (1); PREPARE TRANSACTION 'half'")

    with pytest.raises(StepError, match="prepared transactions: `half`"):
        shop.restore()

    assert shop.sql("SELECT count(*) FROM a") == "0"
    shop.sql("ROLLBACK PREPARED 'half'")
    shop.restore()


def test_a_database_created_by_a_killed_attempt_is_waited_for_and_made_anew(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a AS SELECT 7 AS n")
    shop.back_up()
    context = shop.context("restore_all")
    way = way_of(shop.database)
    staged = way.staged_name(context.operation)
    container = f"{shop.stack.project}-postgres-1"
    name = f"PGAPPNAME=runbook {context.operation}"
    create = f'SELECT pg_sleep(1); CREATE DATABASE "{staged}" TEMPLATE template0'
    words = ["psql", "-U", "boss", "-d", "postgres", "-c", create.partition(";")[0]]
    more = ["-c", create.partition("; ")[2]]
    shop.stack.docker("exec", "-d", "-e", name, container, *words, *more)

    shop.restore()

    assert shop.sql("SELECT n FROM a") == "7"
    assert staged not in shop.databases()


def test_only_what_migrates_changes_the_digest_of_the_schema(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    fill_hard(shop)
    way, context = way_of(shop.database), shop.context("migrate")
    before = way.schema_digest(context)
    shop.sql("UPDATE people SET name = name || '!'; INSERT INTO pictures VALUES (2, 1)")
    assert way.schema_digest(context) == before

    for migration in (
        "ALTER TABLE people ALTER share SET DEFAULT 3",
        "ALTER TABLE people ADD CHECK (age < 1000)",
        "CREATE OR REPLACE VIEW adults AS SELECT * FROM people WHERE age >= 21",
        "ALTER POLICY only_new ON people USING (state = 'old')",
        "INSERT INTO schema_migrations VALUES ('0002')",
        "CREATE INDEX ON events (what)",
        "GRANT SELECT ON pictures TO reader",
        "CREATE OR REPLACE PROCEDURE tidy() LANGUAGE sql AS 'DELETE FROM parent'",
    ):
        shop.sql(migration)
        after = way.schema_digest(context)
        assert after != before, migration
        before = after


def test_the_probe_of_a_switch_does_not_take_another_database_for_the_restored_one(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a AS SELECT 7 AS n")
    shop.back_up(verify="restore")
    assert restore_db.STEP.probe is not None
    context = shop.context("restore_all", progress={"oid": 1, "staged": "shop__rb_x"})

    found = restore_db.STEP.probe(RestoreDb(database=shop.database), context)

    assert isinstance(found, HalfDone)


def test_what_was_written_since_is_told_table_by_table(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    for table in ("added", "removed", "rewritten", "untouched"):
        shop.sql(f"CREATE TABLE {table} AS SELECT n FROM generate_series(1, 50) n")
    shop.sql("CREATE TABLE large AS SELECT repeat(n::text, 90) t FROM generate_series(1, 400000) n")
    shop.back_up(verify="checksum")
    outputs = shop.completed[-1].outputs["written_since"]
    shop.sql("INSERT INTO added VALUES (0); DELETE FROM removed WHERE n < 11")
    shop.sql("UPDATE rewritten SET n = -n WHERE n = 7; CREATE TABLE created AS SELECT 1")
    way = way_of(shop.database)
    backup = next(step.outputs["entry"] for step in shop.completed if step.kind == "backup_db")

    told = way.written_since(PostgresEntry.model_validate(backup), shop.context("look"))

    assert outputs in (
        ["database `db` holds the same rows as then"],
        ["db: tables with as many rows as then, not compared: 1"],
    )
    assert told[:4] == [
        "db.added: 50 rows then, 51 now",
        "db.created: 0 rows then, 1 now",
        "db.removed: 50 rows then, 40 now",
        "db.rewritten: 50 rows then and now, not the same ones",
    ]
