import sqlite3
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import ExitStatus, StepError, Unfit
from runbook.kinds import Done, NotDone
from runbook.restore.point import staging_dir
from runbook.steps.backup_db import STEP, BackupDb


def test_backs_up_a_wal_database_with_an_open_writer(shop: Any) -> None:
    shop.fill(rows=300)
    ctx = shop.deploy_context("dump")
    writer = sqlite3.connect(shop.db.path)
    writer.execute("INSERT INTO orders (item) VALUES ('not committed')")

    outputs = shop.step("backup_db", ctx, database=shop.db)

    copy = staging_dir(ctx.state_dir, ctx.run_id) / outputs.path
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in copy.parent.iterdir()] == ["db.sqlite"]
    assert outputs.entry.fingerprint.tables["orders"].rows == 300
    assert shop.count_orders(copy) == 300
    writer.close()


def test_a_missing_database_is_recorded_as_absent(shop: Any) -> None:
    outputs = shop.step("backup_db", shop.deploy_context("dump"), database=shop.db)

    assert (outputs.absent, outputs.path, outputs.size_bytes) == (True, None, 0)


@pytest.mark.parametrize(
    "content", [b"no database at all" * 300, b"SQLite format 3\0" + b"\1" * 99]
)
def test_what_is_no_database_is_unfit(shop: Any, content: bytes) -> None:
    shop.db.path.write_bytes(content)
    ctx = shop.deploy_context("dump")

    with pytest.raises(Unfit, match=r"cannot be read") as raised:
        STEP.run(BackupDb(database=shop.db), ctx)

    assert raised.value.exit_status is ExitStatus.UNFIT
    assert STEP.preflight is not None and STEP.preflight(BackupDb(database=shop.db), ctx)


def test_a_damaged_database_is_unfit_and_leaves_no_artefact(shop: Any) -> None:
    shop.fill(rows=2000)
    with shop.db.path.open("r+b") as file:
        file.seek(4096 + 8)
        file.write(b"\xff" * 3000)
    ctx = shop.deploy_context("dump")

    with pytest.raises(Unfit):
        STEP.run(BackupDb(database=shop.db), ctx)

    assert list((staging_dir(ctx.state_dir, ctx.run_id) / "databases").iterdir()) == []


def test_a_locked_database_is_an_error_that_may_be_tried_again(shop: Any) -> None:
    shop.sql("CREATE TABLE orders (id)")
    ctx = shop.deploy_context("dump", timeout_s=0.3)
    writer = sqlite3.connect(shop.db.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StepError, match="locked") as raised:
        STEP.run(BackupDb(database=shop.db), ctx)

    assert (raised.value.changed, raised.value.is_retryable) == (False, True)
    writer.close()


def test_a_full_disk_is_a_clear_error(shop: Any, full_disk: Path) -> None:
    shop.fill(rows=20)
    shop.sql("INSERT INTO orders (item) VALUES (zeroblob(4000000))")
    ctx = shop.deploy_context("dump", state_dir=full_disk)

    with pytest.raises(StepError, match="no room left on the disk") as raised:
        STEP.run(BackupDb(database=shop.db), ctx)

    assert raised.value.changed is False
    assert list((staging_dir(full_disk, ctx.run_id) / "databases").iterdir()) == []
    assert STEP.room is not None
    (room,) = STEP.room(BackupDb(database=shop.db), ctx)
    assert room.place == full_disk and room.size_bytes > 4_000_000


def test_the_probe_knows_a_complete_backup_from_an_unfinished_one(shop: Any) -> None:
    shop.fill()
    assert STEP.probe is not None
    spec, ctx = BackupDb(database=shop.db), shop.deploy_context("dump")

    before = STEP.probe(spec, ctx)
    outputs = STEP.run(spec, ctx)
    after = STEP.probe(spec, ctx)

    assert isinstance(before, NotDone)
    assert isinstance(after, Done) and after.outputs == outputs
