"""PostgreSQL's way back on real servers: a schema that is hard to back up comes back as it was."""

from pathlib import Path

import pytest

from runbook.errors import StepError, Unfit
from runbook.kinds import Done, HalfDone, NotDone
from runbook.steps import backup_db, load_restore_point, restore_db
from runbook.steps.backup_db import BackupDb
from runbook.steps.load_restore_point import LoadRestorePoint
from runbook.steps.restore_db import RestoreDb
from tests.real.conftest import MakeStack
from tests.real.postgres_shop import COMPOSE, MakeShop, Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]
HARD = Path(__file__).with_name("hard.sql")


@pytest.mark.parametrize("version", ["15", "17"])
def test_a_database_that_is_hard_to_back_up_comes_back_as_it_was(
    make_shop: MakeShop, version: str
) -> None:
    shop = make_shop(version)
    shop.stack.docker("cp", str(HARD), f"{shop.stack.project}-postgres-1:/tmp/hard.sql")
    words = ["psql", "-U", "boss", "-d", "shop", "-qAt", "-v", "ON_ERROR_STOP=1"]
    shop.stack.compose("exec", "-T", "postgres", *words, "-f", "/tmp/hard.sql")
    before = shop.dumped()
    shop.back_up(verify="restore")
    shop.sql("INSERT INTO people (name) VALUES ('meanwhile'); DROP TABLE pictures")

    restored = shop.restore()

    assert shop.dumped() == before
    replaced = restored.replaced.removeprefix("database ")
    shop.sql(f'ALTER DATABASE "{replaced}" ALLOW_CONNECTIONS true', "postgres")
    assert shop.sql("SELECT count(*) FROM people WHERE name = 'meanwhile'", replaced) == "1"
    assert shop.sql("SELECT count(*) FROM pg_database WHERE datname = 'beside'") == "1"


def test_a_row_written_during_the_backup_is_in_neither_dump_nor_fingerprint(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a (n int); INSERT INTO a SELECT generate_series(1, 1000)")
    shop.back_up()
    shop.sql("INSERT INTO a VALUES (1001)")

    shop.restore()

    assert shop.sql("SELECT count(*), sum(n) FROM a") == "1000|500500"


def test_what_still_uses_the_database_is_ended_and_kept_out_until_it_is_switched(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a (n int)")
    shop.back_up()
    sleeper = ["exec", "-d", f"{shop.stack.project}-postgres-1", "psql", "-U", "boss", "shop"]
    shop.stack.docker(*sleeper, "-c", "SELECT pg_sleep(600)")
    is_there = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    shop.stack.eventually(lambda: shop.sql(is_there, "postgres") == "1", "somebody sleeps")

    shop.restore()

    assert shop.sql(is_there, "postgres") == "0"
    assert shop.sql("SELECT count(*) FROM a") == "0"


def test_a_database_that_is_not_there_yet_is_absent(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("DROP DATABASE shop", "postgres")

    outputs = shop.did(backup_db, "dump", BackupDb(database=shop.database))

    assert outputs.absent


def test_a_server_that_does_not_run_is_started(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a (n int)")
    shop.stack.compose("stop", "postgres")

    outputs = shop.did(backup_db, "dump", BackupDb(database=shop.database))

    assert not outputs.absent
    assert shop.stack.is_running("postgres")


def test_a_stack_that_was_never_up_has_no_database(make_stack: MakeStack) -> None:
    shop = Shop(stack=make_stack(COMPOSE.format(version="17")))

    outputs = shop.did(backup_db, "dump", BackupDb(database=shop.database))

    assert outputs.absent


def test_a_wrong_password_is_said_with_what_to_check(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    wrong = shop.database.model_copy(update={"password": "wrong"})

    with pytest.raises(Unfit) as caught:
        backup_db.STEP.run(BackupDb(database=wrong), shop.context("dump"))

    assert "password" in caught.value.message
    assert "hush" not in str(caught.value)


def test_a_damaged_dump_is_refused_and_nothing_is_touched(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a (n int); INSERT INTO a SELECT generate_series(1, 100000)")
    point = shop.back_up()
    (data, *_) = sorted(
        shop.context("x").state_dir.glob(f"restore-points/{point}/databases/db.dump/*.dat*"),
        key=lambda path: -path.stat().st_size,
    )
    with data.open("r+b") as file:
        file.truncate(100)

    with pytest.raises(Unfit):
        shop.did(load_restore_point, "again", LoadRestorePoint(point=point))
    with pytest.raises(StepError):
        shop.restore()

    assert shop.sql("SELECT count(*) FROM a") == "100000"
    assert shop.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'shop%'") == "1"


def test_a_switch_in_doubt_is_told_by_the_oid(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE a (n int)")
    shop.back_up()
    spec = RestoreDb(database=shop.database)
    context = shop.context("all")
    before = restore_db.STEP.probe and restore_db.STEP.probe(spec, context)

    restore_db.STEP.run(spec, context)
    after = restore_db.STEP.probe and restore_db.STEP.probe(spec, context)

    assert isinstance(before, HalfDone | NotDone)
    assert isinstance(after, Done)
    assert after.outputs.replaced is not None


def test_who_was_locked_out_by_a_switch_that_never_happened_is_let_in_again(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("17")
    shop.back_up()
    shop.sql("ALTER DATABASE shop ALLOW_CONNECTIONS false", "postgres")
    context = shop.context("all", progress={"oid": 1, "staged": "shop__rb_x"})

    found = restore_db.STEP.probe and restore_db.STEP.probe(
        RestoreDb(database=shop.database), context
    )

    assert isinstance(found, HalfDone)
    assert shop.sql("SELECT 1") == "1"


def test_a_backup_of_a_newer_server_is_refused_with_the_reason(make_shop: MakeShop) -> None:
    new, old = make_shop("17"), make_shop("15")
    new.sql("CREATE TABLE a (n int)")
    new.back_up()
    old.completed = new.completed

    with pytest.raises(Unfit) as caught:
        old.restore()

    assert "newer than the server" in caught.value.message
    assert old.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'shop%'") == "1"
