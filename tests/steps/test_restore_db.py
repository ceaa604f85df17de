import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import StepError, Unfit
from runbook.kinds import Done, HalfDone
from runbook.steps.restore_db import STEP, RestoreDb


def restore(shop: Any, step_id: str, **params: Any) -> Any:
    return shop.step("restore_db", shop.rollback_context(step_id), database=shop.db, **params)


def test_what_was_written_meanwhile_is_in_the_replaced_database(shop: Any) -> None:
    shop.fill(rows=20)
    shop.back_up()
    shop.sql("INSERT INTO orders (item) VALUES ('meanwhile')")
    shop.load()

    outputs = restore(shop, "database")

    assert shop.count_orders() == 20
    assert shop.count_orders(Path(outputs.replaced)) == 21
    assert [p.name for p in shop.root.iterdir() if ".rb-" in p.name] == []


def test_rows_that_only_the_log_of_a_killed_writer_holds_are_kept(shop: Any) -> None:
    shop.fill(rows=20)
    shop.back_up()
    shop.load()
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('PRAGMA wal_autocheckpoint = 0');"
        "c.execute(\"INSERT INTO orders (item) VALUES ('in the log')\"); c.commit();"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(shop.db.path)], check=False)
    assert Path(f"{shop.db.path}-wal").stat().st_size > 0

    outputs = restore(shop, "database")

    assert (shop.count_orders(), shop.count_orders(Path(outputs.replaced))) == (20, 21)


def test_it_is_staged_while_the_live_one_serves_and_switched_later(shop: Any) -> None:
    shop.fill(rows=20)
    shop.back_up()
    shop.load()
    user = sqlite3.connect(shop.db.path)

    staged = restore(shop, "stage", phase="stage")
    user.execute("INSERT INTO orders (item) VALUES ('while staged')")
    user.commit()
    user.close()
    switched = restore(shop, "switch", phase="switch")

    assert staged.replaced is None
    assert (shop.count_orders(), shop.count_orders(Path(switched.replaced))) == (20, 21)
    assert not Path(staged.staged).exists()


def test_a_database_that_another_process_has_open_is_not_replaced(shop: Any) -> None:
    shop.fill(rows=20)
    shop.back_up()
    shop.sql("INSERT INTO orders (item) VALUES ('meanwhile')")
    shop.load()
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
    program += "c.execute('SELECT 1 FROM orders').fetchall(); print(flush=True); input()"
    argv = [sys.executable, "-c", program, str(shop.db.path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        user.stdout.readline()

        with pytest.raises(StepError, match=f"still open in .*pid {user.pid}") as raised:
            restore(shop, "database")
        user.kill()

    assert raised.value.changed is False
    assert shop.count_orders() == 21


def test_a_damaged_live_database_is_kept_with_its_log_and_replaced(shop: Any) -> None:
    shop.fill(rows=20)
    shop.back_up()
    shop.load()
    shop.db.path.write_bytes(b"rubbish" * 1000)
    Path(f"{shop.db.path}-wal").write_bytes(b"more rubbish")

    outputs = restore(shop, "database")

    kept = Path(outputs.replaced)
    assert shop.count_orders() == 20
    assert kept.read_bytes() == b"rubbish" * 1000
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"more rubbish"


def test_a_missing_live_database_is_put_back(shop: Any) -> None:
    shop.fill(rows=20)
    shop.back_up()
    shop.load()
    shop.db.path.unlink()

    outputs = restore(shop, "database")

    assert (shop.count_orders(), outputs.replaced) == (20, None)


def test_mode_and_owner_are_those_of_the_original(shop: Any) -> None:
    shop.fill()
    shop.db.path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(shop.db.path, 1234, 4321)
    before = shop.db.path.stat()
    shop.back_up()
    shop.load()

    restore(shop, "database")

    after = shop.db.path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_going_back_to_absent_deletes_nothing(shop: Any) -> None:
    shop.back_up()
    shop.fill(rows=3)
    shop.load()
    ctx = shop.rollback_context("database")

    outputs = shop.step("restore_db", ctx, database=shop.db)

    assert outputs.absent and not shop.undoing[-1].changed
    assert shop.count_orders() == 3
    assert "left as it is" in ctx.logged[0]


@pytest.mark.parametrize("damage", ["none", "flipped", "gone"])
def test_a_warm_copy_is_used_if_it_is_intact(shop: Any, damage: str) -> None:
    shop.fill(rows=20)
    shop.back_up(verify="restore")
    (warm,) = [p for p in shop.root.iterdir() if ".rb-" in p.name]
    inode = warm.stat().st_ino
    shop.sql("INSERT INTO orders (item) VALUES ('meanwhile')")
    shop.load()
    if damage == "gone":
        warm.rename(shop.root / "elsewhere")  # kept, so that its inode number is not given again
    if damage == "flipped":
        with warm.open("r+b") as file:
            file.seek(5000)
            file.write(b"\xff")

    restore(shop, "database")

    assert shop.count_orders() == 20
    assert (shop.db.path.stat().st_ino == inode) is (damage == "none")


def test_a_switch_without_a_stage_is_unfit(shop: Any) -> None:
    shop.fill()
    shop.back_up()
    shop.load()

    with pytest.raises(Unfit, match="nothing has been staged"):
        restore(shop, "switch", phase="switch")


def test_the_probe_knows_the_switched_database_by_its_inode(shop: Any) -> None:
    shop.fill(rows=20)
    shop.back_up()
    shop.load()
    spec, ctx = RestoreDb(database=shop.db), shop.rollback_context("database")
    assert STEP.probe is not None

    before = STEP.probe(spec, ctx)
    STEP.run(spec, ctx)
    after = STEP.probe(spec, ctx)
    shop.sql("INSERT INTO orders (item) VALUES ('afterwards')")
    STEP.run(spec, ctx)

    assert isinstance(before, HalfDone)
    assert isinstance(after, Done) and after.outputs.replaced is not None
    assert shop.count_orders() == 21


def test_a_full_disk_leaves_the_live_database_alone(shop: Any, full_disk: Path) -> None:
    shop.db = shop.db.model_copy(update={"path": full_disk / "shop.db"})
    shop.fill()
    for _ in range(3):
        shop.sql("INSERT INTO orders (item) VALUES (zeroblob(450000))")
    shop.back_up()
    shop.load()

    with pytest.raises(StepError, match="no room left on the disk") as raised:
        restore(shop, "database")

    assert raised.value.changed is False
    assert [p.name for p in full_disk.iterdir()] == ["shop.db"]
    assert shop.count_orders() == 23


@pytest.mark.slow
def test_killed_at_any_moment_and_entered_again_it_gets_to_the_same_end(
    shop: Any, run_and_kill: Any
) -> None:
    shop.fill(rows=2000)
    shop.back_up()
    shop.sql("INSERT INTO orders (item) VALUES ('meanwhile')")
    shop.load()

    for kill in range(25):
        ctx = shop.rollback_context(f"database_{kill}")
        run_and_kill("restore_db", ctx, {"database": shop.db}, after_s=kill * 0.004)
        names = {p.name for p in shop.root.iterdir()}
        assert "shop.db" in names
        assert shop.count_orders() in (2000, 2001)

        outputs = shop.step("restore_db", ctx, database=shop.db)

        kept = Path(outputs.replaced)
        assert (shop.count_orders(), shop.count_orders(kept)) == (2000, 2001)
        assert [p.name for p in shop.root.iterdir() if ".rb-" in p.name] == []
        shop.sql("INSERT INTO orders (item) VALUES ('meanwhile')")
