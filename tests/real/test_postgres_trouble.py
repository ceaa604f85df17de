"""The disk is full, the server dies: PostgreSQL's way back fails, touches nothing, and goes on."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from runbook.errors import StepError
from runbook.steps import backup_db, restore_db
from runbook.steps.backup_db import BackupDb
from runbook.steps.restore_db import RestoreDb
from tests.conftest import small_tmpfs
from tests.real.conftest import MakeStack
from tests.real.postgres_shop import COMPOSE, MakeShop, Shop, bring_up

pytestmark = [pytest.mark.real, pytest.mark.slow]
ROWS = 150_000
FILL = (
    "CREATE TABLE orders AS SELECT n AS id, md5(n::text) AS item"
    f" FROM generate_series(1, {ROWS}) n;"
    "ALTER TABLE orders ADD PRIMARY KEY (id); CREATE INDEX ON orders (item)"
)


def count(shop: Shop) -> int:
    return int(shop.sql("SELECT count(*) FROM orders"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 260 MB for a server's data."""
    mount = tmp_path / "small"
    mount.mkdir()
    with small_tmpfs(mount, "size=260m,mode=0777"):
        yield mount


def test_a_full_disk_during_the_backup_is_said_and_leaves_nothing_that_counts(
    make_shop: MakeShop, full_disk: Path
) -> None:
    shop = make_shop("17")
    shop.sql(FILL)
    context = shop.context("dump", state_dir=full_disk)

    with pytest.raises(StepError, match="no room left on the disk while `pg_dump` ran") as caught:
        backup_db.STEP.run(BackupDb(database=shop.database), context)

    assert not caught.value.changed
    assert backup_db.STEP.probe is not None
    probed = backup_db.STEP.probe(BackupDb(database=shop.database), context)
    assert type(probed).__name__ == "NotDone"
    assert shop.back_up()


def test_a_full_disk_during_the_restore_leaves_the_live_database_alone(
    make_stack: MakeStack, small_disk: Path
) -> None:
    # The stack outlives the mount in no case: its container is removed first.
    compose = COMPOSE.format(version="17").rstrip() + (
        "\n        command: [postgres, -c, max_wal_size=48MB, -c, min_wal_size=32MB]"
        f"\n        volumes: ['{small_disk}:/var/lib/postgresql/data']\n"
    )
    shop = Shop(stack=make_stack(compose))
    bring_up(shop.stack)
    shop.sql(FILL)
    shop.sql("CHECKPOINT")
    shop.back_up()
    shop.sql("INSERT INTO orders VALUES (0, 'meanwhile')")
    filler = small_disk / "filler"
    left = "df --output=avail -B1 /var/lib/postgresql/data | tail -1"
    words = ["exec", f"{shop.stack.project}-postgres-1", "sh", "-c", left]
    free_bytes = int(shop.stack.docker(*words))
    with filler.open("wb") as file:
        file.write(bytes(free_bytes - (14 << 20)))
    context = shop.context("restore_all")

    with pytest.raises(StepError, match="no room left on the disk while `pg_restore` ran"):
        restore_db.STEP.run(RestoreDb(database=shop.database), context)
    filler.unlink()
    bring_up(shop.stack)

    assert count(shop) == ROWS + 1
    restored = shop.restore()
    assert count(shop) == ROWS
    assert shop.databases() == {"shop", restored.replaced.removeprefix("database ")}
    shop.stack.remove()


@pytest.mark.parametrize("after_s", [0.2, 0.6, 1.0, 1.4])
def test_a_server_killed_during_the_restore_is_started_and_the_restore_goes_on(
    make_shop: MakeShop, after_s: float
) -> None:
    shop = make_shop("17")
    shop.sql(FILL)
    shop.back_up()
    shop.sql("INSERT INTO orders VALUES (0, 'meanwhile')")
    context = shop.context("restore_all")
    container = f"{shop.stack.project}-postgres-1"
    killing = threading.Timer(after_s, lambda: shop.stack.docker("kill", container))
    killing.start()
    failed = None
    try:
        restore_db.STEP.run(RestoreDb(database=shop.database), context)
    except StepError as error:
        failed = error
    killing.join()

    bring_up(shop.stack)
    assert restore_db.STEP.probe is not None
    probed = restore_db.STEP.probe(RestoreDb(database=shop.database), context)
    expected = ROWS if type(probed).__name__ == "Done" else ROWS + 1
    assert count(shop) == expected
    assert failed is None or expected == ROWS + 1
    shop.restore(progress=context.progress)
    assert count(shop) == ROWS


def test_nothing_that_busy_clients_were_told_is_written_is_lost(make_shop: MakeShop) -> None:
    shop = make_shop("17")
    shop.sql("CREATE TABLE orders (id bigint PRIMARY KEY)")
    shop.back_up(verify="restore")
    network = shop.stack.containers()["postgres"]["NetworkSettings"]["Networks"]
    host = next(iter(network.values()))["IPAddress"]
    is_over = threading.Event()
    told: list[int] = []
    gaps: list[float] = []

    def write(client: int) -> None:
        number, last = client, time.monotonic()
        while not is_over.is_set():
            with (
                suppress(psycopg.Error),
                psycopg.connect(
                    host=host, user="boss", password="hush", dbname="shop", autocommit=True
                ) as connection,
            ):
                while not is_over.is_set():
                    number += 10
                    connection.execute("INSERT INTO orders VALUES (%s)", [number])
                    told.append(number)
                    gaps.append(time.monotonic() - last)
                    last = time.monotonic()

    clients = [threading.Thread(target=write, args=(client,)) for client in range(4)]
    for client in clients:
        client.start()
    shop.stack.eventually(lambda: len(told) > 200, "the clients are busy")
    restored = shop.restore()
    before = len(told)
    shop.stack.eventually(lambda: len(told) > before + 200, "the clients are busy again")
    is_over.set()
    for client in clients:
        client.join()

    replaced = restored.replaced.removeprefix("database ")
    shop.sql(f'ALTER DATABASE "{replaced}" ALLOW_CONNECTIONS true', "postgres")
    then = set(map(int, shop.sql("SELECT id FROM orders", replaced).split()))
    now = set(map(int, shop.sql("SELECT id FROM orders").split()))
    assert set(told) <= then | now
    assert not then & now
    assert len(then) > 200
    assert max(gaps) < 5.0
