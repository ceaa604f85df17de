"""The main job on the sample stack: every release ends as it must, and nothing is ever lost."""

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
