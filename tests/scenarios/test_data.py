"""What is written while a deploy and its rollback go on: afterwards it is live, or kept aside."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pexpect  # type: ignore[import-untyped]  # it brings no types
import pytest

from tests.scenarios.conftest import Shop

pytestmark = pytest.mark.slow


def kept_items(shop: Shop) -> list[str]:
    """The rows of all the databases that were kept aside."""
    kept = shop.state.glob("replaced/**/shop.db")
    return [item for database in kept for item in shop.items(database)]


def kept_files(shop: Shop) -> set[str]:
    """The names of all the files that were kept aside."""
    return {path.name for path in shop.state.glob("replaced/**/*") if path.is_file()}


def live_files(shop: Shop) -> set[str]:
    return {path.name for path in shop.uploads.iterdir()}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_after_a_rollback_that_keeps_the_data_what_was_written_since_is_live(shop: Shop) -> None:
    shop.deployed("v1")
    shop.order("before")
    shop.deployed("v2")
    shop.order("since")

    told = shop.runbook("rollback", "--set", "data=keep", "--yes")

    assert told.status == 0, told.text
    assert shop.release() == "v1"
    assert shop.items()[-2:] == ["before", "since"]
    assert {"before.txt", "since.txt"} <= live_files(shop)


def test_after_a_rollback_that_restores_the_data_what_was_written_since_is_kept_aside(
    shop: Shop,
) -> None:
    shop.deployed("v1")
    shop.order("before")
    (shop.uploads / "picture-01.txt").unlink()
    files_before, items_before = contents(shop.uploads), shop.items()
    shop.deployed("v2")
    shop.order("since")
    (shop.uploads / "picture-02.txt").write_text("painted over\n")
    (shop.uploads / "picture-03.txt").unlink()
    files_since, items_since = contents(shop.uploads), shop.items()

    told = shop.runbook("rollback", "--set", "data=restore", "--yes")

    assert told.status == 0, told.text
    assert shop.release() == "v1"
    assert shop.items() == items_before
    assert contents(shop.uploads) == files_before
    assert kept_items(shop) == items_since
    kept = {p.name: p.read_text() for p in shop.state.glob("replaced/*-files/**/*.txt")}
    gone = {name: text for name, text in files_since.items() if files_before.get(name) != text}
    assert gone.items() <= kept.items()


def test_nothing_that_the_service_took_while_a_release_went_bad_is_gone(
    shop: Shop,
) -> None:
    shop.deployed("v1")
    taken: list[str] = []
    is_over = threading.Event()

    def write_on() -> None:
        number = 0
        while not is_over.wait(0.01):
            try:
                shop.order(f"order-{number}")
            except OSError:
                continue
            else:
                taken.append(f"order-{number}")
            finally:
                number += 1

    writer = threading.Thread(target=write_on)
    writer.start()

    told = shop.deploy("v3", watch="20s")
    shop.eventually(lambda: shop.release() == "v1", "the first release serves again")
    is_over.set()
    writer.join()

    assert told.status == 3, told.text
    assert len(taken) > 20
    live, aside = set(shop.items()), set(kept_items(shop))
    assert set(taken) - live - aside == set()
    assert aside - live
    files = {f"{name}.txt" for name in taken}
    assert files - live_files(shop) - kept_files(shop) == set()


def test_every_table_is_as_it_was_after_a_rollback_by_itself(shop: Shop) -> None:
    shop.deployed("v1")
    shop.order("before")
    with closing(sqlite3.connect(shop.database)) as connection:
        before = list(connection.iterdump())

    told = shop.deploy("v3", watch="20s")

    assert told.status == 3, told.text
    with closing(sqlite3.connect(shop.database)) as connection:
        assert list(connection.iterdump()) == before


def test_a_second_rollback_of_the_same_run_has_nothing_to_do(shop: Shop) -> None:
    shop.deployed("v1")
    shop.deployed("v2")
    assert shop.runbook("rollback", "--set", "data=keep", "--yes").status == 0
    world = shop.world()

    told = shop.runbook("rollback", "--set", "data=keep", "--yes", shop.history()[1]["id"])

    assert told.status == 0
    assert "undone already" in told.out
    assert shop.world() == world


def test_an_older_run_is_not_rolled_back_while_a_newer_one_stands(shop: Shop) -> None:
    shop.deployed("v1")
    shop.deployed("v2")
    older, newer = (run["id"] for run in shop.history())

    told = shop.runbook("rollback", older, "--set", "data=keep", "--yes")

    assert told.status == 2
    assert newer in told.text
    assert shop.release() == "v2"


def test_who_is_asked_what_becomes_of_the_data_is_told_first_what_was_written(shop: Shop) -> None:
    shop.deployed("v1")
    shop.deployed("v2")
    shop.order("meanwhile")
    terminal = shop.on_terminal("rollback")

    terminal.expect("written since restore point")
    terminal.expect("items")
    terminal.expect("data: ")
    terminal.sendline("keep")
    terminal.expect("items")
    terminal.sendline("y")
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert terminal.exitstatus == 0
    assert "meanwhile" in shop.items()
