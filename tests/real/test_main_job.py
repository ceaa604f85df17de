"""The main job on the sample stack: every release ends as it must, and nothing is ever lost."""

import threading
from collections.abc import Iterator

import pytest

from tests.real.conftest import MakeStack
from tests.real.shop import Shop

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def shop(make_stack: MakeStack) -> Iterator[Shop]:
    """The sample stack before its first deploy."""
    made = Shop(stack=make_stack(""))
    made.make()
    yield made
    made.remove()


def test_the_first_release_and_the_next_succeed(shop: Shop) -> None:
    first = shop.deploy("v1")
    shop.order("one")

    second = shop.deploy("v2")

    assert first.status == 0, first.text
    assert second.status == 0, second.text
    assert shop.ask("/health") == {"status": "ok", "release": "v2"}
    assert shop.sql("SELECT count(*) FROM orders WHERE note = 'none'") == "2000"


def test_the_first_release_that_goes_bad_is_stopped_and_nothing_is_deleted(shop: Shop) -> None:
    told = shop.deploy("bad-health")

    assert told.status == 3, told.text
    assert shop.ask("/health") is None
    assert not shop.stack.is_running("backend")
    assert shop.sql("SELECT count(*) FROM orders") == "2000"


BAD = {
    "bad-health": "release",
    "bad-all": "release",
    "bad-errors": "watch",
    "bad-hang": "watch",
    "bad-build": "build",
    "bad-migration": "migrate",
    "bad-files": "build",
}
"""By release, the step that it fails at."""
LANES = 2


@pytest.mark.parametrize("lane", range(LANES))
def test_a_bad_release_is_rolled_back_for_its_reason_and_all_is_as_it_was(
    shop: Shop, lane: int
) -> None:
    shop.deployed("v1")
    shop.order("one")
    before = shop.world()
    for release, reason in [*BAD.items()][lane::LANES]:
        told = shop.deploy(release, watch="20s")

        assert told.status == 3, told.text
        assert f"failed at `{reason}`" in told.text
        assert shop.world() == before, release
        assert shop.ask("/health") == {"status": "ok", "release": "v1"}


def test_a_rollback_by_hand_that_restores_keeps_aside_what_was_written_since(shop: Shop) -> None:
    shop.deployed("v1")
    shop.order("before")
    before = shop.world()
    shop.deployed("v2")
    shop.order("since")

    told = shop.runbook("rollback", "--set", "data=restore", "--yes")

    assert told.status == 0, told.text
    assert shop.world() == before
    listed = shop.sql("SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_\\_old%'")
    shop.sql(f"ALTER DATABASE {listed} ALLOW_CONNECTIONS true", "postgres")
    assert "since" in shop.sql("SELECT name FROM items", listed)
    kept = [path for path in (shop.state / "replaced").rglob("*") if "since" in str(path)]
    assert kept


def test_a_rollback_by_hand_that_keeps_the_data_leaves_them_live(shop: Shop) -> None:
    shop.deployed("v1")
    before = shop.world()
    shop.deployed("v3")
    shop.order("since")

    told = shop.runbook("rollback", "--set", "data=keep", "--yes")

    assert told.status == 0, told.text
    after = shop.world()
    assert (after.commit, after.images) == (before.commit, before.images)
    assert after.services == before.services
    assert shop.sql("SELECT name FROM items") == "since"


def test_of_what_is_written_meanwhile_nothing_is_lost(shop: Shop) -> None:
    shop.deployed("v1")
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
    told = shop.deploy("bad-all", watch="20s")
    is_over.set()
    writer.join()

    assert told.status == 3, told.text
    (replaced,) = shop.sql(
        "SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_\\_old%'"
    ).split()
    shop.sql(f"ALTER DATABASE {replaced} ALLOW_CONNECTIONS true", "postgres")
    rows = {*shop.sql("SELECT name FROM items").split()}
    # The migration that was undone had given each name an exclamation mark.
    rows |= {*shop.sql("SELECT rtrim(name, '!') FROM items", replaced).split()}
    kept = {part for path in (shop.state / "replaced").rglob("*") for part in path.parts}
    assert len(acknowledged) > 10
    assert set(acknowledged) <= rows
    assert set(acknowledged) <= shop.objects() | kept
