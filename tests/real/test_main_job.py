"""The main job on the sample stack: every release ends as it must, and nothing is ever lost."""

import threading

import pytest

from tests.real.shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def shop(deployed_shop: Shop) -> Shop:
    """The sample stack with its first release deployed."""
    return deployed_shop


def test_a_first_release_that_goes_bad_is_stopped_and_the_next_ones_succeed(
    new_shop: Shop,
) -> None:
    bad = new_shop.deploy("bad-same")
    running = [name for name in new_shop.stack.containers() if new_shop.stack.is_running(name)]
    first = new_shop.deploy("v1")
    new_shop.order("one")
    second = new_shop.deploy("v2")

    assert bad.status == 3, bad.text
    assert running == []
    assert first.status == 0, first.text
    assert second.status == 0, second.text
    assert new_shop.ask("/health") == {"status": "ok", "release": "v2"}
    assert new_shop.ask("/items") == {"count": 1, "newest": "one", "content": "content of one"}
    assert new_shop.sql("SELECT count(*) FROM orders WHERE note = 'none'") == "2000"


BAD = {
    "bad-health": ("release", "its health test ends with exit code 1"),
    "bad-all": ("release", "it has ended with exit code 7"),
    "bad-same": ("release", "it has ended with exit code 7"),
    "bad-errors": ("watch", "checks failed ("),
    "bad-hang": ("watch", "no answer within 5.0s"),
    "bad-build": ("build", "nowhere/at-all"),
    "bad-migration": ("migrate", "division by zero"),
    "bad-data": ("migrate", "division by zero"),
    "bad-files": ("build", "compose.yaml"),
}
"""By release, the step that it fails at, and what is said of it."""


@pytest.mark.parametrize("release", BAD)
def test_a_bad_release_is_rolled_back_for_its_reason_and_all_is_as_it_was(
    shop: Shop, release: str
) -> None:
    step, reason = BAD[release]

    told = shop.deploy(release, watch="30s")

    assert told.status == 3, told.text
    assert f"failed at `{step}`" in told.text
    assert reason in told.text
    assert shop.world() == shop.start_world
    assert shop.ask("/health") == {"status": "ok", "release": "v1"}
    assert shop.ask("/items") == {"count": 1, "newest": "one", "content": "content of one"}


def test_a_release_whose_migration_changes_nothing_leaves_all_data_as_they_are(shop: Shop) -> None:
    before = shop.world()

    told = shop.deploy("same")

    after = shop.world()
    assert told.status == 0, told.text
    assert shop.ask("/health") == {"status": "ok", "release": "same"}
    assert after.images["backend"] != before.images["backend"]
    assert (after.schema, after.tables) == (before.schema, before.tables)
    assert (after.objects, after.files) == (before.objects, before.files)


def test_a_rollback_by_hand_that_restores_keeps_aside_what_was_written_since(shop: Shop) -> None:
    shop.deployed("v2")
    shop.order("since")

    told = shop.runbook("rollback", "--set", "data=restore", "--yes")

    assert told.status == 0, told.text
    assert shop.world() == shop.start_world
    points = shop.runbook("points").out
    assert [f" {name}," in points for name in shop.set_aside()] == [True]
    assert points.count("database ") == 1
    listed = [shop.sql("SELECT name FROM items", name) for name in shop.set_aside()]
    assert any("since" in names for names in listed)
    shop.is_spoiled = True
    kept = [path for path in (shop.state / "replaced").rglob("*") if "since" in str(path)]
    assert kept


def test_a_rollback_by_hand_that_keeps_the_data_leaves_them_live(shop: Shop) -> None:
    before = shop.world()
    shop.deployed("v3")
    shop.order("since")

    told = shop.runbook("rollback", "--set", "data=keep", "--yes")

    assert told.status == 0, told.text
    after = shop.world()
    assert (after.commit, after.images) == (before.commit, before.images)
    assert after.services == before.services
    assert shop.ask("/items") == {"count": 2, "newest": "since", "content": "content of since"}


def test_a_backup_changes_nothing_and_deletes_what_is_too_old(shop: Shop) -> None:
    at_first = shop.restore_points()

    told = shop.runbook("run", "runbooks/backup.yaml")
    older = shop.restore_points() - at_first
    again = shop.runbook("run", "runbooks/backup.yaml", "--set", "retention=0")

    assert told.status == 0, told.text
    assert again.status == 0, again.text
    assert len(older) == 1
    assert older.isdisjoint(shop.restore_points())
    assert shop.restore_points() - at_first
    assert shop.world() == shop.start_world


@pytest.mark.parametrize("release", ["bad-all", "bad-same"])
def test_of_what_is_written_meanwhile_nothing_is_lost(shop: Shop, release: str) -> None:
    acknowledged: list[str] = []
    is_over = threading.Event()

    def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            if shop.ask("/items", {"name": f"item-{number}"}):
                acknowledged.append(f"item-{number}")

    writer = threading.Thread(target=write)
    writer.start()
    told = shop.deploy(release)
    is_over.set()
    writer.join()

    assert told.status == 3, told.text
    assert len(acknowledged) > 10
    rows = {*shop.sql("SELECT name FROM items").split()}
    objects = shop.objects()
    if release == "bad-all":  # its migration is undone: what was written since is kept aside
        for name in shop.set_aside():
            rows |= {*shop.sql("SELECT name FROM items", name).split()}
        shop.is_spoiled = True
        objects |= {part for path in (shop.state / "replaced").rglob("*") for part in path.parts}
    assert set(acknowledged) <= rows
    assert set(acknowledged) <= objects
